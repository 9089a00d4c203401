#include "sdk.h"

#if defined(__has_include)
#if __has_include(<QAicApi.h>)
#define VLM_AI100_HAS_SDK 1
#endif
#endif

#ifdef VLM_AI100_HAS_SDK
#include <QAicApi.h>

// The rest of the binding uses declarations of its own: where the SDK disagrees, the build stops here.
static_assert(sizeof(QBuffer) == 32, "QBuffer");
static_assert(sizeof(QBufferDimensions) == 16, "QBufferDimensions");
static_assert(sizeof(QResourceInfo) == 56, "QResourceInfo");
static_assert(sizeof(QAicProgramProperties_t) <= 4096, "QAicProgramProperties_t");
#endif

namespace vlm_ai100 {

#ifdef VLM_AI100_HAS_SDK
bool BuiltWithSdk() { return true; }
bool SetDeviceMapping(void* properties, const char* mapping) {
  static_cast<QAicProgramProperties_t*>(properties)->devMapping = mapping;
  return true;
}
#else
bool BuiltWithSdk() { return false; }
bool SetDeviceMapping(void*, const char*) { return false; }
#endif

}  // namespace vlm_ai100
