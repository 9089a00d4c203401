#include "faults.h"

#include <string.h>

#include <fstream>
#include <sstream>

#include "../ai100/qaic_abi.h"

namespace aicemu {

const char* const kFaultGrammar =
    "FUNCTION NTH status NUMBER | FUNCTION NTH delay MILLISECONDS | FUNCTION NTH hang|stall|garbage|vanish | "
    "deviate NAME; NTH is a number from 1, or * for every call; lines are parted by newlines or semicolons; # begins "
    "a comment";
const char* const kLatencyGrammar =
    "FIXED_US[:NS_PER_BYTE[:US_PER_TOKEN]], whole numbers, the time of one execution";

namespace {

const char* const kFunctions[] = {
#define NAME(name, arguments) #name,
    VLM_RUN_QAIC_FUNCTIONS(NAME)
#undef NAME
};

// Kept in step with src/devices/ai100/emulator/deviations.ts by a test.
const char* const kDeviations[] = {
    "version-layout",     "resource-layout",     "devices-endless",       "buffer-info-sizes", "descriptor-sizes",
    "descriptor-short",   "shapes-order",        "unlisted-accepted",     "unlisted-early",    "skipped-reset",
    "skipped-refused",    "state-lost",          "timeout-ignored",       "timeout-status",    "small-buffer-accepted",
    "largest-size-only",  "outputs-not-written", "cores-unlimited",       "cores-not-freed",   "stale-accepted",
    "double-release-accepted", "error-forgiven",
};

// Functions with sizes in what they hand out.
const char* const kSized[] = {"qaicGetResourceInfo", "qaicProgramGetIoDescriptor", "qaicProgramGetIoBufferInfo"};

template <size_t N>
bool Among(const char* const (&names)[N], const std::string& name) {
  for (const char* const known : names)
    if (name == known) return true;
  return false;
}

bool Number(const std::string& text, uint64_t most, uint64_t* out) {
  if (text.empty() || text.size() > 12 || text.find_first_not_of("0123456789") != std::string::npos) return false;
  uint64_t value = 0;
  for (const char c : text) value = value * 10 + static_cast<uint64_t>(c - '0');
  *out = value;
  return value <= most;
}

// Empty, or why the words are no rule.
std::string Rule(const std::vector<std::string>& words, Faults* out) {
  if (words[0] == "deviate") {
    if (words.size() != 2) return "deviate takes one name";
    if (!Among(kDeviations, words[1])) return "no deviation is called " + words[1];
    out->deviations.insert(words[1]);
    return "";
  }
  Fault fault;
  fault.function = words[0];
  uint64_t number = 0;
  if (!Among(kFunctions, words[0])) return "no function is called " + words[0];
  if (words.size() < 3) return "a function needs NTH and what happens";
  if (words[1] == "*") fault.nth = 0;
  else if (!Number(words[1], 1'000'000'000, &fault.nth) || fault.nth == 0) return "NTH is not a number from 1, nor *";
  const bool valued = words[2] == "status" || words[2] == "delay";
  if (words.size() != (valued ? 4u : 3u)) return words[2] + (valued ? " takes one number" : " takes nothing more");
  if (valued && !Number(words[3], words[2] == "delay" ? 3'600'000 : 0xffffffff, &number)) return words[3] + " is no number that fits";
  fault.value = static_cast<uint32_t>(number);
  if (words[2] == "status") fault.action = Action::kStatus;
  else if (words[2] == "delay") fault.action = Action::kDelay;
  else if (words[2] == "hang") fault.action = Action::kHang;
  else if (words[2] == "stall") fault.action = Action::kStall;
  else if (words[2] == "garbage") fault.action = Action::kGarbage;
  else if (words[2] == "vanish") fault.action = Action::kVanish;
  else return "no fault is called " + words[2];
  // A status of 0 would leave out parameters unset that the caller trusts: the facts know no such card.
  if (fault.action == Action::kStatus && fault.value == 0) return "status 0 is success";
  if (fault.action == Action::kStall && words[0] != "qaicEnqueueExecObj") return "stall is for qaicEnqueueExecObj";
  if (fault.action == Action::kGarbage && !Among(kSized, words[0])) return words[0] + " hands out no sizes";
  out->rules.push_back(fault);
  return "";
}

}  // namespace

bool ParseFaults(const std::string& given, Faults* out, std::string* problem) {
  std::string text = given, place = "line ";
  if (!text.empty() && text.find_first_of(" \t\n;#") == std::string::npos) {
    std::ifstream file{text};
    std::stringstream all;
    if (!(all << file.rdbuf()) && !file.is_open()) {
      *problem = text + " is neither a file that can be read nor a rule; expected " + kFaultGrammar;
      return false;
    }
    place = text + ", line ";
    text = all.str();
  }
  for (char& c : text)
    if (c == ';') c = '\n';
  Faults read;
  std::istringstream lines(text);
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    number++;
    std::istringstream in(line.substr(0, line.find('#')));
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    const std::string why = words.empty() ? "" : Rule(words, &read);
    if (why.empty()) continue;
    *problem = place + std::to_string(number) + ": \"" + line.substr(0, 120) + "\": " + why + "; expected " + kFaultGrammar;
    return false;
  }
  *out = read;
  return true;
}

bool ParseLatency(const std::string& text, Latency* out, std::string* problem) {
  Latency read;
  uint64_t* const fields[] = {&read.fixed_us, &read.byte_ns, &read.token_us};
  size_t at = 0;
  bool good = true;
  std::string rest = text;
  while (!text.empty() && good) {
    const size_t colon = rest.find(':');
    good = at < 3 && Number(rest.substr(0, colon), 3'600'000'000, fields[at]);
    at++;
    if (colon == std::string::npos) break;
    rest = rest.substr(colon + 1);
  }
  if (good) *out = read;
  else *problem = "\"" + text.substr(0, 120) + "\"; expected " + kLatencyGrammar;
  return good;
}

bool ParseCount(const std::string& text, uint32_t most, uint32_t* out) {
  uint64_t value = 0;
  if (!Number(text, most, &value)) return false;
  *out = static_cast<uint32_t>(value);
  return true;
}

}  // namespace aicemu
