// What needs the SDK's own header: fields of structs that the facts leave opaque.
#ifndef VLM_RUN_AI100_SDK_H_
#define VLM_RUN_AI100_SDK_H_

namespace vlm_ai100 {

// True when this binary was built against QAicApi.h.
bool BuiltWithSdk();
// Writes the device mapping (`0:1:2:3`) into initialised program properties; false without the SDK's header.
bool SetDeviceMapping(void* properties, const char* mapping);

}  // namespace vlm_ai100

#endif  // VLM_RUN_AI100_SDK_H_
