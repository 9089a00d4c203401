// Kernels in plain C++: what every processor can run, and the definition of what the others compute.
#include "kernels.h"

namespace vlm_image {
namespace {

uint32_t Multiply(uint32_t pixel, int32_t weight) { return pixel * static_cast<uint32_t>(weight); }

void Horizontal(const HorizontalPass& p) {
  const Axis& axis = p.axis;
  for (size_t y = 0; y < p.rows; y++) {
    const uint8_t* row = p.input + y * p.in_width * 3;
    uint8_t* out = p.output + y * axis.outputs * 3;
    for (size_t x = 0; x < axis.outputs; x++, out += 3) {
      const uint8_t* in = row + static_cast<size_t>(axis.starts[x]) * 3;
      const int32_t* weights = axis.weights + x * axis.size;
      uint32_t r = kHalf, g = kHalf, b = kHalf;
      for (int32_t t = 0; t < axis.counts[x]; t++, in += 3) {
        r += Multiply(in[0], weights[t]);
        g += Multiply(in[1], weights[t]);
        b += Multiply(in[2], weights[t]);
      }
      out[0] = Clip8(static_cast<int32_t>(r));
      out[1] = Clip8(static_cast<int32_t>(g));
      out[2] = Clip8(static_cast<int32_t>(b));
    }
  }
}

void Vertical(const VerticalPass& p) {
  const Axis& axis = p.axis;
  constexpr size_t kBlock = 1024;  // sums of a block stay in the first-level cache
  uint32_t sums[kBlock];
  for (size_t y = 0; y < axis.outputs; y++) {
    const uint8_t* first = p.input + static_cast<size_t>(axis.starts[y]) * p.row_bytes;
    const int32_t* weights = axis.weights + y * axis.size;
    uint8_t* out = p.output + y * p.row_bytes;
    for (size_t from = 0; from < p.row_bytes; from += kBlock) {
      const size_t n = p.row_bytes - from < kBlock ? p.row_bytes - from : kBlock;
      for (size_t i = 0; i < n; i++) sums[i] = kHalf;
      for (int32_t t = 0; t < axis.counts[y]; t++) {
        const uint8_t* in = first + static_cast<size_t>(t) * p.row_bytes + from;
        const int32_t weight = weights[t];
        for (size_t i = 0; i < n; i++) sums[i] += Multiply(in[i], weight);
      }
      for (size_t i = 0; i < n; i++) out[from + i] = Clip8(static_cast<int32_t>(sums[i]));
    }
  }
}

}  // namespace

const Kernels kPortable = {"portable", Horizontal, Vertical};

void CutTile(const TileCut& cut) {
  const size_t plane = cut.width * cut.height;
  const float* red = cut.table;
  const float* green = cut.table + 256;
  const float* blue = cut.table + 512;
  for (size_t y = 0; y < cut.height; y++) {
    const uint8_t* in = cut.input + (cut.top + y) * cut.stride + cut.left * 3;
    float* out = cut.output + y * cut.width;
    for (size_t x = 0; x < cut.width; x++, in += 3) {
      out[x] = red[in[0]];
      out[x + plane] = green[in[1]];
      out[x + 2 * plane] = blue[in[2]];
    }
  }
}

}  // namespace vlm_image
