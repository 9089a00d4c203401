// Which kernels this processor runs, decided once when the addon is loaded.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace vlm_image {
namespace {

bool Allowed(const char* isa) {
  const char* asked = std::getenv("VLM_RUN_ISA");
  return asked == nullptr || *asked == '\0' || std::strcmp(asked, isa) == 0;
}

const Kernels& Choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2");
  const bool vnni = avx2 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512bw");
  if (vnni && Allowed("vnni")) return kVnni;
  if (avx2 && Allowed("avx2")) return kAvx2;
#endif
  return kPortable;
}

}  // namespace

const Kernels& BestKernels() {
  static const Kernels& chosen = Choose();
  return chosen;
}

}  // namespace vlm_image
