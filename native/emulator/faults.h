// The text forms of what goes wrong on the emulated card, and how long things take. Text that is not understood is
// refused with its line: a rehearsal that quietly ran without its faults would prove nothing.
#ifndef VLM_RUN_AICEMU_FAULTS_H_
#define VLM_RUN_AICEMU_FAULTS_H_

#include <stdint.h>

#include <set>
#include <string>
#include <vector>

namespace aicemu {

enum class Action { kStatus, kDelay, kHang, kStall, kGarbage, kVanish };
struct Fault {
  std::string function;
  uint64_t nth = 1;  // 0: every call
  Action action = Action::kStatus;
  uint32_t value = 0;
};
struct Faults {
  std::vector<Fault> rules;
  std::set<std::string> deviations;
};
struct Latency {
  uint64_t fixed_us = 0, byte_ns = 0, token_us = 0;
};

extern const char* const kFaultGrammar;
extern const char* const kLatencyGrammar;

// True and `out`, or false and `problem`: the line, what it holds, the grammar. A single word is the name of a file.
bool ParseFaults(const std::string& text, Faults* out, std::string* problem);
bool ParseLatency(const std::string& text, Latency* out, std::string* problem);
bool ParseCount(const std::string& text, uint32_t most, uint32_t* out);

}  // namespace aicemu
#endif  // VLM_RUN_AICEMU_FAULTS_H_
