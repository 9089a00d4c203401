#include "library.h"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>

namespace vlm_ai100 {

Opened OpenLibrary(const std::string& path) {
  // Deliberately never destroyed: threads of the runtime may outlive static objects.
  static std::mutex* const mutex = new std::mutex;
  static auto* const known = new std::map<std::string, std::unique_ptr<Library>>;
  const std::lock_guard<std::mutex> lock(*mutex);
  const auto found = known->find(path);
  if (found != known->end()) return {found->second.get(), "", ""};
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = dlerror();
    return {nullptr, why != nullptr ? why : "unknown", ""};
  }
  auto library = std::make_unique<Library>();
  library->path = path;
#define VLM_RESOLVE(name, arguments)                                        \
  library->api.name = reinterpret_cast<uint32_t(*) arguments>(dlsym(handle, #name)); \
  if (library->api.name == nullptr) {                                       \
    dlclose(handle);                                                        \
    return {nullptr, "", #name};                                            \
  }
  VLM_RUN_QAIC_FUNCTIONS(VLM_RESOLVE)
#undef VLM_RESOLVE
  library->emulator = dlsym(handle, "aicemuVersion") != nullptr;
  const Library* kept = library.get();
  known->emplace(path, std::move(library));
  return {kept, "", ""};
}

}  // namespace vlm_ai100
