// What `vlm-run selftest` needs of the runtime: single calls, raw.
#ifndef VLM_RUN_AI100_PROBE_H_
#define VLM_RUN_AI100_PROBE_H_

#include <napi.h>

namespace vlm_ai100 {

void DefineProbe(Napi::Env env, Napi::Object exports);

}  // namespace vlm_ai100

#endif  // VLM_RUN_AI100_PROBE_H_
