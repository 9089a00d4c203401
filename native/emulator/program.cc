// The runtime's functions of programs and executions.
#include <string.h>

#include <algorithm>

#include "card.h"

using namespace aicemu;

namespace {

Device& Card(QID id) { return S().devices[static_cast<size_t>(id)]; }

void Deactivate(Object* p) {
  if (!p->active) return;
  p->active = false;
  if (Deviates("cores-unlimited") || Deviates("cores-not-freed")) return;
  for (const QID id : p->parent->devices) Card(id).cores += p->qpc->cores;
}
void Unload(Object* p) {
  Deactivate(p);
  if (!p->loaded) return;
  p->loaded = false;
  for (const QID id : p->parent->devices) Card(id).memory += p->qpc->memory;
}
uint32_t Activate(Object* p) {
  if (p->active || !p->loaded || p->failed) return QS_INVAL;
  if (!Deviates("cores-unlimited")) {
    for (const QID id : p->parent->devices)
      if (Card(id).cores < p->qpc->cores) return QS_NOSPC;
    for (const QID id : p->parent->devices) Card(id).cores -= p->qpc->cores;
  }
  p->active = true;
  return QS_SUCCESS;
}

uint32_t ExecutorOfThread(const State& s) {
  const auto own = std::this_thread::get_id();
  if (const auto named = s.chosen.find(own); named != s.chosen.end()) return named->second;
  uint32_t newest = 0;
  for (const auto& [number, e] : s.executors)
    if (e->owner == own && !e->closed) newest = number;
  return newest;
}

void Post(State& s, const Object& e, const std::shared_ptr<Job>& job, uint32_t kind) {
  job->id = s.next_job++, job->exec = e.id, job->kind = kind, job->folder = e.qpc->folder;
  if (const auto x = s.executors.find(e.executor); x != s.executors.end() && !x->second->closed) {
    x->second->queue.push_back(job);
    s.changed.notify_all();
  } else {
    job->done = true, job->status = QS_ERROR;
  }
}

bool SkippedLike(const Object& e, const char* name) {
  for (size_t i = 0; i < e.buffers.size(); i++)
    if (e.qpc->bindings[i].input && e.qpc->bindings[i].name.find(name) != std::string::npos && Skipped(e, i))
      return true;
  return false;
}

// Copies what the card reads, and says when it will have finished by the latency model.
void Read(State& s, const Object& e, Job* job) {
  uint64_t bytes = 0, tokens = 0;
  job->inputs.resize(e.buffers.size()), job->views.resize(e.buffers.size());
  for (size_t i = 0; i < e.buffers.size(); i++) {
    const Binding& b = e.qpc->bindings[i];
    bytes += e.buffers[i].size;
    if (b.input && b.name.find("input_ids") != std::string::npos)
      tokens = e.buffers[i].size / ElementBytes(b.type);
    if (!b.input || Skipped(e, i)) continue;
    const uint8_t* const at = e.buffers[i].buf + e.buffers[i].offset;
    job->inputs[i].assign(at, at + e.buffers[i].size);
    // Whatever sizes are accepted, those who compute get whole tensors.
    job->inputs[i].resize(e.qpc->sets[job->set][i].bytes);
    job->views[i] = {job->inputs[i].data(), job->inputs[i].size()};
  }
  const Latency& l = s.latency;
  // A program computes one call at a time, however many wait for it.
  const auto begin = std::max(Clock::now(), e.parent->busy);
  job->ready = begin + std::chrono::microseconds(l.fixed_us + bytes * l.byte_ns / 1000 + tokens * l.token_us);
  e.parent->busy = job->ready;
}

// What the deviations of setData make of one buffer.
bool Accepted(const Binding& b, const QBuffer& buffer, const std::vector<uint32_t>& dims) {
  if (buffer.size == 0) return b.partial && dims == std::vector<uint32_t>{0} && !Deviates("skipped-refused");
  if (buffer.buf == nullptr || buffer.size > b.size) return false;
  return buffer.size == b.size || !Deviates("largest-size-only");
}

constexpr auto kWakeup = std::chrono::microseconds(500);

// Awake until then; the lock is free meanwhile.
void Linger(Lock& lock, Clock::time_point until) {
  lock.unlock();
  while (Clock::now() < until) std::this_thread::yield();
  lock.lock();
}

// Waits for the end of a job, its time by the latency model or the timeout; the lock is free meanwhile.
uint32_t Await(State& s, Lock& lock, const Job& job, uint32_t timeout_us) {
  const auto end = Clock::now() + std::chrono::microseconds(timeout_us);
  const auto over = [&] { return s.vanished || (job.done && (job.status != 0 || job.ready <= Clock::now())); };
  const bool endless = Deviates("timeout-ignored");
  while (!over() && (endless || Clock::now() < end)) {
    const auto until = job.done ? std::min(job.ready, endless ? job.ready : end) : end;
    if (endless && !job.done) s.changed.wait(lock);
    // A thread that sleeps wakes up to half a millisecond late, which would be counted as the card's time.
    else if (job.done && until - Clock::now() < kWakeup) Linger(lock, until);
    else s.changed.wait_until(lock, job.done ? until - kWakeup : until);
  }
  if (s.vanished) return QS_NODEV;
  if (!over()) return Deviates("timeout-status") ? QS_ERROR : QS_TIMEDOUT;
  return job.status;
}

}  // namespace

AICEMU_API qaicCreateProgram(QAicContext* context, QAicProgram** program, void*, QID id, const char* name,
                             QAicQpcObj* qpc) {
  return Call(__func__, {{"context", context}, {"id", id}, {"name", name}, {"qpc", qpc}},
              [&](State& s, Lock&, const Met&) -> uint32_t {
                const auto c = Find(context, Kind::kContext);
                const auto q = Find(qpc, Kind::kQpc);
                if (!c || !q || program == nullptr) return QS_INVAL;
                if (c->devices[0] != id) return QS_NODEV;
                if (q->qpc->cores > kCores || q->qpc->memory > kMemory) return QS_NOSPC;
                auto p = std::make_shared<Object>(Kind::kProgram);
                p->parent = c, p->qpc = q->qpc, c->children++;
                p->executor = ExecutorOfThread(s);
                Publish(p, program);
                return QS_SUCCESS;
              });
}
AICEMU_API qaicLoadProgram(QAicProgram* program) {
  return Call(__func__, {{"program", program}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto p = Find(program, Kind::kProgram);
    if (!p) return Unknown(program, Kind::kProgram, false);
    if (p->loaded || p->parent->devices.size() < p->qpc->devices) return QS_INVAL;
    for (const QID id : p->parent->devices)
      if (Card(id).memory < p->qpc->memory) return QS_NOMEM;
    for (const QID id : p->parent->devices) Card(id).memory -= p->qpc->memory;
    p->loaded = true;
    return QS_SUCCESS;
  });
}
AICEMU_API qaicUnloadProgram(QAicProgram* program) {
  return Call(__func__, {{"program", program}}, [&](State& s, Lock&, const Met&) -> uint32_t {
    const auto p = Find(program, Kind::kProgram);
    if (!p) return Unknown(program, Kind::kProgram, false);
    if (!p->loaded) return QS_INVAL;
    if (p->active && !s.vanished) return QS_BUSY;
    Unload(p.get());
    return QS_SUCCESS;
  });
}
AICEMU_API qaicRunActivationCmd(QAicProgram* program, uint32_t command) {
  return Call(__func__, {{"program", program}, {"command", command}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto p = Find(program, Kind::kProgram);
    if (!p) return Unknown(program, Kind::kProgram, false);
    if (command == QACTIVATE_FULL) return Activate(p.get());
    if (command != QDEACTIVATE_FULL || !p->active) return QS_INVAL;
    Deactivate(p.get());
    return QS_SUCCESS;
  });
}
AICEMU_API qaicReleaseProgram(QAicProgram* program) {
  return Call(__func__, {{"program", program}}, [&](State& s, Lock&, const Met&) -> uint32_t {
    const auto p = Find(program, Kind::kProgram);
    if (!p) return Unknown(program, Kind::kProgram, true);
    // A card that is gone runs nothing: only the host's side is left to free.
    if (p->children > 0 || (p->active && !s.vanished)) return QS_BUSY;
    Unload(p.get());
    p->parent->children--;
    Drop(p);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicProgramGetIoDescriptor(QAicProgram* program, QData* descriptor) {
  return Call(__func__, {{"program", program}}, [&](State&, Lock&, const Met& met) -> uint32_t {
    const auto p = Find(program, Kind::kProgram);
    if (!p || descriptor == nullptr) return QS_INVAL;
    p->descriptor = p->qpc->descriptor;
    if (Deviates("descriptor-sizes")) SpoilSizes(&p->descriptor);
    if (Deviates("shapes-order")) SwapShapes(&p->descriptor);
    if (met.garbage || Deviates("descriptor-short")) p->descriptor.resize(p->descriptor.size() / 2);
    descriptor->data = p->descriptor.data(), descriptor->size = p->descriptor.size();
    return QS_SUCCESS;
  });
}
AICEMU_API qaicProgramGetIoBufferInfo(QAicProgram* program, QAicIoBufferInfo** info) {
  return Call(__func__, {{"program", program}}, [&](State&, Lock&, const Met& met) -> uint32_t {
    const auto p = Find(program, Kind::kProgram);
    if (!p || info == nullptr) return QS_INVAL;
    p->mappings.clear();
    const bool off = Deviates("buffer-info-sizes");
    for (Binding& b : p->qpc->bindings) {
      const auto size = static_cast<uint32_t>(off ? b.size / 2 : b.size);
      p->mappings.push_back({b.name.data(), static_cast<uint32_t>(p->mappings.size()),
                             static_cast<uint32_t>(b.input ? QIO_INPUT : QIO_OUTPUT), met.garbage ? 0xfffffff0u : size,
                             b.partial, b.type});
    }
    p->info = {static_cast<uint32_t>(p->mappings.size()), p->mappings.data()};
    *info = &p->info;
    return QS_SUCCESS;
  });
}
AICEMU_API qaicCreateExecObj(QAicContext* context, QAicExecObj** exec, const uint32_t*, QAicProgram* program,
                             const QData* descriptor, void*, void*) {
  return Call(__func__, {{"context", context}, {"program", program}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto c = Find(context, Kind::kContext);
    const auto p = Find(program, Kind::kProgram);
    if (!c || !p || exec == nullptr || p->parent != c || !p->active) return QS_INVAL;
    if (descriptor != nullptr && (descriptor->data == nullptr || descriptor->size != p->qpc->descriptor.size()))
      return QS_BADDESC;
    auto e = std::make_shared<Object>(Kind::kExec);
    e->parent = p, e->qpc = p->qpc, e->executor = p->executor, p->children++;
    Publish(e, exec);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicReleaseExecObj(QAicExecObj* exec) {
  return Call(__func__, {{"exec", exec}}, [&](State& s, Lock&, const Met&) -> uint32_t {
    const auto e = Find(exec, Kind::kExec);
    if (!e) return Unknown(exec, Kind::kExec, true);
    e->parent->children--;
    Drop(e);
    Post(s, *e, std::make_shared<Job>(), kAicemuReleased);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicExecObjSetDataExt(QAicExecObj* exec, uint32_t count, QBuffer* buffers, QBufferDimensions* dims) {
  return Call(__func__, {{"exec", exec}, {"count", count}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto e = Find(exec, Kind::kExec);
    if (!e) return Unknown(exec, Kind::kExec, false);
    if (buffers == nullptr || dims == nullptr || count != e->qpc->bindings.size()) return QS_INVAL;
    if (e->pending) return QS_BUSY;
    std::vector<std::vector<uint32_t>> kept(count);
    for (uint32_t i = 0; i < count; i++) {
      if (buffers[i].type != QBUFFER_TYPE_HEAP || dims[i].count > 8 || (dims[i].count > 0 && dims[i].dims == nullptr))
        return QS_INVAL;
      kept[i].assign(dims[i].dims, dims[i].dims + dims[i].count);
      if (!Accepted(e->qpc->bindings[i], buffers[i], kept[i])) return QS_INVAL;
    }
    e->buffers.assign(buffers, buffers + count);
    e->dims = std::move(kept);
    e->set = Deviates("unlisted-early") ? MatchSet(*e) >= 0 : true;
    return e->set ? QS_SUCCESS : QS_INVAL;
  });
}
AICEMU_API qaicEnqueueExecObj(QAicQueue* queue, QAicExecObj* exec, QAicEvent*) {
  return Call(__func__, {{"queue", queue}, {"exec", exec}}, [&](State& s, Lock&, const Met& met) -> uint32_t {
    const auto q = Find(queue, Kind::kQueue);
    const auto e = Find(exec, Kind::kExec);
    if (!e) return Unknown(exec, Kind::kExec, false);
    if (!q || q->parent != e->parent->parent || !e->set || !e->parent->active || e->parent->failed) return QS_INVAL;
    if (e->pending) return QS_BUSY;
    auto job = std::make_shared<Job>();
    e->job = job, e->pending = true;
    if (met.stall) return QS_SUCCESS;
    const int set = MatchSet(*e);
    if (set < 0) {
      job->done = true, job->status = Deviates("unlisted-accepted") ? QS_SUCCESS : QS_DEV_ERROR;
      return QS_SUCCESS;
    }
    job->set = static_cast<uint32_t>(set);
    Read(s, *e, job.get());
    if (e->qpc->compute != Compute::kExecutor) return ComputeBuiltIn(*e, job.get()), QS_SUCCESS;
    if (Deviates("state-lost")) Post(s, *e, std::make_shared<Job>(), kAicemuCacheLost);
    if (Deviates("skipped-reset") && SkippedLike(*e, "vision_embeds"))
      Post(s, *e, std::make_shared<Job>(), kAicemuRowsLost);
    Post(s, *e, job, kAicemuRun);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicExecObjWaitForCompletion(QAicExecObj* exec, uint32_t timeout_us) {
  return Call(__func__, {{"exec", exec}, {"timeout_us", timeout_us}}, [&](State& s, Lock& lock, const Met&) -> uint32_t {
    const auto e = Find(exec, Kind::kExec);
    if (!e) return Unknown(exec, Kind::kExec, false);
    if (!e->pending) return QS_INVAL;
    const auto job = e->job;
    // On the executor's own thread the job could never begin.
    if (const auto x = s.executors.find(e->executor);
        !job->done && x != s.executors.end() && x->second->worker == std::this_thread::get_id())
      return QS_PROTO;
    const uint32_t status = Await(s, lock, *job, timeout_us);
    if (!Find(exec, Kind::kExec)) return QS_INVAL;
    e->pending = false;
    // To be deactivated, released and made anew.
    if (status != QS_SUCCESS) e->parent->failed = !Deviates("error-forgiven");
    if (status == QS_SUCCESS && !Deviates("outputs-not-written")) {
      for (const auto& [i, out] : job->outputs) {
        if (i >= e->buffers.size() || e->qpc->bindings[i].input || Skipped(*e, i)) continue;
        memcpy(e->buffers[i].buf + e->buffers[i].offset, out.data(), std::min<size_t>(out.size(), e->buffers[i].size));
      }
    }
    e->job.reset();
    return status;
  });
}
