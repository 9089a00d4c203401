// Which compiled set a call matches, and the two programs that need no executor.
#include <string.h>

#include <algorithm>

#include "card.h"

namespace aicemu {

bool Skipped(const Object& e, size_t i) { return e.buffers[i].size == 0; }

namespace {

// Two sets that differ only in what a call skips: nothing says which of them is meant.
bool Differ(const Object& e, size_t a, size_t b) {
  for (size_t i = 0; i < e.buffers.size(); i++)
    if (Skipped(e, i) && e.qpc->sets[a][i].dims != e.qpc->sets[b][i].dims && e.qpc->bindings[i].input &&
        e.qpc->bindings[i].name.find("past_") != std::string::npos)
      return true;
  return false;
}

}  // namespace

// The compiled set that the shapes of a call match, or -1. A shape that was skipped fits any set, but where sets with
// caches of other sizes match alike, none is meant.
int MatchSet(const Object& e) {
  int found = -1;
  const bool small = Deviates("small-buffer-accepted"), largest = Deviates("largest-size-only");
  for (size_t s = 0; s < e.qpc->sets.size(); s++) {
    bool fits = true;
    for (size_t i = 0; fits && i < e.buffers.size(); i++) {
      if (Skipped(e, i)) continue;
      const Shape& shape = e.qpc->sets[s][i];
      const uint64_t size = e.buffers[i].size;
      fits = shape.dims == e.dims[i] && (size == shape.bytes || (small && size < shape.bytes) || largest);
    }
    if (!fits) continue;
    if (found < 0) found = static_cast<int>(s);
    else if (Differ(e, static_cast<size_t>(found), s)) return -1;
  }
  return found;
}

namespace {

float HalfAt(const uint8_t* at) {
  uint16_t half = 0;
  memcpy(&half, at, 2);
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
  float value = 0;
  if (exponent == 0) {
    value = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign != 0 ? -value : value;
  }
  const uint32_t bits = sign | (exponent == 0x1f ? 0x7f800000 : (exponent + 112) << 23) | mantissa << 13;
  memcpy(&value, &bits, 4);
  return value;
}

float FloatAt(const std::vector<uint8_t>& bytes, size_t index, uint32_t type) {
  float value = 0;
  if (type == QTYPE_F16) return HalfAt(bytes.data() + index * 2);
  memcpy(&value, bytes.data() + index * 4, 4);
  return value;
}

// The place of the largest value of each row (last axis) of a float input; the lowest place wins a tie.
void Argmax(const std::vector<uint8_t>& in, const Shape& shape, uint32_t type, std::vector<uint8_t>* out) {
  if ((shape.type != QTYPE_F32 && shape.type != QTYPE_F16) || shape.dims.empty() || shape.dims.back() == 0) return;
  const size_t width = shape.dims.back(), rows = in.size() / ElementBytes(shape.type) / width;
  const size_t step = type == QTYPE_I64 ? 8 : 4;
  for (size_t row = 0; row < rows && (row + 1) * step <= out->size(); row++) {
    int64_t best = 0;
    float top = FloatAt(in, row * width, shape.type);
    for (size_t i = 1; i < width; i++) {
      const float value = FloatAt(in, row * width + i, shape.type);
      if (value > top) top = value, best = static_cast<int64_t>(i);
    }
    // Little-endian, as both platforms of the runtime are.
    memcpy(out->data() + row * step, &best, step);
  }
}

}  // namespace

// Echo: output n is a copy of input n, cut or filled with zeros. Argmax: output n, int32 or int64, holds the place of the
// largest value of each row of input n.
void ComputeBuiltIn(const Object& e, Job* job) {
  std::vector<size_t> inputs;
  for (size_t i = 0; i < e.buffers.size(); i++)
    if (e.qpc->bindings[i].input && !Skipped(e, i)) inputs.push_back(i);
  size_t n = 0;
  for (size_t i = 0; i < e.buffers.size(); i++) {
    if (e.qpc->bindings[i].input || Skipped(e, i)) continue;
    std::vector<uint8_t> out(e.buffers[i].size, 0);
    if (n < inputs.size()) {
      const std::vector<uint8_t>& in = job->inputs[inputs[n]];
      const Shape& shape = e.qpc->sets[job->set][inputs[n]];
      if (e.qpc->compute == Compute::kArgmax) Argmax(in, shape, e.qpc->bindings[i].type, &out);
      else if (!in.empty()) memcpy(out.data(), in.data(), std::min(out.size(), in.size()));
    }
    n++;
    job->outputs[static_cast<uint32_t>(i)] = std::move(out);
  }
  job->done = true;
}

}  // namespace aicemu
