// AVX2 and VNNI kernels. A 22-bit weight does not fit the 16-bit multipliers, so each is split into small digits
// (weight = sum of digit[d] << shift[d]); sums of the digits are kept apart and joined at the end. All sums are modulo
// 2^32, so the result is exactly that of the portable kernels.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>
#include <vector>

#include "kernels.h"

#define AVX2 __attribute__((target("avx2")))
#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))

namespace vlm_image {
namespace {

constexpr int kLowBits = 15;
constexpr size_t kReach = 32;  // bytes that a load may read past the last pixel it uses
constexpr size_t kRowsAtOnce = 4;

int16_t LowPart(int32_t weight) { return static_cast<int16_t>(weight & ((1 << kLowBits) - 1)); }
int16_t HighPart(int32_t weight) { return static_cast<int16_t>(weight >> kLowBits); }

// Where the weights of an output start among the expanded ones, and how many groups of taps they are.
struct Span {
  size_t first;
  size_t groups;
};

std::vector<Span> SpansOf(const Axis& axis, size_t taps, size_t* total) {
  std::vector<Span> spans(axis.outputs);
  *total = 0;
  for (size_t x = 0; x < axis.outputs; x++) {
    const size_t groups = (static_cast<size_t>(axis.counts[x]) + taps - 1) / taps;
    spans[x] = {*total, groups};
    *total += groups;
  }
  return spans;
}

int32_t WeightAt(const Axis& axis, size_t x, size_t tap) {
  return tap < static_cast<size_t>(axis.counts[x]) ? axis.weights[x * axis.size + tap] : 0;
}

// A pixel of each row: four sums (red, green, blue, nothing) -> three bytes a row.
AVX2 inline void StorePixels(const __m128i sums[kRowsAtOnce], size_t rows, uint8_t* out, size_t stride) {
  alignas(16) uint8_t bytes[16];
  const __m128i a = _mm_packs_epi32(_mm_srai_epi32(sums[0], kPrecisionBits), _mm_srai_epi32(sums[1], kPrecisionBits));
  const __m128i b = _mm_packs_epi32(_mm_srai_epi32(sums[2], kPrecisionBits), _mm_srai_epi32(sums[3], kPrecisionBits));
  _mm_store_si128(reinterpret_cast<__m128i*>(bytes), _mm_packus_epi16(a, b));
  for (size_t r = 0; r < rows; r++) {
    uint8_t* to = out + r * stride;
    std::memcpy(to, bytes + 4 * r, 2);
    to[2] = bytes[4 * r + 2];
  }
}

// --- AVX2: groups of four taps, weights as a low part of 15 bits and a high part.

struct alignas(32) Group16 {
  int16_t low[16];
  int16_t high[16];
};

void FillGroup(const Axis& axis, size_t x, size_t tap, Group16* group) {
  std::memset(group, 0, sizeof *group);
  for (size_t half = 0; half < 2; half++) {
    for (size_t channel = 0; channel < 3; channel++) {
      for (size_t i = 0; i < 2; i++) {
        const int32_t weight = WeightAt(axis, x, tap + half * 2 + i);
        group->low[half * 8 + channel * 2 + i] = LowPart(weight);
        group->high[half * 8 + channel * 2 + i] = HighPart(weight);
      }
    }
  }
}

// Four RGB pixels -> 16-bit pairs: [r0 r1 g0 g1 b0 b1 - -] and [r2 r3 g2 g3 b2 b3 - -].
AVX2 inline __m256i PairMask() {
  return _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                          6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
}

AVX2 inline __m128i Join16(__m256i low, __m256i high) {
  const __m256i sum = _mm256_add_epi32(low, _mm256_slli_epi32(high, kLowBits));
  const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_add_epi32(both, _mm_set1_epi32(kHalf));
}

AVX2 inline __m256i Load4(const uint8_t* in, __m256i mask) {
  const __m128i pixels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), mask);
}

AVX2 void Rows16(const HorizontalPass& p, const uint8_t* const rows[kRowsAtOnce], size_t count, size_t y,
                 const std::vector<Span>& spans, const Group16* groups) {
  const size_t stride = p.axis.outputs * 3;
  uint8_t* out = p.output + y * stride;
  const __m256i mask = PairMask();
  for (size_t x = 0; x < p.axis.outputs; x++, out += 3) {
    const size_t start = static_cast<size_t>(p.axis.starts[x]) * 3;
    const uint8_t* in[kRowsAtOnce] = {rows[0] + start, rows[1] + start, rows[2] + start, rows[3] + start};
    __m256i low[kRowsAtOnce], high[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; r++) low[r] = high[r] = _mm256_setzero_si256();
    const Group16* group = groups + spans[x].first;
    for (size_t g = 0; g < spans[x].groups; g++, group++) {
      const __m256i weights_low = _mm256_load_si256(reinterpret_cast<const __m256i*>(group->low));
      const __m256i weights_high = _mm256_load_si256(reinterpret_cast<const __m256i*>(group->high));
#pragma GCC unroll 4
      for (size_t r = 0; r < kRowsAtOnce; r++) {
        const __m256i pixels = Load4(in[r] + g * 12, mask);
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, weights_low));
        high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, weights_high));
      }
    }
    __m128i sums[kRowsAtOnce];
#pragma GCC unroll 4
    for (size_t r = 0; r < kRowsAtOnce; r++) sums[r] = Join16(low[r], high[r]);
    StorePixels(sums, count, out, stride);
  }
}

// Calls `body(rows, count, y)` for every four rows. Loads reach past a row's end; only behind the last row may that be
// outside of the buffer, so the rows near it are read from a padded copy.
template <typename Body>
void ForRows(const HorizontalPass& p, const Body& body) {
  const size_t row_bytes = p.in_width * 3;
  std::vector<uint8_t> copy;
  for (size_t y = 0; y < p.rows; y += kRowsAtOnce) {
    const size_t count = p.rows - y < kRowsAtOnce ? p.rows - y : kRowsAtOnce;
    const uint8_t* base = p.input + y * row_bytes;
    if ((y + count) * row_bytes + kReach > p.input_bytes) {
      copy.assign(count * row_bytes + kReach, 0);
      std::memcpy(copy.data(), base, count * row_bytes);
      base = copy.data();
    }
    const uint8_t* rows[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; r++) rows[r] = base + (r < count ? r : 0) * row_bytes;
    body(rows, count, y);
  }
}

void HorizontalAvx2(const HorizontalPass& p) {
  size_t total = 0;
  const std::vector<Span> spans = SpansOf(p.axis, 4, &total);
  std::vector<Group16> groups(total);
  for (size_t x = 0; x < p.axis.outputs; x++) {
    for (size_t g = 0; g < spans[x].groups; g++) FillGroup(p.axis, x, g * 4, &groups[spans[x].first + g]);
  }
  ForRows(p, [&](const uint8_t* const rows[], size_t count, size_t y) {
    Rows16(p, rows, count, y, spans, groups.data());
  });
}

int32_t PairOf(int16_t first, int16_t second) {
  return static_cast<int32_t>(static_cast<uint16_t>(first) | static_cast<uint32_t>(static_cast<uint16_t>(second)) << 16);
}

// 32 bytes of an output row. Two input rows at a time: interleaved bytes, widened to 16-bit pairs.
AVX2 inline void Column32(const uint8_t* in, size_t stride, const int32_t* weights, int32_t count, uint8_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i low[4] = {zero, zero, zero, zero};
  __m256i high[4] = {zero, zero, zero, zero};
  for (int32_t t = 0; t < count; t += 2) {
    const bool pair = t + 1 < count;
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    const __m256i b = pair ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + stride)) : zero;
    const int32_t next = pair ? weights[t + 1] : 0;
    const __m256i weights_low = _mm256_set1_epi32(PairOf(LowPart(weights[t]), LowPart(next)));
    const __m256i weights_high = _mm256_set1_epi32(PairOf(HighPart(weights[t]), HighPart(next)));
    const __m256i left = _mm256_unpacklo_epi8(a, b);
    const __m256i right = _mm256_unpackhi_epi8(a, b);
    const __m256i pairs[4] = {_mm256_unpacklo_epi8(left, zero), _mm256_unpackhi_epi8(left, zero),
                              _mm256_unpacklo_epi8(right, zero), _mm256_unpackhi_epi8(right, zero)};
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pairs[i], weights_low));
      high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pairs[i], weights_high));
    }
    in += 2 * stride;
  }
  __m256i sums[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    sums[i] = _mm256_add_epi32(low[i], _mm256_slli_epi32(high[i], kLowBits));
    sums[i] = _mm256_srai_epi32(_mm256_add_epi32(sums[i], _mm256_set1_epi32(kHalf)), kPrecisionBits);
  }
  const __m256i left = _mm256_packs_epi32(sums[0], sums[1]);
  const __m256i right = _mm256_packs_epi32(sums[2], sums[3]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_packus_epi16(left, right));
}

AVX2 void VerticalAvx2(const VerticalPass& p) {
  const Axis& axis = p.axis;
  const size_t whole = p.row_bytes / 32 * 32;
  for (size_t y = 0; y < axis.outputs; y++) {
    const uint8_t* in = p.input + static_cast<size_t>(axis.starts[y]) * p.row_bytes;
    const int32_t* weights = axis.weights + y * axis.size;
    const int32_t count = axis.counts[y];
    uint8_t* out = p.output + y * p.row_bytes;
    for (size_t i = 0; i < whole; i += 32) Column32(in + i, p.row_bytes, weights, count, out + i);
    for (size_t i = whole; i < p.row_bytes; i++) {
      uint32_t sum = kHalf;
      for (int32_t t = 0; t < count; t++) {
        sum += in[static_cast<size_t>(t) * p.row_bytes + i] * static_cast<uint32_t>(weights[t]);
      }
      out[i] = Clip8(static_cast<int32_t>(sum));
    }
  }
}

// --- VNNI: groups of eight taps, weights as three signed bytes. vpdpbusd multiplies four bytes and adds them up.

struct alignas(32) Group8 {
  int8_t digit[3][32];
};

void FillGroup(const Axis& axis, size_t x, size_t tap, Group8* group) {
  std::memset(group, 0, sizeof *group);
  for (size_t i = 0; i < 8; i++) {
    int32_t rest = WeightAt(axis, x, tap + i);
    for (auto& digits : group->digit) {
      const int8_t digit = static_cast<int8_t>(rest & 255);
      rest = (rest - digit) >> 8;
      for (size_t channel = 0; channel < 3; channel++) digits[(i / 4) * 16 + channel * 4 + i % 4] = digit;
    }
  }
}

// Whether three signed bytes hold every weight: -2^23 - 2^15 .. 2^23 - 2^15 (weights of 2 and more do not occur).
bool FitsDigits(const Axis& axis) {
  for (size_t i = 0; i < axis.outputs * axis.size; i++) {
    if (axis.weights[i] > 8355711 || axis.weights[i] < -8421504) return false;
  }
  return true;
}

// Four RGB pixels in each half -> [r0 r1 r2 r3 g0 .. b3 - - - -].
VNNI inline __m256i ChannelMask() {
  return _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
}

VNNI inline __m256i Load8(const uint8_t* in, __m256i mask) {
  const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 12));
  return _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1), mask);
}

VNNI inline __m128i Join8(__m256i d0, __m256i d1, __m256i d2) {
  const __m256i upper = _mm256_add_epi32(_mm256_slli_epi32(d1, 8), _mm256_slli_epi32(d2, 16));
  const __m256i sum = _mm256_add_epi32(d0, upper);
  const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_add_epi32(both, _mm_set1_epi32(kHalf));
}

VNNI void Rows8(const HorizontalPass& p, const uint8_t* const rows[kRowsAtOnce], size_t count, size_t y,
                const std::vector<Span>& spans, const Group8* groups) {
  const size_t stride = p.axis.outputs * 3;
  uint8_t* out = p.output + y * stride;
  const __m256i mask = ChannelMask();
  for (size_t x = 0; x < p.axis.outputs; x++, out += 3) {
    const size_t start = static_cast<size_t>(p.axis.starts[x]) * 3;
    const uint8_t* in[kRowsAtOnce] = {rows[0] + start, rows[1] + start, rows[2] + start, rows[3] + start};
    __m256i d0[kRowsAtOnce], d1[kRowsAtOnce], d2[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; r++) d0[r] = d1[r] = d2[r] = _mm256_setzero_si256();
    const Group8* group = groups + spans[x].first;
    for (size_t g = 0; g < spans[x].groups; g++, group++) {
      const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(group->digit[0]));
      const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(group->digit[1]));
      const __m256i w2 = _mm256_load_si256(reinterpret_cast<const __m256i*>(group->digit[2]));
#pragma GCC unroll 4
      for (size_t r = 0; r < kRowsAtOnce; r++) {
        const __m256i pixels = Load8(in[r] + g * 24, mask);
        d0[r] = _mm256_dpbusd_epi32(d0[r], pixels, w0);
        d1[r] = _mm256_dpbusd_epi32(d1[r], pixels, w1);
        d2[r] = _mm256_dpbusd_epi32(d2[r], pixels, w2);
      }
    }
    __m128i sums[kRowsAtOnce];
#pragma GCC unroll 4
    for (size_t r = 0; r < kRowsAtOnce; r++) sums[r] = Join8(d0[r], d1[r], d2[r]);
    StorePixels(sums, count, out, stride);
  }
}

void HorizontalVnni(const HorizontalPass& p) {
  if (!FitsDigits(p.axis)) return HorizontalAvx2(p);
  size_t total = 0;
  const std::vector<Span> spans = SpansOf(p.axis, 8, &total);
  std::vector<Group8> groups(total);
  for (size_t x = 0; x < p.axis.outputs; x++) {
    for (size_t g = 0; g < spans[x].groups; g++) FillGroup(p.axis, x, g * 8, &groups[spans[x].first + g]);
  }
  ForRows(p, [&](const uint8_t* const rows[], size_t count, size_t y) {
    Rows8(p, rows, count, y, spans, groups.data());
  });
}

}  // namespace

const Kernels kAvx2 = {"avx2", HorizontalAvx2, VerticalAvx2};
const Kernels kVnni = {"avx512-vnni", HorizontalVnni, VerticalAvx2};

}  // namespace vlm_image

#endif  // __x86_64__
