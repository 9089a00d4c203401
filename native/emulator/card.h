// What the emulated card holds: handles of a table, never addresses, so that a stale or invented one is answered with 6
// (invalid). Where the facts are silent it is strict. It never passes for a card: it exports aicemuVersion and its
// version variant says emulated.
#ifndef VLM_RUN_AICEMU_CARD_H_
#define VLM_RUN_AICEMU_CARD_H_

#include <stdio.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../ai100/qaic_abi.h"
#include "control.h"
#include "faults.h"
#include "qpc.h"

namespace aicemu {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;
constexpr uint32_t kCores = 16;
constexpr uint64_t kMemory = 16ull << 30;

struct Job {
  uint64_t id = 0, exec = 0;
  uint32_t kind = kAicemuRun, set = 0;
  std::string folder;
  std::vector<std::vector<uint8_t>> inputs;
  std::vector<AicemuInput> views;
  std::map<uint32_t, std::vector<uint8_t>> outputs;
  bool done = false;
  uint32_t status = 0;
  Clock::time_point ready{};
};
struct Executor {
  std::thread::id owner, worker{};
  bool closed = false;
  std::deque<std::shared_ptr<Job>> queue;
  std::map<uint64_t, std::shared_ptr<Job>> taken;
};

enum class Kind { kContext, kQueue, kQpc, kProgram, kExec };
struct Object {
  explicit Object(Kind k) : kind(k) {}
  Kind kind;
  uint64_t id = 0;
  std::vector<QID> devices;        // context
  std::shared_ptr<Object> parent;  // context of queue and program, program of exec
  std::shared_ptr<Qpc> qpc;
  uint32_t children = 0, executor = 0;
  bool loaded = false, active = false, failed = false, set = false, pending = false;
  std::vector<QBuffer> buffers;
  std::vector<std::vector<uint32_t>> dims;
  std::shared_ptr<Job> job;
  Clock::time_point busy{};         // program: until when it computes, by the latency model
  std::vector<uint8_t> descriptor;  // as handed out: a deviation may change it
  std::vector<QAicBufferMappings> mappings;
  QAicIoBufferInfo info{};
};

struct Device {
  uint32_t cores = kCores;
  uint64_t memory = kMemory;
};

struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint64_t, std::shared_ptr<Object>> objects;
  std::map<uint64_t, Kind> gone;  // released handles, for cards that accept them still
  std::map<uint32_t, std::shared_ptr<Executor>> executors;
  std::map<std::thread::id, uint32_t> chosen;  // the executor that a thread named
  std::map<std::string, uint64_t> calls;
  Faults faults;
  Latency latency;
  std::vector<Device> devices;
  bool ready = false, vanished = false;
  // What of the settings is not understood: faults, latency model, the rest of the environment.
  std::string bad_faults, bad_latency, bad_rest;
  uint64_t next = 1, next_job = 1;
  uint32_t next_executor = 1;
  FILE* log = nullptr;
};
// Never destroyed: executor threads may outlive the destructors at exit.
State& S();
// Reads the environment once. Needs the lock.
void Prepare(State& s);
const std::string& Problem(const State& s);
bool Deviates(const char* name);

std::shared_ptr<Object> Find(const void* handle, Kind kind);
void Drop(const std::shared_ptr<Object>& object);
// The answer for a handle that Find does not know.
uint32_t Unknown(const void* handle, Kind kind, bool release);

template <typename T>
void Publish(const std::shared_ptr<Object>& object, T** out) {
  object->id = 0xA1C0000000000000ull | S().next++ << 4;
  S().objects[object->id] = object;
  *out = reinterpret_cast<T*>(object->id);
}

// One argument of a call, for the log.
struct Arg {
  const char* name;
  uint64_t value = 0;
  const char* text = nullptr;
  Arg(const char* n, const void* pointer) : name(n), value(reinterpret_cast<uint64_t>(pointer)) {}
  Arg(const char* n, uint64_t number) : name(n), value(number) {}
  Arg(const char* n, uint32_t number) : name(n), value(number) {}
  Arg(const char* n, int32_t number) : name(n), value(static_cast<uint64_t>(static_cast<int64_t>(number))) {}
  Arg(const char* n, const char* words) : name(n), text(words == nullptr ? "null" : words) {}
};
using Args = std::initializer_list<Arg>;

// What a fault makes of the call it meets.
struct Met {
  bool answered = false, garbage = false, stall = false;
  uint32_t status = 0;
  uint64_t nth = 0;
};
// Counts a call and acts on its faults; waits with the lock released.
Met Enter(const char* function, Lock& lock);
void Log(const char* function, uint64_t nth, Args args, uint32_t status);

// A function of the runtime: counted, subject to faults, logged. `body(state, lock, met)` answers the status.
template <typename Body>
uint32_t Call(const char* function, Args args, Body body) {
  State& s = S();
  Lock lock(s.mutex);
  const Met met = Enter(function, lock);
  const uint32_t status = met.answered ? met.status : body(s, lock, met);
  if (s.log != nullptr) Log(function, met.nth, args, status);
  return status;
}

// compute.cc
bool Skipped(const Object& exec, size_t binding);
int MatchSet(const Object& exec);
void ComputeBuiltIn(const Object& exec, Job* job);

}  // namespace aicemu

#define AICEMU_API extern "C" __attribute__((visibility("default"))) uint32_t

#endif  // VLM_RUN_AICEMU_CARD_H_
