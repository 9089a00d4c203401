#include "half.h"

#include <string.h>

#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace vlm_ai100 {
namespace {

uint32_t BitsOf(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// Nearest, ties to even. Every NaN becomes the quiet NaN of its sign.
uint16_t ToHalf(float value) {
  const uint32_t x = BitsOf(value);
  const uint16_t sign = static_cast<uint16_t>((x >> 16) & 0x8000);
  const uint32_t magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x33000001) return sign;
  const uint32_t exponent = magnitude >> 23;
  const uint32_t shift = exponent >= 113 ? 13 : 126 - exponent;
  const uint32_t whole = exponent >= 113 ? magnitude - 0x38000000 : (magnitude & 0x7fffff) | 0x800000;
  const uint32_t kept = whole >> shift;
  const uint32_t rest = whole & ((1u << shift) - 1);
  const uint32_t tie = 1u << (shift - 1);
  return static_cast<uint16_t>(sign | (kept + (rest > tie || (rest == tie && (kept & 1)) ? 1 : 0)));
}

#if defined(__x86_64__)
bool HasF16c() {
  static const bool has = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
  return has;
}

__attribute__((target("avx,f16c"))) size_t WidenFast(const uint16_t* from, float* into, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(into + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  return i;
}

__attribute__((target("avx,f16c"))) size_t NarrowFast(const float* from, uint16_t* into, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 values = _mm256_loadu_ps(from + i);
    // The instruction keeps NaN payloads; a block with a NaN goes the slow way, so that every machine gives the same.
    if (_mm256_movemask_ps(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)) != 0) {
      for (size_t j = i; j < i + 8; j++) into[j] = ToHalf(from[j]);
      continue;
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(into + i), _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
  }
  return i;
}
#elif defined(__aarch64__)
bool HasF16c() { return true; }

size_t WidenFast(const uint16_t* from, float* into, size_t count) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) vst1q_f32(into + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + i))));
  return i;
}

size_t NarrowFast(const float* from, uint16_t* into, size_t count) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const float32x4_t values = vld1q_f32(from + i);
    if (vminvq_u32(vceqq_f32(values, values)) == 0) {
      for (size_t j = i; j < i + 4; j++) into[j] = ToHalf(from[j]);
      continue;
    }
    vst1_u16(into + i, vreinterpret_u16_f16(vcvt_f16_f32(values)));
  }
  return i;
}
#else
bool HasF16c() { return false; }
size_t WidenFast(const uint16_t*, float*, size_t) { return 0; }
size_t NarrowFast(const float*, uint16_t*, size_t) { return 0; }
#endif

template <typename At>
void BestBy(At at, size_t width, size_t k, int32_t* ids, float* values) {
  size_t filled = 0;
  for (size_t i = 0; i < width; i++) {
    const float raw = at(i);
    const float v = raw != raw ? -std::numeric_limits<float>::infinity() : raw;
    if (filled == k && !(v > values[k - 1])) continue;
    size_t place = filled < k ? filled++ : k - 1;
    while (place > 0 && v > values[place - 1]) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
      place--;
    }
    values[place] = v;
    ids[place] = static_cast<int32_t>(i);
  }
}

// The best alone: of a row without any number above -Infinity, the first -Infinity, else the first entry as it is.
template <typename At>
void ArgmaxBy(At at, size_t width, int32_t* id, float* value) {
  const float lowest = -std::numeric_limits<float>::infinity();
  float best = lowest;
  int64_t found = -1;
  int64_t first = -1;
  for (size_t i = 0; i < width; i++) {
    const float v = at(i);
    if (v > best) {
      best = v;
      found = static_cast<int64_t>(i);
    } else if (first < 0 && v == lowest) {
      first = static_cast<int64_t>(i);
    }
  }
  const int64_t chosen = found >= 0 ? found : first >= 0 ? first : 0;
  *id = static_cast<int32_t>(chosen);
  *value = at(static_cast<size_t>(chosen));
}

}  // namespace

const char* HalfIsa() {
#if defined(__aarch64__)
  return "neon";
#else
  return HasF16c() ? "f16c" : "portable";
#endif
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return FloatOf(BitsOf(value) | sign);
  }
  if (exponent == 31) return FloatOf(sign | 0x7f800000 | (mantissa != 0 ? 0x400000 : 0) | (mantissa << 13));
  return FloatOf(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

void HalvesToFloats(const uint16_t* from, float* into, size_t count, bool portable) {
  size_t i = !portable && HasF16c() ? WidenFast(from, into, count) : 0;
  for (; i < count; i++) into[i] = HalfToFloat(from[i]);
}

void FloatsToHalves(const float* from, uint16_t* into, size_t count, bool portable) {
  size_t i = !portable && HasF16c() ? NarrowFast(from, into, count) : 0;
  for (; i < count; i++) into[i] = ToHalf(from[i]);
}

void Best(const float* row, size_t width, size_t k, int32_t* ids, float* values) {
  const auto at = [row](size_t i) { return row[i]; };
  if (k == 1) ArgmaxBy(at, width, ids, values);
  else BestBy(at, width, k, ids, values);
}

void BestOfHalves(const uint16_t* row, size_t width, size_t k, int32_t* ids, float* values) {
  const auto at = [row](size_t i) { return HalfToFloat(row[i]); };
  if (k == 1) ArgmaxBy(at, width, ids, values);
  else BestBy(at, width, k, ids, values);
}

}  // namespace vlm_ai100
