// The table of an emulated program: read strictly, as any other file of unknown origin.
#ifndef VLM_RUN_AICEMU_QPC_H_
#define VLM_RUN_AICEMU_QPC_H_

#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <string>
#include <vector>

namespace aicemu {

struct Binding {
  std::string name;
  bool input = false, partial = false;
  uint32_t type = 0;
  uint64_t size = 0;
};
struct Shape {
  uint32_t type = 0;
  std::vector<uint32_t> dims;
  uint64_t bytes = 0;
};
enum class Compute { kExecutor, kEcho, kArgmax };
struct Qpc {
  std::string folder, name;
  Compute compute = Compute::kExecutor;
  uint32_t cores = 16, devices = 1;
  uint64_t memory = 0;
  std::vector<Binding> bindings;
  std::vector<std::vector<Shape>> sets;
  std::vector<uint8_t> descriptor;
};

uint64_t ElementBytes(uint32_t type);
// Null for anything that is not a whole, consistent program.
std::shared_ptr<Qpc> ReadQpc(const uint8_t* bytes, size_t size, const std::string& folder);

// Deviations of the descriptor, in place, without changing its length: each size off by one; the first two shapes of
// every set changed about.
void SpoilSizes(std::vector<uint8_t>* descriptor);
void SwapShapes(std::vector<uint8_t>* descriptor);

}  // namespace aicemu
#endif  // VLM_RUN_AICEMU_QPC_H_
