#include <string.h>

#include "harness.h"

std::vector<uint8_t> Packed(const std::string& table, const std::string& descriptor) {
  std::vector<uint8_t> bytes;
  const auto put = [&](const void* data, size_t size) {
    const auto* at = static_cast<const uint8_t*>(data);
    bytes.insert(bytes.end(), at, at + size);
  };
  const uint32_t version = 1, text = static_cast<uint32_t>(table.size()), io = static_cast<uint32_t>(descriptor.size());
  put("VLMEMQPC", 8), put(&version, 4), put(&text, 4), put(table.data(), text), put(&io, 4), put(descriptor.data(), io);
  return bytes;
}

Session::Session(std::vector<uint8_t> bytes, bool activate) {
  QID id = 0;
  QData io{};
  status = qaicCreateContext(&context, nullptr, 1, &id, nullptr, nullptr, nullptr, nullptr);
  if (!status) status = qaicCreateQueue(context, &queue, nullptr, 0);
  if (!status) status = qaicOpenQpc(&qpc, bytes.data(), bytes.size(), true);
  if (!status) status = qaicCreateProgram(context, &program, nullptr, 0, "p", qpc);
  if (!status) status = qaicLoadProgram(program);
  if (!status && activate) status = qaicRunActivationCmd(program, QACTIVATE_FULL);
  if (!status) status = qaicProgramGetIoDescriptor(program, &io);
  if (!status && activate) status = qaicCreateExecObj(context, &exec, nullptr, program, nullptr, nullptr, nullptr);
}

Session::~Session() {
  if (exec) qaicReleaseExecObj(exec);
  if (program) qaicRunActivationCmd(program, QDEACTIVATE_FULL), qaicUnloadProgram(program), qaicReleaseProgram(program);
  if (qpc) qaicCloseQpc(qpc);
  if (queue) qaicReleaseQueue(queue);
  if (context) qaicReleaseContext(context);
}

uint32_t Session::Set(std::vector<QBuffer> buffers, std::vector<std::vector<uint32_t>> dims) {
  std::vector<QBufferDimensions> shapes;
  for (auto& d : dims) shapes.push_back({static_cast<uint32_t>(d.size()), 4, d.data()});
  return qaicExecObjSetDataExt(exec, static_cast<uint32_t>(buffers.size()), buffers.data(), shapes.data());
}

uint32_t Session::Wait(uint32_t timeout_us) {
  const uint32_t queued = qaicEnqueueExecObj(queue, exec, nullptr);
  return queued ? queued : qaicExecObjWaitForCompletion(exec, timeout_us);
}

uint32_t Session::Run(const std::vector<QBuffer>& buffers, const std::vector<std::vector<uint32_t>>& dims) {
  const uint32_t set = Set(buffers, dims);
  return set ? set : Wait();
}
