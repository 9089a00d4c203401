// The card runtime, loaded at run time.
#ifndef VLM_RUN_AI100_LIBRARY_H_
#define VLM_RUN_AI100_LIBRARY_H_

#include <string>

#include "qaic_abi.h"

namespace vlm_ai100 {

struct Api {
#define VLM_DECLARE(name, arguments) uint32_t(*name) arguments = nullptr;
  VLM_RUN_QAIC_FUNCTIONS(VLM_DECLARE)
#undef VLM_DECLARE
};

struct Library {
  Api api;
  std::string path;
  bool emulator = false;
};

struct Opened {
  const Library* library = nullptr;
  std::string error;   // what the loader said
  std::string symbol;  // the function that is missing, when that is what is wrong
};

// One copy a path for the whole process, never unloaded: workers come and go, and the runtime has threads of its own.
Opened OpenLibrary(const std::string& path);

}  // namespace vlm_ai100

#endif  // VLM_RUN_AI100_LIBRARY_H_
