// The runtime's functions up to the opened program file: version, devices, contexts, queues, QPCs.
#include <string.h>

#include <fstream>
#include <sstream>

#include "card.h"

using namespace aicemu;

namespace {

bool Present(const State& s, QID id) { return id >= 0 && static_cast<size_t>(id) < s.devices.size(); }

uint32_t OpenBytes(QAicQpcObj** out, const uint8_t* bytes, size_t size, const std::string& folder) {
  const auto qpc = ReadQpc(bytes, size, folder);
  if (!qpc) return QS_BADDESC;
  auto o = std::make_shared<Object>(Kind::kQpc);
  o->qpc = qpc;
  Publish(o, out);
  return QS_SUCCESS;
}

// The fields without the gaps that alignment leaves: what a runtime built with packed structs would hand out.
void PackedResources(const QResourceInfo& from, QResourceInfo* info) {
  uint8_t bytes[sizeof(QResourceInfo)] = {};
  size_t at = 0;
  const auto put = [&](const void* field, size_t size) { memcpy(bytes + at, field, size), at += size; };
  put(&from.reservationId, 4), put(&from.dramTotal, 8), put(&from.dramFree, 8);
  put(&from.vcTotal, 1), put(&from.vcFree, 1), put(&from.nspTotal, 1), put(&from.nspFree, 1);
  memcpy(info, bytes, sizeof bytes);
}

}  // namespace

AICEMU_API qaicGetAicVersion(uint16_t* major, uint16_t* minor, const char** patch, const char** variant) {
  return Call(__func__, {}, [&](State&, Lock&, const Met&) -> uint32_t {
    if (major == nullptr || minor == nullptr || patch == nullptr || variant == nullptr) return QS_INVAL;
    // Deviating, the numbers come in the other order and the words not at all.
    if (Deviates("version-layout")) return *major = 0, *minor = 1, *patch = nullptr, *variant = nullptr, QS_SUCCESS;
    *major = 1, *minor = 0, *patch = "0", *variant = "emulated";
    return QS_SUCCESS;
  });
}
AICEMU_API qaicGetDeviceInfo(QID id, void* info) {
  return Call(__func__, {{"id", id}}, [&](State& s, Lock&, const Met&) -> uint32_t {
    if (!Present(s, id) && !Deviates("devices-endless")) return QS_NODEV;
    return info == nullptr ? QS_INVAL : QS_SUCCESS;
  });
}
AICEMU_API qaicGetResourceInfo(QID id, QResourceInfo* info) {
  return Call(__func__, {{"id", id}}, [&](State& s, Lock&, const Met& met) -> uint32_t {
    if (!Present(s, id) && !Deviates("devices-endless")) return QS_NODEV;
    if (info == nullptr) return QS_INVAL;
    const Device d = Present(s, id) ? s.devices[static_cast<size_t>(id)] : Device{};
    *info = QResourceInfo{};
    info->dramTotal = kMemory, info->dramFree = d.memory;
    info->nspTotal = kCores, info->nspFree = static_cast<uint8_t>(d.cores);
    if (Deviates("resource-layout")) PackedResources(QResourceInfo(*info), info);
    if (met.garbage) memset(info, 0xff, sizeof *info);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicCreateContext(QAicContext** context, void*, uint32_t count, QID* devices, qaicLogCb, void*,
                             qaicErrorCb, void*) {
  return Call(__func__, {{"count", count}}, [&](State& s, Lock&, const Met&) -> uint32_t {
    if (context == nullptr || devices == nullptr || count == 0 || count > 64) return QS_INVAL;
    auto c = std::make_shared<Object>(Kind::kContext);
    for (uint32_t i = 0; i < count; i++) {
      if (!Present(s, devices[i])) return QS_NODEV;
      for (const QID other : c->devices)
        if (other == devices[i]) return QS_INVAL;
      c->devices.push_back(devices[i]);
    }
    Publish(c, context);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicReleaseContext(QAicContext* context) {
  return Call(__func__, {{"context", context}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto c = Find(context, Kind::kContext);
    if (!c) return Unknown(context, Kind::kContext, true);
    if (c->children > 0) return QS_BUSY;
    Drop(c);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicSetLogLevel(QAicContext* context, uint32_t level) {
  return Call(__func__, {{"context", context}, {"level", level}}, [&](State&, Lock&, const Met&) -> uint32_t {
    if (!Find(context, Kind::kContext)) return Unknown(context, Kind::kContext, false);
    return level < 16 ? QS_SUCCESS : QS_INVAL;
  });
}
AICEMU_API qaicCreateQueue(QAicContext* context, QAicQueue** queue, void*, QID id) {
  return Call(__func__, {{"context", context}, {"id", id}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto c = Find(context, Kind::kContext);
    if (!c || queue == nullptr) return QS_INVAL;
    if (c->devices[0] != id) return QS_NODEV;
    auto q = std::make_shared<Object>(Kind::kQueue);
    q->parent = c, c->children++;
    Publish(q, queue);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicReleaseQueue(QAicQueue* queue) {
  return Call(__func__, {{"queue", queue}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto q = Find(queue, Kind::kQueue);
    if (!q) return Unknown(queue, Kind::kQueue, true);
    q->parent->children--;
    Drop(q);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicOpenQpcFile(QAicQpcObj** qpc, const char* path) {
  return Call(__func__, {{"path", path}}, [&](State&, Lock&, const Met&) -> uint32_t {
    if (qpc == nullptr || path == nullptr) return QS_INVAL;
    std::string file = path;
    const std::string tail = "programqpc.bin";
    if (file.size() < tail.size() || file.compare(file.size() - tail.size(), tail.size(), tail) != 0) file += "/" + tail;
    std::ifstream in(file, std::ios::binary);
    if (!in) return QS_INVAL;
    std::stringstream all;
    all << in.rdbuf();
    const std::string bytes = all.str();
    const size_t slash = file.rfind('/');
    return OpenBytes(qpc, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                     slash == std::string::npos ? "." : file.substr(0, slash));
  });
}
AICEMU_API qaicOpenQpc(QAicQpcObj** qpc, uint8_t* buffer, size_t size, bool copy) {
  return Call(__func__, {{"size", static_cast<uint64_t>(size)}, {"copy", copy ? 1u : 0u}},
              [&](State&, Lock&, const Met&) -> uint32_t {
                if (qpc == nullptr || buffer == nullptr) return QS_INVAL;
                return OpenBytes(qpc, buffer, size, "");
              });
}
AICEMU_API qaicCloseQpc(QAicQpcObj* qpc) {
  return Call(__func__, {{"qpc", qpc}}, [&](State&, Lock&, const Met&) -> uint32_t {
    const auto o = Find(qpc, Kind::kQpc);
    if (!o) return Unknown(qpc, Kind::kQpc, true);
    Drop(o);
    return QS_SUCCESS;
  });
}
AICEMU_API qaicQpcGetInfo(QAicQpcObj* qpc, const void** info) {
  return Call(__func__, {{"qpc", qpc}}, [&](State&, Lock&, const Met&) -> uint32_t {
    static const uint8_t kOpaque[kQaicOpaqueBytes] = {};
    if (!Find(qpc, Kind::kQpc) || info == nullptr) return QS_INVAL;
    *info = kOpaque;
    return QS_SUCCESS;
  });
}
AICEMU_API qaicProgramPropertiesInitDefault(void* props) {
  return Call(__func__, {},
              [&](State&, Lock&, const Met&) -> uint32_t { return props == nullptr ? QS_INVAL : QS_SUCCESS; });
}
