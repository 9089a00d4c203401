// The binding's own C++ over the emulated card: what JavaScript would call, without JavaScript, so that the sanitizers see
// buffers, exec objects and releases whatever fails in between.
#include <math.h>
#include <string.h>

#include <memory>
#include <thread>

#include "../ai100/counted.h"
#include "../ai100/half.h"
#include "../ai100/program.h"
#include "harness.h"

namespace vlm_ai100 {
// counted.cc replaces operator new, which would hide allocations from the sanitizer.
void CountAllocation() {}
}  // namespace vlm_ai100

using vlm_ai100::Outcome;
using vlm_ai100::Program;

static const vlm_ai100::Library* TheLibrary() {
  static vlm_ai100::Library library;
#define X(name, args) library.api.name = name;
  VLM_RUN_QAIC_FUNCTIONS(X)
#undef X
  library.emulator = true;
  return &library;
}

// Both buffers of the echo program, four floats each.
static void Pass(vlm_ai100::Slot* slot, float value) {
  auto* words = reinterpret_cast<uint32_t*>(slot->control->data);
  for (int b = 0; b < 2; b++) {
    uint32_t* const at = words + b * vlm_ai100::kControlWords;
    at[0] = 16, at[1] = 1, at[2] = 4, at[3] = 4;
  }
  for (int i = 0; i < 4; i++) reinterpret_cast<float*>(slot->blocks[0]->data)[i] = value + i;
}

static bool Echoed(const vlm_ai100::Slot* slot) {
  return memcmp(slot->blocks[0]->data, slot->blocks[1]->data, 16) == 0;
}

// The first outcome that is not success; the release is made in any case, twice as JavaScript may.
static Outcome Life(const std::string& qpc, bool threads) {
  std::shared_ptr<vlm_ai100::Block> kept;
  Outcome first;
  const auto keep = [&](Outcome outcome) {
    if (first.call == nullptr) first = outcome;
    return first.call == nullptr;
  };
  {
    Program program(TheLibrary(), {0});
    std::vector<uint8_t> descriptor;
    bool ok = keep(program.Create(qpc)) && keep(program.Load()) && keep(program.Descriptor(&descriptor));
    if (ok) EXPECT(program.Allocate({16, 16}, 2), true);
    ok = ok && keep(program.Activate());
    if (ok) {
      kept = program.SlotAt(1)->blocks[1];
      EXPECT(reinterpret_cast<uintptr_t>(kept->data) % vlm_ai100::kPage, 0);
      EXPECT(program.SlotAt(2) == nullptr, true);
      const auto run = [&](uint32_t slot, int times, Outcome* last) {
        for (int i = 0; i < times && last->call == nullptr; i++) {
          Pass(program.SlotAt(slot), static_cast<float>(i));
          *last = program.Run(slot, 1'000'000);
        }
      };
      Outcome a, b;
      if (threads) {
        std::thread other(run, 1, 20, &b);
        run(0, 20, &a);
        other.join();
      } else {
        run(0, 1, &a), run(1, 1, &b);
      }
      if (keep(a) && keep(b)) EXPECT(Echoed(program.SlotAt(0)) && Echoed(program.SlotAt(1)), true);
      // More than the buffer holds never reaches the runtime.
      reinterpret_cast<uint32_t*>(program.SlotAt(0)->control->data)[0] = 17;
      EXPECT(program.Run(0, 1'000'000).status, QS_INVAL);
    }
    keep(program.Release());
    EXPECT(program.Release().call == nullptr, true);
    EXPECT(program.Run(0, 1).status, QS_INVAL);
  }
  // JavaScript may hold the memory when the program is gone.
  if (kept) kept->data[15] = 1;
  return first;
}

static void Numbers() {
  for (const size_t count : {0, 1, 7, 8, 9, 31, 64}) {
    std::vector<uint16_t> halves(count), again(count);
    std::vector<float> floats(count);
    for (size_t i = 0; i < count; i++) halves[i] = static_cast<uint16_t>(i * 977);
    for (const bool portable : {false, true}) {
      vlm_ai100::HalvesToFloats(halves.data(), floats.data(), count, portable);
      vlm_ai100::FloatsToHalves(floats.data(), again.data(), count, portable);
      for (size_t i = 0; i < count; i++) EXPECT(isnan(floats[i]) || halves[i] == again[i], true);
    }
    for (const size_t k : {size_t{1}, count / 2, count}) {
      if (k < 1 || k > count) continue;
      std::vector<int32_t> ids(k);
      std::vector<float> values(k);
      vlm_ai100::Best(floats.data(), count, k, ids.data(), values.data());
      vlm_ai100::BestOfHalves(halves.data(), count, k, ids.data(), values.data());
    }
  }
}

// Every status at the first call of a function: the outcome names both.
static void Inject(const std::string& path, const char* name) {
  for (const int status : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 300, 500}) {
    aicemuFaults((std::string(name) + " 1 status " + std::to_string(status)).c_str());
    const Outcome outcome = Life(path, false);
    EXPECT(outcome.status, status);
    EXPECT(outcome.call != nullptr && strcmp(outcome.call, name) == 0, true);
    aicemuFaults("");
  }
}

void CheckBinding(const char* qpc, int cycles) {
  const std::string path = std::string(qpc) + "/programqpc.bin";
  for (int i = 0; i < cycles && failures < 10; i++) EXPECT(Life(path, i % 100 == 0).status, QS_SUCCESS);
  for (const char* name : {"qaicProgramPropertiesInitDefault", "qaicCreateContext", "qaicCreateQueue",
                           "qaicOpenQpcFile", "qaicCreateProgram", "qaicLoadProgram", "qaicProgramGetIoDescriptor",
                           "qaicRunActivationCmd", "qaicCreateExecObj", "qaicExecObjSetDataExt", "qaicEnqueueExecObj",
                           "qaicExecObjWaitForCompletion"})
    Inject(path, name);
  EXPECT(aicemuLiveHandles(), 0);
  Numbers();
}

void CheckRefusedReleases(const char* qpc) {
  for (const char* name : {"qaicReleaseExecObj", "qaicUnloadProgram", "qaicReleaseProgram", "qaicCloseQpc",
                           "qaicReleaseQueue", "qaicReleaseContext"}) {
    Inject(std::string(qpc) + "/programqpc.bin", name);
    aicemuReset();
  }
}
