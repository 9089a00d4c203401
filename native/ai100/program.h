// One program on a card: its life in the runtime, the buffers of its exec objects, one call at a time for each of them.
#ifndef VLM_RUN_AI100_PROGRAM_H_
#define VLM_RUN_AI100_PROGRAM_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "library.h"

namespace vlm_ai100 {

constexpr uint32_t kMaxRank = 8;
// Words of one binding in the control block of a slot: bytes, count of dims, element size, dims.
constexpr uint32_t kControlWords = 3 + kMaxRank;
constexpr size_t kPage = 4096;

// Which call said what. `call` is null when all went well.
struct Outcome {
  uint32_t status = 0;
  const char* call = nullptr;
};

// Page-aligned memory that JavaScript may hold on to after the program is gone.
struct Block {
  uint8_t* data = nullptr;
  size_t bytes = 0;
  explicit Block(size_t size);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
};

struct Slot {
  std::vector<std::shared_ptr<Block>> blocks;  // one a binding; none for those that are always skipped
  std::shared_ptr<Block> control;
  std::vector<QBuffer> buffers;
  std::vector<QBufferDimensions> dims;
  QAicExecObj* exec = nullptr;
  std::atomic<bool> running{false};
};

class Program {
 public:
  Program(const Library* library, std::vector<QID> ids) : library_(library), ids_(std::move(ids)) {}
  ~Program() { Release(); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // context, queue, QPC, program. `status` 11 with call `devMapping` when several cards need the SDK's header.
  Outcome Create(const std::string& qpc);
  Outcome Load();
  Outcome Descriptor(std::vector<uint8_t>* bytes);
  // Memory of `depth` slots; sizes are maxima, 0 for bindings that are always skipped. False without memory.
  bool Allocate(const std::vector<uint32_t>& sizes, uint32_t depth);
  Outcome Activate();
  Outcome Deactivate();
  // setData, enqueue, wait. The control block of the slot says what to pass.
  Outcome Run(uint32_t slot, uint32_t timeout_us);
  // Everything back to the runtime, in reverse. Slots keep their memory. The first failure is reported.
  Outcome Release();

  bool Busy() const;
  Slot* SlotAt(uint32_t index) { return index < slots_.size() ? slots_[index].get() : nullptr; }
  size_t Depth() const { return slots_.size(); }
  bool Active() const { return active_; }

 private:
  const char* Fill(Slot* slot);

  const Library* library_;
  std::vector<QID> ids_;
  std::string mapping_;
  QAicContext* context_ = nullptr;
  QAicQueue* queue_ = nullptr;
  QAicQpcObj* qpc_ = nullptr;
  QAicProgram* program_ = nullptr;
  bool loaded_ = false;
  bool active_ = false;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::mutex enqueue_;
};

}  // namespace vlm_ai100

#endif  // VLM_RUN_AI100_PROGRAM_H_
