// Counts what the binding takes from the heap, so that a test can say that a step takes nothing.
#ifndef VLM_RUN_AI100_COUNTED_H_
#define VLM_RUN_AI100_COUNTED_H_

#include <stdint.h>

namespace vlm_ai100 {

// Allocations by the binding's own code (operator new and the blocks of buffers) since it was loaded, in all threads.
// What Node and the runtime library take for themselves is not in it.
uint64_t Allocations();
void CountAllocation();

}  // namespace vlm_ai100

#endif  // VLM_RUN_AI100_COUNTED_H_
