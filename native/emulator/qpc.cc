#include "qpc.h"

#include <string.h>

#include <algorithm>
#include <functional>
#include <sstream>

#include "../ai100/qaic_abi.h"

namespace aicemu {
namespace {

// More than any program has; a table that claims more is not one of ours.
constexpr size_t kMostBindings = 4096, kMostSets = 4096, kMostDims = 8;
constexpr uint64_t kMostBytes = 1ull << 40;

bool Number(const std::string& text, uint64_t most, uint64_t* out) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos) return false;
  uint64_t value = 0;
  for (const char c : text) value = value * 10 + static_cast<uint64_t>(c - '0');
  *out = value;
  return value <= most;
}

bool BindingLine(Qpc* q, std::istringstream* words) {
  std::string index, dir, type, size, partial;
  Binding b;
  uint64_t at = 0, number = 0;
  if (!(*words >> index >> dir >> type >> size >> partial >> b.name)) return false;
  if (!Number(index, kMostBindings - 1, &at) || at != q->bindings.size() || !q->sets.empty()) return false;
  if (!Number(type, 255, &number) || !Number(size, 0xffffffff, &b.size)) return false;
  if ((dir != "in" && dir != "out") || (partial != "0" && partial != "1")) return false;
  b.input = dir == "in", b.partial = partial == "1", b.type = static_cast<uint32_t>(number);
  q->bindings.push_back(b);
  return true;
}

bool ReadShape(const std::string& text, Shape* shape) {
  const size_t colon = text.find(':');
  uint64_t number = 0;
  if (colon == std::string::npos || !Number(text.substr(0, colon), 255, &number)) return false;
  shape->type = static_cast<uint32_t>(number);
  shape->bytes = ElementBytes(shape->type);
  std::istringstream dims(text.substr(colon + 1));
  for (std::string d; std::getline(dims, d, 'x');) {
    if (!Number(d, 0x7fffffff, &number) || shape->dims.size() >= kMostDims) return false;
    shape->dims.push_back(static_cast<uint32_t>(number));
    // Checked at each step: the product of eight dims would overflow.
    shape->bytes *= number;
    if (shape->bytes > kMostBytes) return false;
  }
  return true;
}

bool ShapeLine(Qpc* q, std::istringstream* words) {
  std::vector<Shape> set;
  for (std::string text; *words >> text;) {
    Shape shape;
    if (set.size() >= q->bindings.size() || !ReadShape(text, &shape)) return false;
    const Binding& b = q->bindings[set.size()];
    if (shape.type != b.type || shape.bytes > b.size) return false;
    set.push_back(std::move(shape));
  }
  if (set.size() != q->bindings.size() || q->sets.size() >= kMostSets) return false;
  q->sets.push_back(std::move(set));
  return true;
}

bool Line(Qpc* q, const std::string& line) {
  std::istringstream words(line);
  std::string key, text, more;
  uint64_t n = 0;
  if (!(words >> key)) return false;
  if (key == "binding") return BindingLine(q, &words) && !(words >> more);
  if (key == "shape") return ShapeLine(q, &words);
  if (!(words >> text) || words >> more) return false;
  if (key == "name" || key == "role") return q->name = text, true;
  if (key == "compute") {
    q->compute = text == "echo" ? Compute::kEcho : text == "argmax" ? Compute::kArgmax : Compute::kExecutor;
    return text == "echo" || text == "argmax" || text == "executor";
  }
  // 64 rather than a card's 16: a program that needs more than there is must be readable to be refused for it.
  if (key == "cores") return Number(text, 64, &n) && (q->cores = static_cast<uint32_t>(n)) >= 1;
  if (key == "devices") return Number(text, 64, &n) && (q->devices = static_cast<uint32_t>(n)) >= 1;
  if (key == "memory") return Number(text, ~0ull, &q->memory);
  return false;
}

// Walks the fields of a protobuf message in place. `visit` gets the number, and the bytes of the value (of a
// length-delimited field: without its length). False where the bytes are no message.
using Visit = std::function<void(uint64_t field, uint8_t* from, uint8_t* to)>;
bool Varint(uint8_t** at, uint8_t* end, uint64_t* out) {
  *out = 0;
  for (int shift = 0; *at < end && shift < 64; shift += 7) {
    const uint8_t byte = *(*at)++;
    *out |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}
bool Walk(uint8_t* at, uint8_t* end, const Visit& visit) {
  while (at < end) {
    uint64_t tag = 0, value = 0;
    if (!Varint(&at, end, &tag)) return false;
    uint8_t* from = at;
    const uint64_t wire = tag & 7;
    if (wire == 0) {
      if (!Varint(&at, end, &value)) return false;
    } else if (wire == 2) {
      if (!Varint(&at, end, &value) || value > static_cast<uint64_t>(end - at)) return false;
      from = at;
      at += value;
    } else if (wire == 1 || wire == 5) {
      const ptrdiff_t width = wire == 1 ? 8 : 4;
      if (end - at < width) return false;
      at += width;
    } else {
      return false;
    }
    visit(tag >> 3, from, at);
  }
  return true;
}

}  // namespace

uint64_t ElementBytes(uint32_t type) {
  switch (type) {
    case QTYPE_F32: case QTYPE_Q32: case QTYPE_I32: return 4;
    case QTYPE_F16: case QTYPE_Q16: case QTYPE_BF16: return 2;
    case QTYPE_I64: return 8;
    default: return 1;
  }
}

std::shared_ptr<Qpc> ReadQpc(const uint8_t* bytes, size_t size, const std::string& folder) {
  auto word = [&](size_t at) {
    uint32_t value = 0;
    memcpy(&value, bytes + at, 4);
    return value;
  };
  if (size < 20 || memcmp(bytes, "VLMEMQPC", 8) != 0 || word(8) != 1) return nullptr;
  const size_t text = word(12);
  if (text > size - 20) return nullptr;
  const size_t descriptor = word(16 + text);
  if (descriptor != size - 20 - text) return nullptr;
  auto q = std::make_shared<Qpc>();
  q->folder = folder;
  std::istringstream lines(std::string(reinterpret_cast<const char*>(bytes) + 16, text));
  for (std::string line; std::getline(lines, line);)
    if (!Line(q.get(), line)) return nullptr;
  if (q->bindings.empty() || q->sets.empty()) return nullptr;
  q->descriptor.assign(bytes + 20 + text, bytes + size);
  return q;
}

void SpoilSizes(std::vector<uint8_t>* descriptor) {
  uint8_t* const begin = descriptor->data();
  Walk(begin, begin + descriptor->size(), [](uint64_t set, uint8_t* a, uint8_t* b) {
    if (set != 1 && set != 2) return;
    Walk(a, b, [](uint64_t binding, uint8_t* c, uint8_t* d) {
      if (binding != 2) return;
      Walk(c, d, [](uint64_t field, uint8_t* e, uint8_t*) {
        if (field == 8) *e ^= 1;
      });
    });
  });
}

void SwapShapes(std::vector<uint8_t>* descriptor) {
  uint8_t* const begin = descriptor->data();
  Walk(begin, begin + descriptor->size(), [](uint64_t list, uint8_t* a, uint8_t* b) {
    if (list != 8) return;
    std::vector<std::pair<uint8_t*, uint8_t*>> shapes;
    Walk(a, b, [&](uint64_t field, uint8_t*, uint8_t* d) {
      if (field == 1) shapes.push_back({shapes.empty() ? a : shapes.back().second, d});
    });
    if (shapes.size() >= 2) std::rotate(shapes[0].first, shapes[0].second, shapes[1].second);
  });
}

}  // namespace aicemu
