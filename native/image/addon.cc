// N-API face of the kernels. Sizes are checked here once more, because a wrong one would read foreign memory; everything
// else is the caller's business. No exception leaves this file: failures become JavaScript errors.
#include <napi.h>

#include "kernels.h"

#define VLM_IMAGE_ABI 1

namespace {

using vlm_image::Axis;

template <typename T>
struct View {
  T* data = nullptr;
  size_t length = 0;
};

// Typed array `index` of the call, or nothing when it is another type.
template <typename T>
View<T> ArrayAt(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type) {
  if (index >= info.Length() || !info[index].IsTypedArray()) return {};
  const Napi::TypedArray array = info[index].As<Napi::TypedArray>();
  const bool bytes = type == napi_uint8_array && array.TypedArrayType() == napi_uint8_clamped_array;
  if (array.TypedArrayType() != type && !bytes) return {};
  uint8_t* base = static_cast<uint8_t*>(array.ArrayBuffer().Data());
  return {reinterpret_cast<T*>(base + array.ByteOffset()), array.ElementLength()};
}

size_t SizeAt(const Napi::CallbackInfo& info, size_t index) {
  if (index >= info.Length() || !info[index].IsNumber()) return 0;
  const double value = info[index].As<Napi::Number>().DoubleValue();
  return value >= 0 && value < 4503599627370496.0 ? static_cast<size_t>(value) : 0;
}

bool Times(size_t a, size_t b, size_t c, size_t* product) {
  size_t ab = 0;
  return !__builtin_mul_overflow(a, b, &ab) && !__builtin_mul_overflow(ab, c, product);
}

// Arguments from `at` on: size, starts, counts, weights.
bool ReadAxis(const Napi::CallbackInfo& info, size_t at, size_t inputs, size_t outputs, Axis* axis) {
  const auto starts = ArrayAt<int32_t>(info, at + 1, napi_int32_array);
  const auto counts = ArrayAt<int32_t>(info, at + 2, napi_int32_array);
  const auto weights = ArrayAt<int32_t>(info, at + 3, napi_int32_array);
  *axis = {starts.data, counts.data, weights.data, SizeAt(info, at), outputs};
  size_t needed = 0;
  if (!Times(outputs, axis->size, 1, &needed) || starts.length < outputs || counts.length < outputs) return false;
  if (weights.length < needed) return false;
  for (size_t i = 0; i < outputs; i++) {
    if (starts.data[i] < 0 || counts.data[i] < 0 || static_cast<size_t>(counts.data[i]) > axis->size) return false;
    if (static_cast<size_t>(starts.data[i]) + static_cast<size_t>(counts.data[i]) > inputs) return false;
  }
  return true;
}

Napi::Value Refuse(const Napi::CallbackInfo& info) {
  Napi::RangeError::New(info.Env(), "buffer sizes do not match").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

// horizontal(input, inWidth, rows, output, outWidth, size, starts, counts, weights)
Napi::Value Horizontal(const Napi::CallbackInfo& info) {
  const auto input = ArrayAt<uint8_t>(info, 0, napi_uint8_array);
  const auto output = ArrayAt<uint8_t>(info, 3, napi_uint8_array);
  vlm_image::HorizontalPass pass{};
  pass.input = input.data;
  pass.input_bytes = input.length;
  pass.output = output.data;
  pass.in_width = SizeAt(info, 1);
  pass.rows = SizeAt(info, 2);
  size_t needed_in = 0, needed_out = 0;
  if (!Times(pass.in_width, pass.rows, 3, &needed_in) || input.length < needed_in) return Refuse(info);
  if (!Times(SizeAt(info, 4), pass.rows, 3, &needed_out) || output.length < needed_out) return Refuse(info);
  if (!ReadAxis(info, 5, pass.in_width, SizeAt(info, 4), &pass.axis)) return Refuse(info);
  vlm_image::BestKernels().horizontal(pass);
  return info.Env().Undefined();
}

// vertical(input, rowBytes, output, outRows, size, starts, counts, weights)
Napi::Value Vertical(const Napi::CallbackInfo& info) {
  const auto input = ArrayAt<uint8_t>(info, 0, napi_uint8_array);
  const auto output = ArrayAt<uint8_t>(info, 2, napi_uint8_array);
  vlm_image::VerticalPass pass{};
  pass.input = input.data;
  pass.input_bytes = input.length;
  pass.output = output.data;
  pass.row_bytes = SizeAt(info, 1);
  size_t needed = 0;
  if (pass.row_bytes == 0) return Refuse(info);
  if (!Times(pass.row_bytes, SizeAt(info, 3), 1, &needed) || output.length < needed) return Refuse(info);
  if (!ReadAxis(info, 4, input.length / pass.row_bytes, SizeAt(info, 3), &pass.axis)) return Refuse(info);
  vlm_image::BestKernels().vertical(pass);
  return info.Env().Undefined();
}

// tile(input, stride, left, top, width, height, table, output, offset)
Napi::Value Tile(const Napi::CallbackInfo& info) {
  const auto input = ArrayAt<uint8_t>(info, 0, napi_uint8_array);
  const auto table = ArrayAt<float>(info, 6, napi_float32_array);
  const auto output = ArrayAt<float>(info, 7, napi_float32_array);
  const size_t offset = SizeAt(info, 8);
  const vlm_image::TileCut cut = {input.data,       SizeAt(info, 1), SizeAt(info, 2), SizeAt(info, 3),
                                  SizeAt(info, 4), SizeAt(info, 5), table.data,      output.data + offset};
  size_t last_row = 0, row_end = 0, elements = 0;
  if (cut.width == 0 || cut.height == 0) return info.Env().Undefined();
  if (!Times(cut.top + cut.height - 1, cut.stride, 1, &last_row)) return Refuse(info);
  if (!Times(cut.left + cut.width, 3, 1, &row_end) || row_end > cut.stride) return Refuse(info);
  if (last_row + row_end > input.length || table.length < 768) return Refuse(info);
  if (!Times(cut.width, cut.height, 3, &elements) || elements + offset > output.length) return Refuse(info);
  vlm_image::CutTile(cut);
  return info.Env().Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("abi", Napi::Number::New(env, VLM_IMAGE_ABI));
  exports.Set("isa", Napi::String::New(env, vlm_image::BestKernels().isa));
  exports.Set("horizontal", Napi::Function::New(env, Horizontal, "horizontal"));
  exports.Set("vertical", Napi::Function::New(env, Vertical, "vertical"));
  exports.Set("tile", Napi::Function::New(env, Tile, "tile"));
  return exports;
}

}  // namespace

NODE_API_MODULE(vlm_image, Init)
