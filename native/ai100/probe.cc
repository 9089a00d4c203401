// Calls of the runtime one by one, for `vlm-run selftest`: arguments go through as they are, right or wrong. Nothing
// here is safe against what a runtime does with them, so it is for a process that may be lost.
#include "probe.h"

#include <dlfcn.h>
#include <unistd.h>

#include <string.h>

#include <deque>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "library.h"

namespace vlm_ai100 {
namespace {

template <typename T>
T From(uint64_t word) {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(static_cast<uintptr_t>(word));
  else return static_cast<T>(word);
}

template <typename... T, size_t... I>
uint32_t Spread(uint32_t (*function)(T...), const std::vector<uint64_t>& words, std::index_sequence<I...>) {
  return function(From<T>(words[I])...);
}

// False where the number of arguments is another.
template <typename... T>
bool Invoke(uint32_t (*function)(T...), const std::vector<uint64_t>& words, uint32_t* status) {
  if (words.size() != sizeof...(T)) return false;
  *status = Spread(function, words, std::index_sequence_for<T...>{});
  return true;
}

Napi::Value Throw(Napi::Env env, const char* message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return env.Undefined();
}

// A number, a bigint, null, bytes (their place in memory) or a string (as a C string for the time of the call).
bool Word(const Napi::Value& value, std::deque<std::string>* strings, uint64_t* word) {
  *word = 0;
  bool whole = true;
  if (value.IsNull()) return true;
  if (value.IsNumber()) *word = static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
  else if (value.IsBigInt()) *word = value.As<Napi::BigInt>().Uint64Value(&whole);
  else if (value.IsBoolean()) *word = value.As<Napi::Boolean>().Value() ? 1 : 0;
  else if (value.IsBuffer()) *word = reinterpret_cast<uintptr_t>(value.As<Napi::Buffer<uint8_t>>().Data());
  else if (value.IsString()) {
    strings->push_back(value.As<Napi::String>().Utf8Value());
    *word = reinterpret_cast<uintptr_t>(strings->back().c_str());
  } else {
    return false;
  }
  return true;
}

// invoke(library, name, arguments) -> status
Napi::Value InvokeByName(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsExternal() || !info[1].IsString() || !info[2].IsArray())
    return Throw(env, "invoke(library, name, arguments)");
  const Library* library = info[0].As<Napi::External<Library>>().Data();
  const std::string name = info[1].As<Napi::String>().Utf8Value();
  const Napi::Array given = info[2].As<Napi::Array>();
  std::vector<uint64_t> words(given.Length());
  std::deque<std::string> strings;
  for (uint32_t i = 0; i < given.Length(); i++)
    if (!Word(given[i], &strings, &words[i])) return Throw(env, "an argument that cannot be passed");
  uint32_t status = 0;
#define VLM_INVOKE(function, arguments)                                                    \
  if (name == #function) {                                                                 \
    if (!Invoke(library->api.function, words, &status)) return Throw(env, "wrong number of arguments"); \
    return Napi::Number::New(env, status);                                                 \
  }
  VLM_RUN_QAIC_FUNCTIONS(VLM_INVOKE)
#undef VLM_INVOKE
  return Throw(env, "no such function");
}

// address(bytes) -> bigint
Napi::Value Address(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsBuffer()) return Throw(info.Env(), "address(bytes)");
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(reinterpret_cast<uintptr_t>(
                                           info[0].As<Napi::Buffer<uint8_t>>().Data())));
}

// readMemory(address, size) -> bytes, fewer where the memory ends, null where there is none. Through a pipe: the kernel
// answers a wrong address with an error, where reading it here would end the process.
Napi::Value ReadMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsBigInt() || !info[1].IsNumber()) return Throw(env, "readMemory(address, size)");
  bool whole = true;
  const uint64_t address = info[0].As<Napi::BigInt>().Uint64Value(&whole);
  const uint32_t size = info[1].As<Napi::Number>().Uint32Value();
  int ends[2];
  if (pipe(ends) != 0) return Throw(env, "no pipe");
  std::vector<uint8_t> bytes;
  while (bytes.size() < size) {
    const uint64_t at = address + bytes.size();
    // No further than the page: what follows may not be there.
    size_t step = 4096 - at % 4096;
    if (step > size - bytes.size()) step = size - bytes.size();
    if (write(ends[1], reinterpret_cast<const void*>(static_cast<uintptr_t>(at)), step) != static_cast<ssize_t>(step)) break;
    const size_t before = bytes.size();
    bytes.resize(before + step);
    if (read(ends[0], bytes.data() + before, step) != static_cast<ssize_t>(step)) {
      bytes.resize(before);
      break;
    }
  }
  close(ends[0]);
  close(ends[1]);
  if (bytes.empty()) return env.Null();
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

// symbols(path) -> { error } or { names, missing }
Napi::Value Symbols(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsString()) return Throw(env, "symbols(path)");
  Napi::Object result = Napi::Object::New(env);
  void* handle = dlopen(info[0].As<Napi::String>().Utf8Value().c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = dlerror();
    result.Set("error", Napi::String::New(env, why != nullptr ? why : "unknown"));
    return result;
  }
  Napi::Array names = Napi::Array::New(env), missing = Napi::Array::New(env);
  const char* const all[] = {
#define VLM_NAME(function, arguments) #function,
      VLM_RUN_QAIC_FUNCTIONS(VLM_NAME)
#undef VLM_NAME
  };
  for (const char* name : all) {
    names.Set(names.Length(), Napi::String::New(env, name));
    if (dlsym(handle, name) == nullptr) missing.Set(missing.Length(), Napi::String::New(env, name));
  }
  result.Set("names", names);
  result.Set("missing", missing);
  // The handle stays: a runtime with threads of its own does not survive being unloaded.
  return result;
}

}  // namespace

void DefineProbe(Napi::Env env, Napi::Object exports) {
  exports.Set("invoke", Napi::Function::New(env, InvokeByName, "invoke"));
  exports.Set("address", Napi::Function::New(env, Address, "address"));
  exports.Set("readMemory", Napi::Function::New(env, ReadMemory, "readMemory"));
  exports.Set("symbols", Napi::Function::New(env, Symbols, "symbols"));
}

}  // namespace vlm_ai100
