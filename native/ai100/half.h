// binary16 <-> binary32, and the best entries of a row of logits.
#ifndef VLM_RUN_AI100_HALF_H_
#define VLM_RUN_AI100_HALF_H_

#include <stddef.h>
#include <stdint.h>

namespace vlm_ai100 {

// `f16c`, `neon` or `portable`.
const char* HalfIsa();
void HalvesToFloats(const uint16_t* from, float* into, size_t count, bool portable);
void FloatsToHalves(const float* from, uint16_t* into, size_t count, bool portable);
float HalfToFloat(uint16_t half);

// Best first, the lowest index first among equals, NaN below everything. k <= width.
void Best(const float* row, size_t width, size_t k, int32_t* ids, float* values);
void BestOfHalves(const uint16_t* row, size_t width, size_t k, int32_t* ids, float* values);

}  // namespace vlm_ai100

#endif  // VLM_RUN_AI100_HALF_H_
