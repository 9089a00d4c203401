// How the C library's allocator treats freed memory. ONNX Runtime's operators take and free buffers of some megabytes at
// every call; glibc by its defaults hands them back to the system each time, and each call pays for the pages anew.
#include <napi.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#define VLM_MEMORY_ABI 1

namespace {

constexpr int kMiB = 1 << 20;

// keepFreed(): true where the allocator took the settings, false where it is another one.
Napi::Value KeepFreed(const Napi::CallbackInfo& info) {
  bool taken = false;
#if defined(__GLIBC__)
  // Blocks up to the largest size that glibc allows here come from the heap, and 128 MiB of it may lie free.
  taken = mallopt(M_MMAP_THRESHOLD, 32 * kMiB) == 1 && mallopt(M_TRIM_THRESHOLD, 128 * kMiB) == 1;
#endif
  return Napi::Boolean::New(info.Env(), taken);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("abi", Napi::Number::New(env, VLM_MEMORY_ABI));
  exports.Set("keepFreed", Napi::Function::New(env, KeepFreed, "keepFreed"));
  return exports;
}

}  // namespace

NODE_API_MODULE(vlm_memory, Init)
