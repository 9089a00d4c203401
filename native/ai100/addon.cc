// N-API face of the card runtime. Nothing is thrown for what a card says: calls answer { status, call } as data. What
// would read or write foreign memory is checked here once more.
#include <napi.h>

#include "counted.h"
#include "half.h"
#include "probe.h"
#include "program.h"
#include "sdk.h"

#define VLM_AI100_ABI 2

namespace {

using vlm_ai100::Block;
using vlm_ai100::Library;
using vlm_ai100::Outcome;
using vlm_ai100::Program;
using vlm_ai100::Slot;

Napi::Value Throw(Napi::Env env, const char* message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return env.Undefined();
}

// null when all went well.
Napi::Value ToJs(Napi::Env env, const Outcome& outcome) {
  if (outcome.call == nullptr) return env.Null();
  Napi::Object result = Napi::Object::New(env);
  result.Set("status", Napi::Number::New(env, outcome.status));
  result.Set("call", Napi::String::New(env, outcome.call));
  return result;
}

// An ArrayBuffer over a block, which lives as long as either side holds it. An engine that does not allow foreign
// memory would have to copy: that is refused.
Napi::Value Expose(Napi::Env env, const std::shared_ptr<Block>& block) {
  if (!block) return env.Null();
  auto* held = new std::shared_ptr<Block>(block);
  napi_value value = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, block->data, block->bytes,
      [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Block>*>(hint); }, held, &value);
  if (status == napi_ok) return Napi::Value(env, value);
  delete held;
  return Throw(env, "this JavaScript engine does not allow external ArrayBuffers");
}

uint32_t NumberAt(const Napi::CallbackInfo& info, size_t index) {
  return index < info.Length() && info[index].IsNumber() ? info[index].As<Napi::Number>().Uint32Value() : 0;
}

bool Is(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

Napi::Value AllocationsSoFar(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(vlm_ai100::Allocations()));
}

class RunWorker : public Napi::AsyncWorker {
 public:
  RunWorker(Napi::Env env, std::shared_ptr<Program> program, uint32_t slot, uint32_t timeout)
      : Napi::AsyncWorker(env, "vlm_ai100.run"),
        promise(Napi::Promise::Deferred::New(env)),
        program_(std::move(program)),
        slot_(slot),
        timeout_(timeout) {}
  Napi::Promise::Deferred promise;

 protected:
  void Execute() override {
    outcome_ = program_->Run(slot_, timeout_);
    program_->SlotAt(slot_)->running.store(false);
  }
  void OnOK() override { promise.Resolve(ToJs(Env(), outcome_)); }

 private:
  std::shared_ptr<Program> program_;
  uint32_t slot_;
  uint32_t timeout_;
  Outcome outcome_;
};

class ProgramWrap : public Napi::ObjectWrap<ProgramWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Program",
                       {InstanceMethod("create", &ProgramWrap::Create), InstanceMethod("load", &ProgramWrap::Load),
                        InstanceMethod("descriptor", &ProgramWrap::Descriptor),
                        InstanceMethod("allocate", &ProgramWrap::Allocate),
                        InstanceMethod("activate", &ProgramWrap::Activate),
                        InstanceMethod("deactivate", &ProgramWrap::Deactivate),
                        InstanceMethod("runSync", &ProgramWrap::RunSync), InstanceMethod("run", &ProgramWrap::Run),
                        InstanceMethod("release", &ProgramWrap::Release),
                        InstanceMethod("best", &ProgramWrap::BestOf)});
  }

  // new Program(library, ids)
  explicit ProgramWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ProgramWrap>(info) {
    if (info.Length() < 2 || !info[0].IsExternal() || !info[1].IsArray()) {
      Throw(info.Env(), "new Program(library, ids)");
      return;
    }
    std::vector<QID> ids;
    const Napi::Array given = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < given.Length(); i++) {
      const Napi::Value id = given[i];
      if (id.IsNumber()) ids.push_back(id.As<Napi::Number>().Int32Value());
    }
    if (ids.empty()) {
      Throw(info.Env(), "a program needs a card");
      return;
    }
    program_ = std::make_shared<Program>(info[0].As<Napi::External<Library>>().Data(), std::move(ids));
  }

 private:
  bool Ready(const Napi::CallbackInfo& info) {
    if (!program_) {
      Throw(info.Env(), "not a program");
      return false;
    }
    if (!program_->Busy()) return true;
    Throw(info.Env(), "a call is under way");
    return false;
  }

  Napi::Value Create(const Napi::CallbackInfo& info) {
    if (!Ready(info)) return info.Env().Undefined();
    if (info.Length() < 1 || !info[0].IsString()) return Throw(info.Env(), "create(path)");
    return ToJs(info.Env(), program_->Create(info[0].As<Napi::String>().Utf8Value()));
  }
  Napi::Value Load(const Napi::CallbackInfo& info) {
    return Ready(info) ? ToJs(info.Env(), program_->Load()) : info.Env().Undefined();
  }
  Napi::Value Activate(const Napi::CallbackInfo& info) {
    return Ready(info) ? ToJs(info.Env(), program_->Activate()) : info.Env().Undefined();
  }
  Napi::Value Deactivate(const Napi::CallbackInfo& info) {
    return Ready(info) ? ToJs(info.Env(), program_->Deactivate()) : info.Env().Undefined();
  }
  Napi::Value Release(const Napi::CallbackInfo& info) {
    return Ready(info) ? ToJs(info.Env(), program_->Release()) : info.Env().Undefined();
  }

  // A copy of the bytes, or { status, call }.
  Napi::Value Descriptor(const Napi::CallbackInfo& info) {
    if (!Ready(info)) return info.Env().Undefined();
    std::vector<uint8_t> bytes;
    const Outcome outcome = program_->Descriptor(&bytes);
    if (outcome.call != nullptr) return ToJs(info.Env(), outcome);
    return Napi::Buffer<uint8_t>::Copy(info.Env(), bytes.data(), bytes.size());
  }

  // allocate(sizes: Uint32Array, depth) -> [{ control, buffers }] or null without memory
  Napi::Value Allocate(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!Ready(info)) return env.Undefined();
    if (program_->Active()) return Throw(env, "buffers are allocated before activation");
    if (info.Length() < 2 || !info[0].IsTypedArray() ||
        info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
      return Throw(env, "allocate(sizes, depth)");
    }
    Napi::Uint32Array sizes = info[0].As<Napi::Uint32Array>();
    const std::vector<uint32_t> wanted(sizes.Data(), sizes.Data() + sizes.ElementLength());
    if (!program_->Allocate(wanted, NumberAt(info, 1))) return env.Null();
    Napi::Array slots = Napi::Array::New(env);
    for (uint32_t i = 0; i < program_->Depth(); i++) {
      const Slot* slot = program_->SlotAt(i);
      Napi::Array buffers = Napi::Array::New(env);
      for (uint32_t b = 0; b < slot->blocks.size(); b++) buffers.Set(b, Expose(env, slot->blocks[b]));
      Napi::Object made = Napi::Object::New(env);
      made.Set("control", Expose(env, slot->control));
      made.Set("buffers", buffers);
      slots.Set(i, made);
    }
    return slots;
  }

  // runSync(slot, timeoutUs)
  Napi::Value RunSync(const Napi::CallbackInfo& info) {
    Slot* slot = program_ ? program_->SlotAt(NumberAt(info, 0)) : nullptr;
    if (slot == nullptr) return Throw(info.Env(), "no such slot");
    if (slot->running.exchange(true)) return Throw(info.Env(), "a call is under way");
    const Outcome outcome = program_->Run(NumberAt(info, 0), NumberAt(info, 1));
    slot->running.store(false);
    return ToJs(info.Env(), outcome);
  }

  // run(slot, timeoutUs): off the event loop.
  Napi::Value Run(const Napi::CallbackInfo& info) {
    Slot* slot = program_ ? program_->SlotAt(NumberAt(info, 0)) : nullptr;
    if (slot == nullptr) return Throw(info.Env(), "no such slot");
    if (slot->running.exchange(true)) return Throw(info.Env(), "a call is under way");
    auto* worker = new RunWorker(info.Env(), program_, NumberAt(info, 0), NumberAt(info, 1));
    const Napi::Promise promise = worker->promise.Promise();
    worker->Queue();
    return promise;
  }

  // best(slot, what, ids, values); what: [binding, half, rows, width, k]. With more than six arguments node-addon-api
  // would allocate in every call.
  Napi::Value BestOf(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Slot* slot = program_ ? program_->SlotAt(NumberAt(info, 0)) : nullptr;
    if (slot == nullptr || info.Length() < 4 || !Is(info[1], napi_uint32_array) || !Is(info[2], napi_int32_array) ||
        !Is(info[3], napi_float32_array) || info[1].As<Napi::Uint32Array>().ElementLength() < 5) {
      return Throw(env, "best(slot, what, ids, values)");
    }
    const uint32_t* const what = info[1].As<Napi::Uint32Array>().Data();
    const uint32_t binding = what[0];
    const bool half = what[1] != 0;
    const size_t rows = what[2], width = what[3], k = what[4];
    if (binding >= slot->blocks.size() || !slot->blocks[binding]) return Throw(env, "no such binding");
    Napi::Int32Array ids = info[2].As<Napi::Int32Array>();
    Napi::Float32Array values = info[3].As<Napi::Float32Array>();
    const Block& block = *slot->blocks[binding];
    const size_t room = block.bytes / (half ? 2 : 4);
    if (k < 1 || k > width || (rows > 0 && width > room / rows)) return Throw(env, "sizes do not match");
    if (ids.ElementLength() < rows * k || values.ElementLength() < rows * k) return Throw(env, "sizes do not match");
    for (size_t row = 0; row < rows; row++) {
      int32_t* const id = ids.Data() + row * k;
      float* const value = values.Data() + row * k;
      if (half) {
        vlm_ai100::BestOfHalves(reinterpret_cast<const uint16_t*>(block.data) + row * width, width, k, id, value);
      } else {
        vlm_ai100::Best(reinterpret_cast<const float*>(block.data) + row * width, width, k, id, value);
      }
    }
    return env.Undefined();
  }

  std::shared_ptr<Program> program_;
};

// openLibrary(path) -> { library, emulator, version } or { error } or { symbol }
Napi::Value OpenLibrary(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsString()) return Throw(env, "openLibrary(path)");
  const vlm_ai100::Opened opened = vlm_ai100::OpenLibrary(info[0].As<Napi::String>().Utf8Value());
  Napi::Object result = Napi::Object::New(env);
  if (opened.library == nullptr) {
    if (!opened.symbol.empty()) result.Set("symbol", Napi::String::New(env, opened.symbol));
    else result.Set("error", Napi::String::New(env, opened.error));
    return result;
  }
  result.Set("library", Napi::External<Library>::New(env, const_cast<Library*>(opened.library)));
  result.Set("emulator", Napi::Boolean::New(env, opened.library->emulator));
  uint16_t major = 0, minor = 0;
  const char *patch = nullptr, *variant = nullptr;
  const uint32_t status = opened.library->api.qaicGetAicVersion(&major, &minor, &patch, &variant);
  std::string version = "unknown";
  if (status == QS_SUCCESS) {
    version = std::to_string(major) + "." + std::to_string(minor);
    if (patch != nullptr && *patch != '\0') version += std::string(".") + patch;
    if (variant != nullptr && *variant != '\0') version += std::string(" ") + variant;
  }
  result.Set("version", Napi::String::New(env, version));
  return result;
}

// resources(library, id) -> { status, ... }
Napi::Value Resources(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsExternal()) return Throw(env, "resources(library, id)");
  const Library* library = info[0].As<Napi::External<Library>>().Data();
  QResourceInfo resources = {};
  const uint32_t status = library->api.qaicGetResourceInfo(static_cast<QID>(NumberAt(info, 1)), &resources);
  Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, double value) { result.Set(name, Napi::Number::New(env, value)); };
  set("status", status);
  set("memoryTotal", static_cast<double>(resources.dramTotal));
  set("memoryFree", static_cast<double>(resources.dramFree));
  set("coresTotal", resources.nspTotal);
  set("coresFree", resources.nspFree);
  return result;
}

// toFloats(Uint16Array, Float32Array, portable?) and toHalves(Float32Array, Uint16Array, portable?)
template <typename From, typename Into>
bool Pair(const Napi::CallbackInfo& info, napi_typedarray_type from, napi_typedarray_type into, From* a, Into* b) {
  if (info.Length() < 2 || !info[0].IsTypedArray() || !info[1].IsTypedArray()) return false;
  if (info[0].As<Napi::TypedArray>().TypedArrayType() != from) return false;
  if (info[1].As<Napi::TypedArray>().TypedArrayType() != into) return false;
  *a = info[0].As<From>();
  *b = info[1].As<Into>();
  return a->ElementLength() <= b->ElementLength();
}

Napi::Value ToFloats(const Napi::CallbackInfo& info) {
  Napi::Uint16Array from;
  Napi::Float32Array into;
  if (!Pair(info, napi_uint16_array, napi_float32_array, &from, &into)) return Throw(info.Env(), "sizes do not match");
  vlm_ai100::HalvesToFloats(from.Data(), into.Data(), from.ElementLength(), info[2].ToBoolean().Value());
  return info.Env().Undefined();
}

Napi::Value ToHalves(const Napi::CallbackInfo& info) {
  Napi::Float32Array from;
  Napi::Uint16Array into;
  if (!Pair(info, napi_float32_array, napi_uint16_array, &from, &into)) return Throw(info.Env(), "sizes do not match");
  vlm_ai100::FloatsToHalves(from.Data(), into.Data(), from.ElementLength(), info[2].ToBoolean().Value());
  return info.Env().Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("abi", Napi::Number::New(env, VLM_AI100_ABI));
  exports.Set("isa", Napi::String::New(env, vlm_ai100::HalfIsa()));
  exports.Set("sdk", Napi::Boolean::New(env, vlm_ai100::BuiltWithSdk()));
  exports.Set("maxRank", Napi::Number::New(env, vlm_ai100::kMaxRank));
  exports.Set("allocations", Napi::Function::New(env, AllocationsSoFar, "allocations"));
  exports.Set("openLibrary", Napi::Function::New(env, OpenLibrary, "openLibrary"));
  exports.Set("resources", Napi::Function::New(env, Resources, "resources"));
  exports.Set("toFloats", Napi::Function::New(env, ToFloats, "toFloats"));
  exports.Set("toHalves", Napi::Function::New(env, ToHalves, "toHalves"));
  exports.Set("Program", ProgramWrap::Define(env));
  vlm_ai100::DefineProbe(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(vlm_ai100, Init)
