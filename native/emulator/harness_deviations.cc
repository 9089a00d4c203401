// What each deviation changes, seen from the caller, and that it is gone with the deviation.
#include <string.h>

#include "harness.h"

namespace {

// io: a message {io_sets {bindings {size 16} bindings {size 16}}, allowed_shapes {shapes {type 0} shapes {type 1}}}.
const std::string kDescriptor("\x0a\x08\x12\x02\x40\x10\x12\x02\x40\x10\x42\x08\x0a\x02\x08\x00\x0a\x02\x08\x01", 20);
const std::string kTable =
    "name echo\ncompute echo\ncores 10\ndevices 1\nmemory 1000\nbinding 0 in 0 16 1 x\nbinding 1 out 0 16 0 y\n"
    "shape 0:4 0:4\nshape 0:2 0:2\n";

float in[4] = {1, 2, 3, 4}, out[4];
QBuffer Of(float* data, size_t size) { return {size, reinterpret_cast<uint8_t*>(data), 0, 0, 0}; }
std::vector<QBuffer> Both(size_t size) { return {Of(in, size), Of(out, size)}; }
const std::vector<std::vector<uint32_t>> kFour = {{4}, {4}}, kTwo = {{2}, {2}}, kThree = {{3}, {3}};

std::vector<uint8_t> Program() { return Packed(kTable, kDescriptor); }

// The status of a call on a program that is made for it.
uint32_t RunOnce(size_t size, const std::vector<std::vector<uint32_t>>& dims) {
  Session s(Program());
  memset(out, 0, sizeof out);
  return s.status ? s.status : s.Run(Both(size), dims);
}

uint32_t Second() {
  Session a(Program());
  Session b(Program());
  return b.status;
}
uint32_t AfterOther() {
  { Session a(Program()); }
  return Session(Program()).status;
}
uint32_t Skipping() {
  Session s(Program());
  return s.Run({{0, nullptr, 0, 0, 0}, Of(out, 16)}, {{0}, {4}});
}
uint32_t Timeout() {
  aicemuLatency("20000");
  Session s(Program());
  const uint32_t set = s.Set(Both(16), kFour);
  const uint32_t status = set ? set : s.Wait(1000);
  aicemuLatency("");
  return status;
}
uint32_t AfterError() {
  Session s(Program());
  EXPECT(s.Run(Both(12), kThree), QS_DEV_ERROR);
  return s.Run(Both(16), kFour);
}
uint32_t Stale() {
  QAicContext* c = nullptr;
  QID id = 0;
  qaicCreateContext(&c, nullptr, 1, &id, nullptr, nullptr, nullptr, nullptr);
  qaicReleaseContext(c);
  return qaicSetLogLevel(c, 1);
}
uint32_t Twice() {
  QAicContext* c = nullptr;
  QID id = 0;
  qaicCreateContext(&c, nullptr, 1, &id, nullptr, nullptr, nullptr, nullptr);
  qaicReleaseContext(c);
  return qaicReleaseContext(c);
}
std::string Descriptor() {
  Session s(Program(), false);
  QData io{};
  qaicProgramGetIoDescriptor(s.program, &io);
  return io.data == nullptr ? "" : std::string(reinterpret_cast<char*>(io.data), io.size);
}
uint32_t InfoSize() {
  Session s(Program(), false);
  QAicIoBufferInfo* info = nullptr;
  qaicProgramGetIoBufferInfo(s.program, &info);
  return info == nullptr ? 0 : info->bufferMappings[0].size;
}
uint32_t Cores() {
  QResourceInfo info{};
  qaicGetResourceInfo(0, &info);
  return info.nspTotal;
}
uint32_t Written() {
  EXPECT(RunOnce(16, kFour), QS_SUCCESS);
  return memcmp(in, out, sizeof in) == 0;
}
uint32_t Major() {
  uint16_t major = 9, minor = 9;
  const char *patch = "", *variant = "";
  qaicGetAicVersion(&major, &minor, &patch, &variant);
  return major == 1 && minor == 0 && patch != nullptr && variant != nullptr;
}
uint32_t Far() {
  QResourceInfo info{};
  return qaicGetResourceInfo(99, &info);
}

struct Case {
  const char* name;
  uint32_t (*seen)();
  uint32_t as_assumed, deviating;
};
const Case kCases[] = {
    {"version-layout", Major, 1, 0},
    {"resource-layout", Cores, 16, 0},
    {"devices-endless", Far, QS_NODEV, QS_SUCCESS},
    {"buffer-info-sizes", InfoSize, 16, 8},
    {"unlisted-accepted", [] { return RunOnce(12, kThree); }, QS_DEV_ERROR, QS_SUCCESS},
    {"unlisted-early", [] { return RunOnce(12, kThree); }, QS_DEV_ERROR, QS_INVAL},
    {"skipped-refused", Skipping, QS_SUCCESS, QS_INVAL},
    {"timeout-ignored", Timeout, QS_TIMEDOUT, QS_SUCCESS},
    {"timeout-status", Timeout, QS_TIMEDOUT, QS_ERROR},
    {"small-buffer-accepted", [] { return RunOnce(8, kFour); }, QS_DEV_ERROR, QS_SUCCESS},
    {"largest-size-only", [] { return RunOnce(8, kTwo); }, QS_SUCCESS, QS_INVAL},
    {"outputs-not-written", Written, 1, 0},
    {"cores-unlimited", Second, QS_NOSPC, QS_SUCCESS},
    {"cores-not-freed", AfterOther, QS_SUCCESS, QS_NOSPC},
    {"stale-accepted", Stale, QS_INVAL, QS_SUCCESS},
    {"double-release-accepted", Twice, QS_INVAL, QS_SUCCESS},
    {"error-forgiven", AfterError, QS_INVAL, QS_SUCCESS},
};

}  // namespace

void CheckDeviations() {
  for (const Case& c : kCases) {
    aicemuFaults("");
    const uint32_t before = c.seen();
    EXPECT(aicemuFaults((std::string("deviate ") + c.name).c_str()), 1);
    const uint32_t after = c.seen();
    aicemuFaults("");
    if (before != c.as_assumed || after != c.deviating)
      failures++, printf("deviation %s: %u, then %u; expected %u, then %u\n", c.name, before, after, c.as_assumed, c.deviating);
    // Its own cores stay taken: the card is given them back by a program that is released as it should be.
    if (std::string(c.name) == "cores-not-freed") aicemuReset();
  }
  const std::string whole = Descriptor();
  EXPECT(whole == kDescriptor, true);
  aicemuFaults("deviate descriptor-sizes");
  const std::string sizes = Descriptor();
  EXPECT(sizes.size() == whole.size() && sizes[5] == 0x11 && sizes[9] == 0x11, true);
  aicemuFaults("deviate shapes-order");
  const std::string order = Descriptor();
  EXPECT(order.size() == whole.size() && order[15] == 1 && order[19] == 0, true);
  aicemuFaults("deviate descriptor-short");
  EXPECT(Descriptor().size(), whole.size() / 2);
  aicemuFaults("");
}
