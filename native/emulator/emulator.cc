// An emulated Cloud AI 100 behind the runtime's own functions. Handles are numbers of a table, never addresses: a stale
// or invented one is answered with 6 (invalid). Where the facts are silent it is strict. It never passes for a card:
// it exports aicemuVersion and its version variant says emulated.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "../ai100/qaic_abi.h"
#include "control.h"

#define API extern "C" __attribute__((visibility("default"))) uint32_t

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint32_t kCores = 16;
constexpr uint64_t kMemory = 16ull << 30;

struct Binding {
  std::string name;
  bool input = false, partial = false;
  uint32_t type = 0;
  uint64_t size = 0;
};
struct Shape {
  uint32_t type = 0;
  std::vector<uint32_t> dims;
};
enum class Compute { kExecutor, kEcho, kArgmax };
struct Qpc {
  std::string folder, name;
  Compute compute = Compute::kExecutor;
  uint32_t cores = 16, devices = 1;
  uint64_t memory = 0;
  std::vector<Binding> bindings;
  std::vector<std::vector<Shape>> sets;
  std::vector<uint8_t> descriptor;
};

struct Job {
  uint64_t id = 0, exec = 0;
  uint32_t kind = 0, set = 0;
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
  std::vector<uint32_t> elements;
  std::shared_ptr<Job> job;
  std::vector<QAicBufferMappings> mappings;
  QAicIoBufferInfo info{};
};

struct Fault {
  std::string function, action;
  uint64_t nth = 1;
  uint32_t value = 0;
};
struct Device {
  uint32_t cores = kCores;
  uint64_t memory = kMemory;
};

struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint64_t, std::shared_ptr<Object>> objects;
  std::map<uint32_t, std::shared_ptr<Executor>> executors;
  std::map<std::string, uint64_t> calls;
  std::vector<Fault> faults;
  std::vector<Device> devices;
  bool ready = false, vanished = false;
  uint64_t next = 1, next_job = 1;
  uint32_t next_executor = 1;
  uint64_t fixed_us = 0, byte_ns = 0, token_us = 0;
  std::string log;
};
// Never destroyed: executor threads may outlive the destructors at exit.
State& S() {
  static State* const state = new State;
  return *state;
}

std::string Env(const char* name) {
  const char* const value = getenv(name);
  return value == nullptr ? "" : value;
}

// `FUNCTION NTH status|delay|hang|garbage|vanish [VALUE]`, one a line or parted by semicolons; or a file of these.
void ReadFaults(State& s, std::string text) {
  s.faults.clear();
  if (std::ifstream file{text}; !text.empty() && text.find(' ') == std::string::npos && file) {
    std::stringstream all;
    all << file.rdbuf();
    text = all.str();
  }
  for (char& c : text)
    if (c == ';') c = '\n';
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Fault f;
    if (!(words >> f.function >> f.nth >> f.action)) continue;
    words >> f.value;
    s.faults.push_back(f);
  }
}

void Prepare(State& s) {
  if (s.ready) return;
  s.ready = true;
  const std::string count = Env("VLM_AICEMU_DEVICES");
  const long n = count.empty() ? 1 : strtol(count.c_str(), nullptr, 10);
  s.devices.resize(n < 0 ? 0 : n > 64 ? 64 : static_cast<size_t>(n));
  ReadFaults(s, Env("VLM_AICEMU_FAULTS"));
  // fixed_us:ns_per_byte:us_per_token
  unsigned long long a = 0, b = 0, c = 0;
  sscanf(Env("VLM_AICEMU_LATENCY").c_str(), "%llu:%llu:%llu", &a, &b, &c);
  s.fixed_us = a, s.byte_ns = b, s.token_us = c;
  s.log = Env("VLM_AICEMU_LOG");
}

// Counts and logs a call and acts on its fault. True: the call answers `*status`.
bool Enter(const char* function, std::unique_lock<std::mutex>& lock, uint32_t* status, bool* garbage) {
  State& s = S();
  Prepare(s);
  const uint64_t nth = ++s.calls[function];
  if (!s.log.empty()) {
    if (FILE* f = fopen(s.log.c_str(), "a")) {
      fprintf(f, "%s %llu\n", function, static_cast<unsigned long long>(nth));
      fclose(f);
    }
  }
  for (const Fault& f : std::vector<Fault>(s.faults)) {
    if (f.function != function || f.nth != nth) continue;
    if (f.action == "status") return *status = f.value, true;
    if (f.action == "vanish") s.vanished = true, s.changed.notify_all();
    if (f.action == "garbage" && garbage != nullptr) *garbage = true;
    if (f.action == "delay" || f.action == "hang") {
      lock.unlock();
      const auto ms = f.action == "hang" ? 3'600'000u : f.value;
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
      lock.lock();
    }
  }
  if (s.vanished && strncmp(function, "qaicRelease", 11) != 0 && strcmp(function, "qaicGetAicVersion") != 0 &&
      strcmp(function, "qaicCloseQpc") != 0 && strcmp(function, "qaicUnloadProgram") != 0)
    return *status = QS_NODEV, true;
  return false;
}

#define ENTER_WITH(garbage)                                        \
  State& s = S();                                                 \
  std::unique_lock<std::mutex> lock(s.mutex);                     \
  uint32_t fault = 0;                                             \
  if (Enter(__func__, lock, &fault, garbage)) return fault;       \
  (void)s
#define ENTER() ENTER_WITH(nullptr)

std::shared_ptr<Object> Find(const void* handle, Kind kind) {
  const auto found = S().objects.find(reinterpret_cast<uint64_t>(handle));
  return found == S().objects.end() || found->second->kind != kind ? nullptr : found->second;
}

template <typename T>
void Publish(const std::shared_ptr<Object>& object, T** out) {
  object->id = 0xA1C0000000000000ull | S().next++ << 4;
  S().objects[object->id] = object;
  *out = reinterpret_cast<T*>(object->id);
}

bool Number(const std::string& text, uint64_t* out) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos) return false;
  *out = strtoull(text.c_str(), nullptr, 10);
  return true;
}

bool Line(Qpc* q, const std::string& line) {
  std::istringstream words(line);
  std::string key, text;
  if (!(words >> key)) return false;
  uint64_t n = 0, index = 0, type = 0, size = 0;
  if (key == "binding") {
    std::string dir, partial;
    std::string i, t, z;
    Binding b;
    if (!(words >> i >> dir >> t >> z >> partial >> b.name) || !Number(i, &index) || !Number(t, &type)) return false;
    if (!Number(z, &size) || index != q->bindings.size() || index > 65535) return false;
    if ((dir != "in" && dir != "out") || (partial != "0" && partial != "1")) return false;
    b.input = dir == "in", b.partial = partial == "1", b.type = static_cast<uint32_t>(type), b.size = size;
    q->bindings.push_back(b);
    return true;
  }
  if (key == "shape") {
    std::vector<Shape> set;
    while (words >> text) {
      const size_t colon = text.find(':');
      Shape shape;
      if (colon == std::string::npos || !Number(text.substr(0, colon), &type)) return false;
      shape.type = static_cast<uint32_t>(type);
      std::istringstream dims(text.substr(colon + 1));
      for (std::string d; std::getline(dims, d, 'x');) {
        if (!Number(d, &n) || n > 0x7fffffff || shape.dims.size() >= 8) return false;
        shape.dims.push_back(static_cast<uint32_t>(n));
      }
      set.push_back(shape);
    }
    q->sets.push_back(set);
    return set.size() == q->bindings.size();
  }
  if (!(words >> text)) return false;
  if (key == "name" || key == "role") return q->name = text, true;
  if (key == "compute") {
    q->compute = text == "echo" ? Compute::kEcho : text == "argmax" ? Compute::kArgmax : Compute::kExecutor;
    return text == "echo" || text == "argmax" || text == "executor";
  }
  if (!Number(text, &n)) return false;
  if (key == "cores") return q->cores = static_cast<uint32_t>(n), n >= 1;
  if (key == "devices") return q->devices = static_cast<uint32_t>(n), n >= 1 && n <= 64;
  if (key == "memory") return q->memory = n, true;
  return false;
}

std::shared_ptr<Qpc> ReadQpc(const uint8_t* bytes, size_t size, const std::string& folder) {
  auto word = [&](size_t at) {
    uint32_t value = 0;
    memcpy(&value, bytes + at, 4);
    return value;
  };
  if (size < 20 || memcmp(bytes, "VLMEMQPC", 8) != 0 || word(8) != 1) return nullptr;
  const size_t text = word(12);
  if (text > size - 20) return nullptr;
  const size_t descriptor = word(16 + text);
  if (descriptor != size - 20 - text) return nullptr;
  auto q = std::make_shared<Qpc>();
  q->folder = folder;
  std::istringstream lines(std::string(reinterpret_cast<const char*>(bytes) + 16, text));
  for (std::string line; std::getline(lines, line);)
    if (!Line(q.get(), line)) return nullptr;
  if (q->bindings.empty() || q->sets.empty()) return nullptr;
  q->descriptor.assign(bytes + 20 + text, bytes + size);
  return q;
}

uint64_t ElementBytes(uint32_t type) {
  switch (type) {
    case QTYPE_F32: case QTYPE_Q32: case QTYPE_I32: return 4;
    case QTYPE_F16: case QTYPE_Q16: case QTYPE_BF16: return 2;
    case QTYPE_I64: return 8;
    default: return 1;
  }
}

bool Skipped(const Object& e, size_t i) { return e.buffers[i].size == 0; }

// The compiled set that the shapes of a call match, or -1. A shape that was skipped fits any set.
int MatchSet(const Object& e) {
  for (size_t s = 0; s < e.qpc->sets.size(); s++) {
    bool fits = true;
    for (size_t i = 0; fits && i < e.buffers.size(); i++) {
      if (Skipped(e, i)) continue;
      const Shape& shape = e.qpc->sets[s][i];
      uint64_t bytes = ElementBytes(shape.type);
      for (const uint32_t d : shape.dims) bytes *= d;
      fits = shape.dims == e.dims[i] && bytes == e.buffers[i].size;
    }
    if (fits) return static_cast<int>(s);
  }
  return -1;
}

// Echo: output n is a copy of input n, cut or filled with zeros. Argmax: int32 outputs hold the place of the largest f32.
void Compute_(const Object& e, Job* job) {
  std::vector<size_t> inputs;
  for (size_t i = 0; i < e.buffers.size(); i++)
    if (e.qpc->bindings[i].input && !Skipped(e, i)) inputs.push_back(i);
  size_t n = 0;
  for (size_t i = 0; i < e.buffers.size(); i++) {
    if (e.qpc->bindings[i].input || Skipped(e, i)) continue;
    std::vector<uint8_t> out(e.buffers[i].size, 0);
    if (n < inputs.size()) {
      const std::vector<uint8_t>& in = job->inputs[inputs[n]];
      if (e.qpc->compute == Compute::kEcho) {
        memcpy(out.data(), in.data(), std::min(out.size(), in.size()));
      } else {
        int32_t best = 0;
        float top = 0, value = 0;
        for (size_t k = 0; k + 4 <= in.size(); k += 4) {
          memcpy(&value, in.data() + k, 4);
          if (k == 0 || value > top) top = value, best = static_cast<int32_t>(k / 4);
        }
        memcpy(out.data(), &best, std::min<size_t>(out.size(), 4));
      }
    }
    n++;
    job->outputs[static_cast<uint32_t>(i)] = std::move(out);
  }
  job->done = true;
}

void Free(Object* p) {
  if (!p->active) return;
  p->active = false;
  for (const QID id : p->parent->devices) S().devices[static_cast<size_t>(id)].cores += p->qpc->cores;
}
void Unload(Object* p) {
  Free(p);
  if (!p->loaded) return;
  p->loaded = false;
  for (const QID id : p->parent->devices) S().devices[static_cast<size_t>(id)].memory += p->qpc->memory;
}

bool Present(const State& s, QID id) { return id >= 0 && static_cast<size_t>(id) < s.devices.size(); }

}  // namespace

API qaicGetAicVersion(uint16_t* major, uint16_t* minor, const char** patch, const char** variant) {
  ENTER();
  if (major == nullptr || minor == nullptr || patch == nullptr || variant == nullptr) return QS_INVAL;
  *major = 1, *minor = 0, *patch = "0", *variant = "emulated";
  return QS_SUCCESS;
}
API qaicGetDeviceInfo(QID id, void* info) {
  ENTER();
  if (!Present(s, id)) return QS_NODEV;
  return info == nullptr ? QS_INVAL : QS_SUCCESS;
}
API qaicGetResourceInfo(QID id, QResourceInfo* info) {
  bool garbage = false;
  ENTER_WITH(&garbage);
  if (!Present(s, id)) return QS_NODEV;
  if (info == nullptr) return QS_INVAL;
  const Device& d = s.devices[static_cast<size_t>(id)];
  *info = QResourceInfo{};
  info->dramTotal = kMemory, info->dramFree = d.memory;
  info->nspTotal = kCores, info->nspFree = static_cast<uint8_t>(d.cores);
  if (garbage) memset(info, 0xff, sizeof *info);
  return QS_SUCCESS;
}
API qaicCreateContext(QAicContext** context, void*, uint32_t count, QID* devices, qaicLogCb, void*, qaicErrorCb,
                      void*) {
  ENTER();
  if (context == nullptr || devices == nullptr || count == 0 || count > 64) return QS_INVAL;
  auto c = std::make_shared<Object>(Kind::kContext);
  for (uint32_t i = 0; i < count; i++) {
    if (!Present(s, devices[i])) return QS_NODEV;
    for (const QID other : c->devices)
      if (other == devices[i]) return QS_INVAL;
    c->devices.push_back(devices[i]);
  }
  Publish(c, context);
  return QS_SUCCESS;
}
API qaicReleaseContext(QAicContext* context) {
  ENTER();
  const auto c = Find(context, Kind::kContext);
  if (!c) return QS_INVAL;
  if (c->children > 0) return QS_BUSY;
  s.objects.erase(c->id);
  return QS_SUCCESS;
}
API qaicSetLogLevel(QAicContext* context, uint32_t level) {
  ENTER();
  return Find(context, Kind::kContext) && level < 16 ? QS_SUCCESS : QS_INVAL;
}
API qaicCreateQueue(QAicContext* context, QAicQueue** queue, void*, QID id) {
  ENTER();
  const auto c = Find(context, Kind::kContext);
  if (!c || queue == nullptr) return QS_INVAL;
  if (c->devices[0] != id) return QS_NODEV;
  auto q = std::make_shared<Object>(Kind::kQueue);
  q->parent = c, c->children++;
  Publish(q, queue);
  return QS_SUCCESS;
}
API qaicReleaseQueue(QAicQueue* queue) {
  ENTER();
  const auto q = Find(queue, Kind::kQueue);
  if (!q) return QS_INVAL;
  q->parent->children--;
  s.objects.erase(q->id);
  return QS_SUCCESS;
}

static uint32_t OpenBytes(QAicQpcObj** out, const uint8_t* bytes, size_t size, const std::string& folder) {
  const auto qpc = ReadQpc(bytes, size, folder);
  if (!qpc) return QS_BADDESC;
  auto o = std::make_shared<Object>(Kind::kQpc);
  o->qpc = qpc;
  Publish(o, out);
  return QS_SUCCESS;
}
API qaicOpenQpcFile(QAicQpcObj** qpc, const char* path) {
  ENTER();
  if (qpc == nullptr || path == nullptr) return QS_INVAL;
  std::string file = path;
  const std::string tail = "programqpc.bin";
  if (file.size() < tail.size() || file.compare(file.size() - tail.size(), tail.size(), tail) != 0) file += "/" + tail;
  std::ifstream in(file, std::ios::binary);
  if (!in) return QS_INVAL;
  std::stringstream all;
  all << in.rdbuf();
  const std::string bytes = all.str();
  const size_t slash = file.rfind('/');
  return OpenBytes(qpc, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                   slash == std::string::npos ? "." : file.substr(0, slash));
}
API qaicOpenQpc(QAicQpcObj** qpc, uint8_t* buffer, size_t size, bool) {
  ENTER();
  if (qpc == nullptr || buffer == nullptr) return QS_INVAL;
  return OpenBytes(qpc, buffer, size, "");
}
API qaicCloseQpc(QAicQpcObj* qpc) {
  ENTER();
  const auto o = Find(qpc, Kind::kQpc);
  if (!o) return QS_INVAL;
  s.objects.erase(o->id);
  return QS_SUCCESS;
}
API qaicQpcGetInfo(QAicQpcObj* qpc, const void** info) {
  ENTER();
  static const uint8_t kOpaque[kQaicOpaqueBytes] = {};
  if (!Find(qpc, Kind::kQpc) || info == nullptr) return QS_INVAL;
  *info = kOpaque;
  return QS_SUCCESS;
}
API qaicProgramPropertiesInitDefault(void* props) {
  ENTER();
  return props == nullptr ? QS_INVAL : QS_SUCCESS;
}
API qaicCreateProgram(QAicContext* context, QAicProgram** program, void*, QID id, const char*, QAicQpcObj* qpc) {
  ENTER();
  const auto c = Find(context, Kind::kContext);
  const auto q = Find(qpc, Kind::kQpc);
  if (!c || !q || program == nullptr) return QS_INVAL;
  if (c->devices[0] != id) return QS_NODEV;
  if (q->qpc->cores > kCores || q->qpc->memory > kMemory) return QS_NOSPC;
  auto p = std::make_shared<Object>(Kind::kProgram);
  p->parent = c, p->qpc = q->qpc, c->children++;
  for (const auto& [number, e] : s.executors)
    if (e->owner == std::this_thread::get_id() && !e->closed) p->executor = number;
  Publish(p, program);
  return QS_SUCCESS;
}
API qaicLoadProgram(QAicProgram* program) {
  ENTER();
  const auto p = Find(program, Kind::kProgram);
  if (!p || p->loaded) return QS_INVAL;
  if (p->parent->devices.size() < p->qpc->devices) return QS_INVAL;
  for (const QID id : p->parent->devices)
    if (s.devices[static_cast<size_t>(id)].memory < p->qpc->memory) return QS_NOMEM;
  for (const QID id : p->parent->devices) s.devices[static_cast<size_t>(id)].memory -= p->qpc->memory;
  p->loaded = true;
  return QS_SUCCESS;
}
API qaicUnloadProgram(QAicProgram* program) {
  ENTER();
  const auto p = Find(program, Kind::kProgram);
  if (!p || !p->loaded) return QS_INVAL;
  if (p->active) return QS_BUSY;
  Unload(p.get());
  return QS_SUCCESS;
}
API qaicRunActivationCmd(QAicProgram* program, uint32_t command) {
  ENTER();
  const auto p = Find(program, Kind::kProgram);
  if (!p || command > QDEACTIVATE_FULL) return QS_INVAL;
  if (command == QDEACTIVATE_FULL) {
    if (!p->active) return QS_INVAL;
    Free(p.get());
    return QS_SUCCESS;
  }
  if (!p->loaded || p->active || p->failed) return QS_INVAL;
  for (const QID id : p->parent->devices)
    if (s.devices[static_cast<size_t>(id)].cores < p->qpc->cores) return QS_NOSPC;
  for (const QID id : p->parent->devices) s.devices[static_cast<size_t>(id)].cores -= p->qpc->cores;
  p->active = true;
  return QS_SUCCESS;
}
API qaicReleaseProgram(QAicProgram* program) {
  ENTER();
  const auto p = Find(program, Kind::kProgram);
  if (!p) return QS_INVAL;
  if (p->children > 0 || p->active) return QS_BUSY;
  Unload(p.get());
  p->parent->children--;
  s.objects.erase(p->id);
  return QS_SUCCESS;
}
API qaicProgramGetIoDescriptor(QAicProgram* program, QData* descriptor) {
  bool garbage = false;
  ENTER_WITH(&garbage);
  const auto p = Find(program, Kind::kProgram);
  if (!p || descriptor == nullptr) return QS_INVAL;
  descriptor->data = p->qpc->descriptor.data();
  descriptor->size = garbage ? p->qpc->descriptor.size() / 2 : p->qpc->descriptor.size();
  return QS_SUCCESS;
}
API qaicProgramGetIoBufferInfo(QAicProgram* program, QAicIoBufferInfo** info) {
  bool garbage = false;
  ENTER_WITH(&garbage);
  const auto p = Find(program, Kind::kProgram);
  if (!p || info == nullptr) return QS_INVAL;
  p->mappings.clear();
  for (Binding& b : p->qpc->bindings) {
    p->mappings.push_back({b.name.data(), static_cast<uint32_t>(p->mappings.size()),
                           static_cast<uint32_t>(b.input ? QIO_INPUT : QIO_OUTPUT),
                           garbage ? 0xfffffff0u : static_cast<uint32_t>(b.size), b.partial, b.type});
  }
  p->info = {static_cast<uint32_t>(p->mappings.size()), p->mappings.data()};
  *info = &p->info;
  return QS_SUCCESS;
}
API qaicCreateExecObj(QAicContext* context, QAicExecObj** exec, const uint32_t*, QAicProgram* program,
                      const QData* descriptor, void*, void*) {
  ENTER();
  const auto c = Find(context, Kind::kContext);
  const auto p = Find(program, Kind::kProgram);
  if (!c || !p || exec == nullptr || p->parent != c || !p->active) return QS_INVAL;
  if (descriptor != nullptr && (descriptor->data == nullptr || descriptor->size != p->qpc->descriptor.size()))
    return QS_BADDESC;
  auto e = std::make_shared<Object>(Kind::kExec);
  e->parent = p, e->qpc = p->qpc, e->executor = p->executor, p->children++;
  Publish(e, exec);
  return QS_SUCCESS;
}
API qaicReleaseExecObj(QAicExecObj* exec) {
  ENTER();
  const auto e = Find(exec, Kind::kExec);
  if (!e) return QS_INVAL;
  e->parent->children--;
  s.objects.erase(e->id);
  if (const auto x = s.executors.find(e->executor); x != s.executors.end()) {
    auto job = std::make_shared<Job>();
    job->id = s.next_job++, job->exec = e->id, job->kind = 1;
    x->second->queue.push_back(job);
    s.changed.notify_all();
  }
  return QS_SUCCESS;
}
API qaicExecObjSetDataExt(QAicExecObj* exec, uint32_t count, QBuffer* buffers, QBufferDimensions* dims) {
  ENTER();
  const auto e = Find(exec, Kind::kExec);
  if (!e || buffers == nullptr || dims == nullptr || count != e->qpc->bindings.size()) return QS_INVAL;
  if (e->pending) return QS_BUSY;
  std::vector<std::vector<uint32_t>> kept(count);
  for (uint32_t i = 0; i < count; i++) {
    const Binding& b = e->qpc->bindings[i];
    if (buffers[i].type != QBUFFER_TYPE_HEAP || dims[i].count > 8 || (dims[i].count > 0 && dims[i].dims == nullptr))
      return QS_INVAL;
    kept[i].assign(dims[i].dims, dims[i].dims + dims[i].count);
    const bool skipped = buffers[i].size == 0;
    if (skipped ? !(b.partial && kept[i] == std::vector<uint32_t>{0}) : buffers[i].buf == nullptr) return QS_INVAL;
    if (buffers[i].size > b.size) return QS_INVAL;
  }
  e->buffers.assign(buffers, buffers + count);
  e->dims = std::move(kept);
  e->set = true;
  return QS_SUCCESS;
}
API qaicEnqueueExecObj(QAicQueue* queue, QAicExecObj* exec, QAicEvent*) {
  ENTER();
  const auto q = Find(queue, Kind::kQueue);
  const auto e = Find(exec, Kind::kExec);
  if (!q || !e || q->parent != e->parent->parent || !e->set || !e->parent->active || e->parent->failed)
    return QS_INVAL;
  if (e->pending) return QS_BUSY;
  auto job = std::make_shared<Job>();
  job->id = s.next_job++, job->exec = e->id, job->folder = e->qpc->folder;
  e->job = job, e->pending = true;
  const int set = MatchSet(*e);
  if (set < 0) return job->done = true, job->status = QS_DEV_ERROR, QS_SUCCESS;
  job->set = static_cast<uint32_t>(set);
  uint64_t bytes = 0, tokens = 0;
  job->inputs.resize(e->buffers.size()), job->views.resize(e->buffers.size());
  for (size_t i = 0; i < e->buffers.size(); i++) {
    bytes += e->buffers[i].size;
    if (e->qpc->bindings[i].name == "input_ids") tokens = e->buffers[i].size / 8;
    if (!e->qpc->bindings[i].input || Skipped(*e, i)) continue;
    const uint8_t* const at = e->buffers[i].buf + e->buffers[i].offset;
    job->inputs[i].assign(at, at + e->buffers[i].size);
    job->views[i] = {job->inputs[i].data(), job->inputs[i].size()};
  }
  job->ready = Clock::now() + std::chrono::microseconds(s.fixed_us + bytes * s.byte_ns / 1000 + tokens * s.token_us);
  if (e->qpc->compute != Compute::kExecutor) return Compute_(*e, job.get()), QS_SUCCESS;
  const auto x = s.executors.find(e->executor);
  if (x == s.executors.end() || x->second->closed) return job->done = true, job->status = QS_ERROR, QS_SUCCESS;
  x->second->queue.push_back(job);
  s.changed.notify_all();
  return QS_SUCCESS;
}
API qaicExecObjWaitForCompletion(QAicExecObj* exec, uint32_t timeout_us) {
  ENTER();
  const auto e = Find(exec, Kind::kExec);
  if (!e || !e->pending) return QS_INVAL;
  const auto job = e->job;
  // On the executor's own thread the job could never begin.
  if (const auto x = s.executors.find(e->executor);
      !job->done && x != s.executors.end() && x->second->worker == std::this_thread::get_id())
    return QS_PROTO;
  const auto end = Clock::now() + std::chrono::microseconds(timeout_us);
  s.changed.wait_until(lock, end, [&] { return job->done || s.vanished; });
  uint32_t status = job->done ? job->status : s.vanished ? QS_NODEV : QS_TIMEDOUT;
  if (status == QS_SUCCESS && job->ready > Clock::now()) {
    const auto until = std::min(end, job->ready);
    lock.unlock();
    std::this_thread::sleep_until(until);
    lock.lock();
    if (job->ready > end) status = QS_TIMEDOUT;
  }
  if (!Find(exec, Kind::kExec)) return QS_INVAL;
  e->pending = false;
  if (status == QS_SUCCESS) {
    for (const auto& [i, out] : job->outputs) {
      if (i >= e->buffers.size() || e->qpc->bindings[i].input || out.size() > e->buffers[i].size) continue;
      memcpy(e->buffers[i].buf + e->buffers[i].offset, out.data(), out.size());
    }
  } else {
    e->parent->failed = true;  // deactivate, release and create anew
  }
  e->job.reset();
  return status;
}

#define CONTROL extern "C" __attribute__((visibility("default")))
CONTROL const char* aicemuVersion(void) { return "vlm-run emulated Cloud AI 100, 1"; }
CONTROL uint32_t aicemuExecutorCreate(void) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  auto x = std::make_shared<Executor>();
  x->owner = std::this_thread::get_id();
  s.executors[s.next_executor] = x;
  return s.next_executor++;
}
CONTROL int aicemuExecutorTake(uint32_t executor, uint32_t timeout_ms, AicemuJob* out) {
  State& s = S();
  std::unique_lock<std::mutex> lock(s.mutex);
  const auto found = s.executors.find(executor);
  if (found == s.executors.end()) return -1;
  const auto x = found->second;
  x->worker = std::this_thread::get_id();
  s.changed.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return x->closed || !x->queue.empty(); });
  if (x->closed) return s.executors.erase(executor), -1;
  if (x->queue.empty()) return 0;
  const auto job = x->queue.front();
  x->queue.pop_front();
  x->taken[job->id] = job;
  *out = {job->id, job->exec, job->kind, job->set, job->folder.c_str(), static_cast<uint32_t>(job->views.size()),
          job->views.data()};
  return 1;
}
CONTROL void aicemuExecutorOutput(uint32_t executor, uint64_t id, uint32_t index, const uint8_t* data, uint64_t size) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto x = s.executors.find(executor);
  if (x == s.executors.end()) return;
  const auto job = x->second->taken.find(id);
  if (job != x->second->taken.end()) job->second->outputs[index].assign(data, data + size);
}
CONTROL void aicemuExecutorFinish(uint32_t executor, uint64_t id, uint32_t status) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto x = s.executors.find(executor);
  if (x == s.executors.end()) return;
  const auto job = x->second->taken.find(id);
  if (job == x->second->taken.end()) return;
  job->second->status = status, job->second->done = true;
  x->second->taken.erase(job);
  s.changed.notify_all();
}
CONTROL void aicemuExecutorClose(uint32_t executor) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto found = s.executors.find(executor);
  if (found == s.executors.end()) return;
  found->second->closed = true;
  for (const auto& job : found->second->queue) job->done = true, job->status = QS_ERROR;
  for (const auto& [id, job] : found->second->taken) job->done = true, job->status = QS_ERROR;
  s.changed.notify_all();
}
CONTROL uint64_t aicemuCalls(const char* function) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto found = s.calls.find(function == nullptr ? "" : function);
  return found == s.calls.end() ? 0 : found->second;
}
CONTROL void aicemuFaults(const char* text) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Prepare(s);
  s.calls.clear();
  s.vanished = false;
  ReadFaults(s, text == nullptr ? Env("VLM_AICEMU_FAULTS") : text);
}
CONTROL uint64_t aicemuLiveHandles(void) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  return s.objects.size();
}
