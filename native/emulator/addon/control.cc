// The executor's way to the emulator from JavaScript. The library is opened by path, so that it is the one the binding
// has loaded; jobs are taken by waiting on the executor's own thread.
#include <dlfcn.h>
#include <napi.h>
#include <string.h>

#include <string>

#include "../control.h"

namespace {

void* library = nullptr;
#define EMU(name) reinterpret_cast<decltype(&name)>(dlsym(library, #name))

Napi::Value Open(const Napi::CallbackInfo& info) {
  const std::string path = info[0].ToString().Utf8Value();
  void* const opened = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const bool good = opened != nullptr && dlsym(opened, "aicemuVersion") != nullptr;
  if (good) library = opened;
  return Napi::Boolean::New(info.Env(), good);
}
Napi::Value Create(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), library == nullptr ? 0 : EMU(aicemuExecutorCreate)());
}
// use(executor): for the programs that this thread creates from now on; 0: the newest again.
Napi::Value Use(const Napi::CallbackInfo& info) {
  if (library != nullptr) EMU(aicemuExecutorUse)(info[0].ToNumber().Uint32Value());
  return info.Env().Undefined();
}
Napi::Value Close(const Napi::CallbackInfo& info) {
  if (library != nullptr) EMU(aicemuExecutorClose)(info[0].ToNumber().Uint32Value());
  return info.Env().Undefined();
}
// take(executor, ms): null, false when closed, or {job, exec, kind, set, folder, inputs}.
Napi::Value Take(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AicemuJob job{};
  const int got = library == nullptr ? -1
                                     : EMU(aicemuExecutorTake)(info[0].ToNumber().Uint32Value(),
                                                               info[1].ToNumber().Uint32Value(), &job);
  if (got < 0) return Napi::Boolean::New(env, false);
  if (got == 0) return env.Null();
  Napi::Object out = Napi::Object::New(env);
  out.Set("job", Napi::Number::New(env, static_cast<double>(job.job)));
  out.Set("exec", Napi::String::New(env, std::to_string(job.exec)));
  out.Set("kind", Napi::Number::New(env, job.kind));
  out.Set("set", Napi::Number::New(env, job.set));
  out.Set("folder", Napi::String::New(env, job.folder));
  Napi::Array inputs = Napi::Array::New(env, job.count);
  for (uint32_t i = 0; i < job.count; i++) {
    if (job.buffers[i].data == nullptr) {
      inputs.Set(i, env.Null());
      continue;
    }
    Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, job.buffers[i].size);
    memcpy(copy.Data(), job.buffers[i].data, job.buffers[i].size);
    inputs.Set(i, copy);
  }
  out.Set("inputs", inputs);
  return out;
}
// finish(executor, job, status, [index, Uint8Array, ...])
Napi::Value Finish(const Napi::CallbackInfo& info) {
  const uint32_t executor = info[0].ToNumber().Uint32Value();
  const uint64_t job = static_cast<uint64_t>(info[1].ToNumber().Int64Value());
  if (library == nullptr) return info.Env().Undefined();
  const Napi::Array outputs = info[3].As<Napi::Array>();
  for (uint32_t i = 0; i + 1 < outputs.Length(); i += 2) {
    const Napi::Uint8Array bytes = outputs.Get(i + 1).As<Napi::Uint8Array>();
    EMU(aicemuExecutorOutput)(executor, job, outputs.Get(i).ToNumber().Uint32Value(), bytes.Data(), bytes.ByteLength());
  }
  EMU(aicemuExecutorFinish)(executor, job, info[2].ToNumber().Uint32Value());
  return info.Env().Undefined();
}
Napi::Value Calls(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  return Napi::Number::New(info.Env(), library == nullptr ? 0 : static_cast<double>(EMU(aicemuCalls)(name.c_str())));
}
// faults(text) and latency(text): whether the text was understood; problem() says what was not, or is empty.
Napi::Value Faults(const Napi::CallbackInfo& info) {
  const std::string text = info[0].ToString().Utf8Value();
  return Napi::Boolean::New(info.Env(), library != nullptr && EMU(aicemuFaults)(text.c_str()) != 0);
}
Napi::Value Latency(const Napi::CallbackInfo& info) {
  const std::string text = info[0].ToString().Utf8Value();
  return Napi::Boolean::New(info.Env(), library != nullptr && EMU(aicemuLatency)(text.c_str()) != 0);
}
Napi::Value Problem(const Napi::CallbackInfo& info) {
  std::string text(2048, '\0');
  const uint64_t size = library == nullptr ? 0 : EMU(aicemuProblem)(text.data(), text.size());
  text.resize(size < text.size() ? static_cast<size_t>(size) : text.size() - 1);
  return Napi::String::New(info.Env(), text);
}
Napi::Value LiveHandles(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), library == nullptr ? 0 : static_cast<double>(EMU(aicemuLiveHandles)()));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, Open));
  exports.Set("create", Napi::Function::New(env, Create));
  exports.Set("use", Napi::Function::New(env, Use));
  exports.Set("close", Napi::Function::New(env, Close));
  exports.Set("take", Napi::Function::New(env, Take));
  exports.Set("finish", Napi::Function::New(env, Finish));
  exports.Set("calls", Napi::Function::New(env, Calls));
  exports.Set("faults", Napi::Function::New(env, Faults));
  exports.Set("latency", Napi::Function::New(env, Latency));
  exports.Set("problem", Napi::Function::New(env, Problem));
  exports.Set("liveHandles", Napi::Function::New(env, LiveHandles));
  return exports;
}

}  // namespace

NODE_API_MODULE(vlm_aic_emulator, Init)
