// The executor's side: jobs are taken, computed elsewhere and finished. Also what tests read and set.
#include <stdlib.h>
#include <string.h>

#include "card.h"

using namespace aicemu;

#define CONTROL extern "C" __attribute__((visibility("default")))

namespace {

std::shared_ptr<Executor> ExecutorOf(uint32_t number) {
  const auto found = S().executors.find(number);
  return found == S().executors.end() ? nullptr : found->second;
}

}  // namespace

CONTROL const char* aicemuVersion(void) { return "vlm-run emulated Cloud AI 100, 2"; }
CONTROL uint32_t aicemuExecutorCreate(void) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  auto x = std::make_shared<Executor>();
  x->owner = std::this_thread::get_id();
  s.executors[s.next_executor] = x;
  return s.next_executor++;
}
CONTROL void aicemuExecutorUse(uint32_t executor) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  if (executor == 0) s.chosen.erase(std::this_thread::get_id());
  else s.chosen[std::this_thread::get_id()] = executor;
}
CONTROL int aicemuExecutorTake(uint32_t executor, uint32_t timeout_ms, AicemuJob* out) {
  State& s = S();
  Lock lock(s.mutex);
  const auto x = ExecutorOf(executor);
  if (!x) return -1;
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
  const std::lock_guard<std::mutex> lock(S().mutex);
  const auto x = ExecutorOf(executor);
  if (!x) return;
  const auto job = x->taken.find(id);
  if (job != x->taken.end()) job->second->outputs[index].assign(data, data + size);
}
CONTROL void aicemuExecutorFinish(uint32_t executor, uint64_t id, uint32_t status) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto x = ExecutorOf(executor);
  if (!x) return;
  const auto job = x->taken.find(id);
  if (job == x->taken.end()) return;
  job->second->status = status, job->second->done = true;
  x->taken.erase(job);
  s.changed.notify_all();
}
CONTROL void aicemuExecutorClose(uint32_t executor) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto x = ExecutorOf(executor);
  if (!x) return;
  x->closed = true;
  for (const auto& job : x->queue) job->done = true, job->status = QS_ERROR;
  for (const auto& [id, job] : x->taken) job->done = true, job->status = QS_ERROR;
  s.changed.notify_all();
}
CONTROL uint64_t aicemuCalls(const char* function) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const auto found = s.calls.find(function == nullptr ? "" : function);
  return found == s.calls.end() ? 0 : found->second;
}
CONTROL int aicemuFaults(const char* text) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Prepare(s);
  s.calls.clear();
  s.vanished = false;
  const char* const environment = getenv("VLM_AICEMU_FAULTS");
  std::string problem;
  const bool good = ParseFaults(text != nullptr ? text : environment != nullptr ? environment : "", &s.faults, &problem);
  s.bad_faults = good ? "" : "faults: " + problem;
  return good ? 1 : 0;
}
CONTROL int aicemuLatency(const char* text) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Prepare(s);
  std::string problem;
  const bool good = ParseLatency(text == nullptr ? "" : text, &s.latency, &problem);
  s.bad_latency = good ? "" : "latency: " + problem;
  return good ? 1 : 0;
}
CONTROL uint64_t aicemuProblem(char* into, uint64_t size) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Prepare(s);
  const std::string& problem = Problem(s);
  if (into != nullptr && size > 0) {
    const size_t n = problem.size() < size - 1 ? problem.size() : static_cast<size_t>(size - 1);
    memcpy(into, problem.data(), n);
    into[n] = 0;
  }
  return problem.size();
}
CONTROL uint64_t aicemuLiveHandles(void) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  return s.objects.size();
}
CONTROL void aicemuReset(void) {
  State& s = S();
  const std::lock_guard<std::mutex> lock(s.mutex);
  for (Device& d : s.devices) d = Device{};
}
