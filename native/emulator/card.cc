#include "card.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace aicemu {

State& S() {
  static State* const state = new State;
  return *state;
}

const std::string& Problem(const State& s) {
  return !s.bad_faults.empty() ? s.bad_faults : !s.bad_latency.empty() ? s.bad_latency : s.bad_rest;
}

bool Deviates(const char* name) {
  const auto& set = S().faults.deviations;
  return !set.empty() && set.count(name) != 0;
}

namespace {

std::string Env(const char* name) {
  const char* const value = getenv(name);
  return value == nullptr ? "" : value;
}

void Refuse(std::string* into, const std::string& problem) {
  *into = problem;
  // A caller without the control interface sees only status 6 of every call: the reason goes where it can.
  fprintf(stderr, "emulated card: %s\n", problem.c_str());
}

}  // namespace

void Prepare(State& s) {
  if (s.ready) return;
  s.ready = true;
  const std::string count = Env("VLM_AICEMU_DEVICES"), log = Env("VLM_AICEMU_LOG");
  std::string problem;
  uint32_t devices = 1;
  if (!count.empty() && !ParseCount(count, 64, &devices))
    Refuse(&s.bad_rest, "VLM_AICEMU_DEVICES: \"" + count.substr(0, 120) + "\"; expected a whole number from 0 to 64");
  s.devices.resize(devices);
  if (!ParseFaults(Env("VLM_AICEMU_FAULTS"), &s.faults, &problem)) Refuse(&s.bad_faults, "VLM_AICEMU_FAULTS: " + problem);
  if (!ParseLatency(Env("VLM_AICEMU_LATENCY"), &s.latency, &problem)) Refuse(&s.bad_latency, "VLM_AICEMU_LATENCY: " + problem);
  if (!log.empty()) s.log = fopen(log.c_str(), "a");
  if (!log.empty() && s.log == nullptr) Refuse(&s.bad_rest, "VLM_AICEMU_LOG: \"" + log.substr(0, 120) + "\" cannot be written");
  // A line reaches the file whole and at once: other processes append to it, and this one may be killed.
  if (s.log != nullptr) setvbuf(s.log, nullptr, _IOLBF, 1 << 12);
}

std::shared_ptr<Object> Find(const void* handle, Kind kind) {
  const auto found = S().objects.find(reinterpret_cast<uint64_t>(handle));
  return found == S().objects.end() || found->second->kind != kind ? nullptr : found->second;
}

void Drop(const std::shared_ptr<Object>& object) {
  State& s = S();
  if (Deviates("stale-accepted") || Deviates("double-release-accepted")) s.gone[object->id] = object->kind;
  s.objects.erase(object->id);
}

uint32_t Unknown(const void* handle, Kind kind, bool release) {
  const auto found = S().gone.find(reinterpret_cast<uint64_t>(handle));
  if (found == S().gone.end() || found->second != kind) return QS_INVAL;
  return Deviates(release ? "double-release-accepted" : "stale-accepted") ? QS_SUCCESS : QS_INVAL;
}

Met Enter(const char* function, Lock& lock) {
  State& s = S();
  Prepare(s);
  Met met;
  met.nth = ++s.calls[function];
  if (!Problem(s).empty()) return met.answered = true, met.status = QS_INVAL, met;
  uint64_t wait_ms = 0;
  for (const Fault& f : s.faults.rules) {
    if (f.function != function || (f.nth != 0 && f.nth != met.nth)) continue;
    if (f.action == Action::kStatus && !met.answered) met.answered = true, met.status = f.value;
    if (f.action == Action::kVanish) s.vanished = true, s.changed.notify_all();
    if (f.action == Action::kGarbage) met.garbage = true;
    if (f.action == Action::kStall) met.stall = true;
    if (f.action == Action::kDelay) wait_ms += f.value;
    // Longer than any watchdog waits; a caller that returns after all finds the process gone.
    if (f.action == Action::kHang) wait_ms += 24ull * 3'600'000;
  }
  if (wait_ms > 0) {
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    lock.lock();
  }
  // What only frees the host's side of things works without a card.
  const bool host = strncmp(function, "qaicRelease", 11) == 0 || strcmp(function, "qaicGetAicVersion") == 0 ||
                    strcmp(function, "qaicCloseQpc") == 0 || strcmp(function, "qaicUnloadProgram") == 0;
  if (s.vanished && !host && !met.answered) met.answered = true, met.status = QS_NODEV;
  return met;
}

void Log(const char* function, uint64_t nth, Args args, uint32_t status) {
  std::string line = std::string(function) + " " + std::to_string(nth);
  for (const Arg& a : args) {
    char value[32];
    snprintf(value, sizeof value, a.value > 0xffffffff ? "0x%" PRIx64 : "%" PRIu64, a.value);
    line += std::string(" ") + a.name + "=" + (a.text != nullptr ? a.text : value);
  }
  fprintf(S().log, "%s -> %u\n", line.c_str(), status);
}

}  // namespace aicemu
