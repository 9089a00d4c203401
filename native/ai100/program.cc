#include "program.h"

#include <stdlib.h>
#include <string.h>

#include <new>

#include "counted.h"
#include "sdk.h"

namespace vlm_ai100 {
namespace {

void Keep(Outcome* first, const char* call, uint32_t status) {
  if (status != QS_SUCCESS && first->call == nullptr) *first = {status, call};
}

}  // namespace

Block::Block(size_t size) {
  const size_t whole = (size + kPage - 1) / kPage * kPage;
  void* memory = nullptr;
  CountAllocation();
  if (posix_memalign(&memory, kPage, whole == 0 ? kPage : whole) != 0) return;
  memset(memory, 0, whole == 0 ? kPage : whole);
  data = static_cast<uint8_t*>(memory);
  bytes = size;
}

Block::~Block() { free(data); }

Outcome Program::Create(const std::string& qpc) {
  const Api& api = library_->api;
  // Zeroed blocks stand for structs that only the runtime looks into.
  alignas(16) uint8_t properties[kQaicOpaqueBytes] = {};
  uint32_t status = api.qaicProgramPropertiesInitDefault(properties);
  if (status != QS_SUCCESS) return {status, "qaicProgramPropertiesInitDefault"};
  // An emulated card takes the devices from the context: its properties are as opaque as a runtime's.
  if (ids_.size() > 1 && !library_->emulator) {
    mapping_.clear();
    for (const QID id : ids_) mapping_ += (mapping_.empty() ? "" : ":") + std::to_string(id);
    if (!SetDeviceMapping(properties, mapping_.c_str())) return {QS_UNSUPP, "devMapping"};
  }
  status = api.qaicCreateContext(&context_, nullptr, static_cast<uint32_t>(ids_.size()), ids_.data(), nullptr, nullptr,
                                 nullptr, nullptr);
  if (status != QS_SUCCESS) return {status, "qaicCreateContext"};
  status = api.qaicCreateQueue(context_, &queue_, nullptr, ids_[0]);
  if (status != QS_SUCCESS) return {status, "qaicCreateQueue"};
  status = api.qaicOpenQpcFile(&qpc_, qpc.c_str());
  if (status != QS_SUCCESS) return {status, "qaicOpenQpcFile"};
  status = api.qaicCreateProgram(context_, &program_, properties, ids_[0], "vlm-run", qpc_);
  if (status != QS_SUCCESS) return {status, "qaicCreateProgram"};
  return {};
}

Outcome Program::Load() {
  if (program_ == nullptr) return {QS_INVAL, "qaicLoadProgram"};
  const uint32_t status = library_->api.qaicLoadProgram(program_);
  if (status != QS_SUCCESS) return {status, "qaicLoadProgram"};
  loaded_ = true;
  return {};
}

Outcome Program::Descriptor(std::vector<uint8_t>* bytes) {
  if (program_ == nullptr) return {QS_INVAL, "qaicProgramGetIoDescriptor"};
  QData data = {};
  const uint32_t status = library_->api.qaicProgramGetIoDescriptor(program_, &data);
  if (status != QS_SUCCESS) return {status, "qaicProgramGetIoDescriptor"};
  if (data.data != nullptr) bytes->assign(data.data, data.data + data.size);
  return {};
}

bool Program::Allocate(const std::vector<uint32_t>& sizes, uint32_t depth) {
  slots_.clear();
  for (uint32_t i = 0; i < depth; i++) {
    auto slot = std::make_unique<Slot>();
    slot->control = std::make_shared<Block>(sizes.size() * kControlWords * sizeof(uint32_t));
    if (slot->control->data == nullptr) return false;
    for (const uint32_t size : sizes) {
      if (size == 0) {
        slot->blocks.push_back(nullptr);
        continue;
      }
      slot->blocks.push_back(std::make_shared<Block>(size));
      if (slot->blocks.back()->data == nullptr) return false;
    }
    slot->buffers.resize(sizes.size());
    slot->dims.resize(sizes.size());
    auto* words = reinterpret_cast<uint32_t*>(slot->control->data);
    for (size_t b = 0; b < sizes.size(); b++) {
      uint32_t* const at = words + b * kControlWords;
      at[1] = 1;  // skipped until told otherwise: no bytes, dims [0]
      at[2] = 1;
      slot->buffers[b] = {0, slot->blocks[b] ? slot->blocks[b]->data : nullptr, 0, 0, QBUFFER_TYPE_HEAP};
      slot->dims[b] = {1, 1, at + 3};
    }
    slots_.push_back(std::move(slot));
  }
  return true;
}

Outcome Program::Activate() {
  if (program_ == nullptr) return {QS_INVAL, "qaicRunActivationCmd"};
  if (active_) return {};
  const Api& api = library_->api;
  uint32_t status = api.qaicRunActivationCmd(program_, QACTIVATE_FULL);
  if (status != QS_SUCCESS) return {status, "qaicRunActivationCmd"};
  active_ = true;
  QData descriptor = {};
  status = api.qaicProgramGetIoDescriptor(program_, &descriptor);
  const char* call = "qaicProgramGetIoDescriptor";
  const uint32_t properties = 0;
  for (size_t i = 0; status == QS_SUCCESS && i < slots_.size(); i++) {
    call = "qaicCreateExecObj";
    status = api.qaicCreateExecObj(context_, &slots_[i]->exec, &properties, program_, &descriptor, nullptr, nullptr);
  }
  if (status == QS_SUCCESS) return {};
  Deactivate();
  return {status, call};
}

Outcome Program::Deactivate() {
  Outcome first;
  for (const auto& slot : slots_) {
    if (slot->exec == nullptr) continue;
    Keep(&first, "qaicReleaseExecObj", library_->api.qaicReleaseExecObj(slot->exec));
    slot->exec = nullptr;
  }
  if (active_) Keep(&first, "qaicRunActivationCmd", library_->api.qaicRunActivationCmd(program_, QDEACTIVATE_FULL));
  active_ = false;
  return first;
}

const char* Program::Fill(Slot* slot) {
  const auto* words = reinterpret_cast<const uint32_t*>(slot->control->data);
  for (size_t b = 0; b < slot->buffers.size(); b++) {
    const uint32_t* const at = words + b * kControlWords;
    const size_t room = slot->blocks[b] ? slot->blocks[b]->bytes : 0;
    if (at[0] > room || at[1] > kMaxRank) return "control";
    slot->buffers[b].size = at[0];
    slot->dims[b].count = at[1];
    slot->dims[b].sizeOfElem = at[2];
  }
  return nullptr;
}

Outcome Program::Run(uint32_t index, uint32_t timeout_us) {
  Slot* const slot = SlotAt(index);
  if (slot == nullptr || slot->exec == nullptr || !active_) return {QS_INVAL, "inactive"};
  const char* wrong = Fill(slot);
  if (wrong != nullptr) return {QS_INVAL, wrong};
  const Api& api = library_->api;
  uint32_t status = api.qaicExecObjSetDataExt(slot->exec, static_cast<uint32_t>(slot->buffers.size()),
                                              slot->buffers.data(), slot->dims.data());
  if (status != QS_SUCCESS) return {status, "qaicExecObjSetDataExt"};
  {
    const std::lock_guard<std::mutex> lock(enqueue_);
    status = api.qaicEnqueueExecObj(queue_, slot->exec, nullptr);
  }
  if (status != QS_SUCCESS) return {status, "qaicEnqueueExecObj"};
  status = api.qaicExecObjWaitForCompletion(slot->exec, timeout_us);
  if (status != QS_SUCCESS) return {status, "qaicExecObjWaitForCompletion"};
  return {};
}

Outcome Program::Release() {
  const Api& api = library_->api;
  Outcome first = Deactivate();
  if (loaded_) Keep(&first, "qaicUnloadProgram", api.qaicUnloadProgram(program_));
  loaded_ = false;
  if (program_ != nullptr) Keep(&first, "qaicReleaseProgram", api.qaicReleaseProgram(program_));
  program_ = nullptr;
  if (qpc_ != nullptr) Keep(&first, "qaicCloseQpc", api.qaicCloseQpc(qpc_));
  qpc_ = nullptr;
  if (queue_ != nullptr) Keep(&first, "qaicReleaseQueue", api.qaicReleaseQueue(queue_));
  queue_ = nullptr;
  if (context_ != nullptr) Keep(&first, "qaicReleaseContext", api.qaicReleaseContext(context_));
  context_ = nullptr;
  return first;
}

bool Program::Busy() const {
  for (const auto& slot : slots_)
    if (slot->running.load()) return true;
  return false;
}

}  // namespace vlm_ai100
