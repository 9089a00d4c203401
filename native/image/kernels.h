// Resampling kernels of vlm-run: two passes over interleaved uint8 RGB with 22-bit fixed-point weights, int32 sums
// modulo 2^32. Every variant gives the same bytes as src/image/resample.ts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vlm_image {

constexpr int kPrecisionBits = 22;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

// Weights of one axis: output i = sum over t < counts[i] of input[starts[i] + t] * weights[i * size + t].
struct Axis {
  const int32_t* starts;
  const int32_t* counts;
  const int32_t* weights;
  size_t size;
  size_t outputs;
};

struct Pass {
  const uint8_t* input;
  size_t input_bytes;
  uint8_t* output;
  Axis axis;
};

// [rows, in_width, 3] -> [rows, axis.outputs, 3]
struct HorizontalPass : Pass {
  size_t in_width;
  size_t rows;
};

// [in_rows, row_bytes] -> [axis.outputs, row_bytes]
struct VerticalPass : Pass {
  size_t row_bytes;
};

struct TileCut {
  const uint8_t* input;
  size_t stride;
  size_t left;
  size_t top;
  size_t width;
  size_t height;
  const float* table;  // 3 x 256
  float* output;       // three planes of width * height
};

struct Kernels {
  const char* isa;
  void (*horizontal)(const HorizontalPass&);
  void (*vertical)(const VerticalPass&);
};

// The fastest set that this processor runs; `VLM_RUN_ISA` (portable, avx2, vnni) asks for a slower one.
const Kernels& BestKernels();

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kVnni;
#endif

void CutTile(const TileCut& cut);

inline uint8_t Clip8(int32_t sum) {
  const int32_t v = sum >> kPrecisionBits;
  return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
}

}  // namespace vlm_image
