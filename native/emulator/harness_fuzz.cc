// Files that are almost programs: whatever they hold, opening and running them neither crashes nor reads astray.
#include <algorithm>
#include <random>

#include "harness.h"

namespace {

const std::string kTable =
    "name fuzz\nrole language\ncompute echo\ncores 4\ndevices 1\nmemory 123456\nbinding 0 in 7 64 0 input_ids\n"
    "binding 1 in 0 4096 1 past_key.0\nbinding 2 out 1 64 0 logits\nshape 7:1x8 0:1x2x16x32 1:1x1x32\n"
    "shape 7:1x1 0:1x2x16x32 1:1x1x32\n";
const char* const kWords[] = {"18446744073709551615", "999999999999999999", "-1", "0", "x", ":", "\n", " ", "0x10",
                              "binding", "shape", "compute argmax\n", "compute executor\n", "1:1x1x32", "4294967295",
                              "1:65536x65536x65536x65536x65536x65536x65536x65536"};

std::vector<uint8_t> Mutated(std::mt19937& random, const std::vector<uint8_t>& whole) {
  std::vector<uint8_t> bytes = whole;
  const auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t n = 1 + below(4); n > 0 && !bytes.empty(); n--) {
    const size_t at = below(bytes.size());
    const std::string word = kWords[below(sizeof kWords / sizeof *kWords)];
    switch (below(6)) {
      case 0: bytes[at] = static_cast<uint8_t>(random()); break;
      case 1: bytes[at] ^= static_cast<uint8_t>(1u << below(8)); break;
      case 2: bytes.resize(at); break;
      case 3: bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), word.begin(), word.end()); break;
      case 4: bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.begin() + static_cast<ptrdiff_t>(std::min(bytes.size(), at + below(40)))); break;
      default: std::copy_n(word.begin(), std::min(word.size(), bytes.size() - at), bytes.begin() + static_cast<ptrdiff_t>(at));
    }
  }
  return bytes;
}

// The file with a table that was changed, and lengths that fit it: otherwise most mutations end at the header.
std::vector<uint8_t> Refitted(std::mt19937& random, const std::string& descriptor) {
  const std::vector<uint8_t> table = Mutated(random, std::vector<uint8_t>(kTable.begin(), kTable.end()));
  return Packed(std::string(table.begin(), table.end()), descriptor);
}

void RunAnyway(Session* s) {
  static uint8_t memory[3][4096];
  std::vector<QBuffer> buffers;
  for (auto& m : memory) buffers.push_back({64, m, 0, 0, 0});
  buffers[1].size = 4096;
  (void)s->Run(buffers, {{1, 8}, {1, 2, 16, 32}, {1, 1, 32}});
  QAicIoBufferInfo* info = nullptr;
  EXPECT(qaicProgramGetIoBufferInfo(s->program, &info), QS_SUCCESS);
}

}  // namespace

int FuzzPrograms(int rounds) {
  std::mt19937 random(20);
  const std::string descriptor("\x0a\x04\x12\x02\x40\x10\x42\x04\x0a\x02\x08\x00", 12);
  const std::vector<uint8_t> whole = Packed(kTable, descriptor);
  EXPECT(Session(whole).status, QS_SUCCESS);
  int accepted = 0;
  for (int i = 0; i < rounds; i++) {
    // The deviations that change descriptors are tried on descriptors that were changed, too.
    aicemuFaults(i % 4 == 0 ? "deviate shapes-order; deviate descriptor-sizes" : "");
    Session s(i % 2 == 0 ? Mutated(random, whole) : Refitted(random, descriptor));
    if (s.status != QS_SUCCESS) continue;
    accepted++;
    RunAnyway(&s);
  }
  aicemuFaults("");
  EXPECT(aicemuLiveHandles(), 0);
  return accepted;
}
