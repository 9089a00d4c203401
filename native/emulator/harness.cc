// Drives the emulator's functions, and the binding over them, without JavaScript: open/run/close cycles over an echo
// program, handles that are stale, invented or released twice, a status injected into every function, deviations, mutated
// program files. Usage: harness QPC CYCLES MUTATIONS
#include <stdlib.h>
#include <string.h>

#include <fstream>
#include <iterator>

#include "harness.h"

int failures = 0;

static std::vector<uint8_t> program;

// The first status that is not 0. Everything that was made is released, whatever failed.
static uint32_t Cycle(const char* path) {
  QAicContext* c = nullptr;
  QAicQueue* q = nullptr;
  QAicQpcObj* o = nullptr;
  QAicProgram* p = nullptr;
  QAicExecObj* e = nullptr;
  QID id = 0;
  QData io{};
  QAicIoBufferInfo* info = nullptr;
  QAicQpcObj* m = nullptr;
  uint16_t major = 0, minor = 0;
  const char *patch = nullptr, *variant = nullptr;
  alignas(16) static uint8_t opaque[kQaicOpaqueBytes];
  QResourceInfo resources{};
  const void* facts = nullptr;
  uint32_t s = qaicGetAicVersion(&major, &minor, &patch, &variant);
  if (!s) s = qaicGetDeviceInfo(id, opaque);
  if (!s) s = qaicGetResourceInfo(id, &resources);
  if (!s) s = qaicCreateContext(&c, nullptr, 1, &id, nullptr, nullptr, nullptr, nullptr);
  if (!s) s = qaicSetLogLevel(c, 1);
  if (!s) s = qaicOpenQpc(&m, program.data(), program.size(), true);
  if (!s) s = qaicProgramPropertiesInitDefault(opaque);
  if (!s) s = qaicCreateQueue(c, &q, nullptr, 0);
  if (!s) s = qaicOpenQpcFile(&o, path);
  if (!s) s = qaicQpcGetInfo(o, &facts);
  if (!s) s = qaicCreateProgram(c, &p, nullptr, 0, "p", o);
  if (!s) s = qaicLoadProgram(p);
  if (!s) s = qaicRunActivationCmd(p, QACTIVATE_FULL);
  if (!s) s = qaicProgramGetIoDescriptor(p, &io);
  if (!s) s = qaicProgramGetIoBufferInfo(p, &info);
  if (!s) s = qaicCreateExecObj(c, &e, nullptr, p, &io, nullptr, nullptr);
  float in[4] = {1, 2, 3, 4}, out[4] = {};
  uint32_t dims[1] = {4};
  QBuffer buffers[2] = {{16, reinterpret_cast<uint8_t*>(in), 0, 0, 0}, {16, reinterpret_cast<uint8_t*>(out), 0, 0, 0}};
  QBufferDimensions shapes[2] = {{1, 4, dims}, {1, 4, dims}};
  if (!s) s = qaicExecObjSetDataExt(e, 2, buffers, shapes);
  if (!s) s = qaicEnqueueExecObj(q, e, nullptr);
  if (!s) s = qaicExecObjWaitForCompletion(e, 1'000'000);
  if (!s && memcmp(in, out, sizeof in) != 0) s = 999;
  // A second try after a refused release, as an injected status leaves the object alive.
#define RELEASE(call)                    \
  do {                                   \
    const uint32_t first = (call);       \
    if (first != 0) {                    \
      if (s == 0) s = first;             \
      (void)(call);                      \
    }                                    \
  } while (0)
  if (e) RELEASE(qaicReleaseExecObj(e));
  if (p) RELEASE(qaicRunActivationCmd(p, QDEACTIVATE_FULL));
  if (p && s == 0) RELEASE(qaicUnloadProgram(p));
  if (p) RELEASE(qaicReleaseProgram(p));
  if (o) RELEASE(qaicCloseQpc(o));
  if (m) RELEASE(qaicCloseQpc(m));
  if (q) RELEASE(qaicReleaseQueue(q));
  if (c) RELEASE(qaicReleaseContext(c));
  return s;
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int cycles = atoi(argv[2]);
  std::ifstream file(std::string(argv[1]) + "/programqpc.bin", std::ios::binary);
  program.assign(std::istreambuf_iterator<char>(file), {});
  for (int i = 0; i < cycles && failures < 10; i++) EXPECT(Cycle(argv[1]), QS_SUCCESS);
  QAicContext* c = nullptr;
  QID id = 0;
  EXPECT(qaicCreateContext(&c, nullptr, 1, &id, nullptr, nullptr, nullptr, nullptr), QS_SUCCESS);
  EXPECT(qaicReleaseContext(c), QS_SUCCESS);
  EXPECT(qaicReleaseContext(c), QS_INVAL);
  EXPECT(qaicReleaseContext(reinterpret_cast<QAicContext*>(0x1234)), QS_INVAL);
  EXPECT(qaicLoadProgram(nullptr), QS_INVAL);
  EXPECT(qaicLoadProgram(reinterpret_cast<QAicProgram*>(c)), QS_INVAL);
  EXPECT(qaicExecObjWaitForCompletion(reinterpret_cast<QAicExecObj*>(~0ull), 1), QS_INVAL);
  EXPECT(qaicGetDeviceInfo(7, &id), QS_NODEV);
  const char* const names[] = {
#define X(name, args) #name,
      VLM_RUN_QAIC_FUNCTIONS(X)
#undef X
  };
  const int statuses[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 300, 500};
  for (const char* name : names) {
    for (const int status : statuses) {
      aicemuFaults((std::string(name) + " 1 status " + std::to_string(status)).c_str());
      const uint32_t got = Cycle(argv[1]);
      if (aicemuCalls(name) == 0 || got != static_cast<uint32_t>(status))
        failures++, printf("%s with %d: %u\n", name, status, got);
      aicemuFaults("");
      EXPECT(Cycle(argv[1]), QS_SUCCESS);
    }
  }
  EXPECT(aicemuLiveHandles(), 0);
  CheckDeviations();
  for (const char* wrong : {"qaicNothing 1 hang", "qaicLoadProgram 0 hang", "qaicLoadProgram 1 status", "deviate x",
                            "qaicLoadProgram 1 status 0", "qaicLoadProgram 1 stall", "qaicLoadProgram 1 garbage", "/none"})
    EXPECT(aicemuFaults(wrong), 0);
  EXPECT(qaicSetLogLevel(nullptr, 1), QS_INVAL);
  EXPECT(aicemuFaults("# a comment\n\nqaicLoadProgram * delay 0; deviate error-forgiven"), 1);
  EXPECT(aicemuFaults(""), 1);
  CheckBinding(argv[1], cycles);
  const int mutations = atoi(argv[3]), accepted = FuzzPrograms(mutations);
  CheckRefusedReleases(argv[1]);
  printf("%d cycles of the emulated card and as many of the binding over it, %d mutated programs (%d accepted), %d failures\n", cycles, mutations, accepted, failures);
  return failures == 0 ? 0 : 1;
}
