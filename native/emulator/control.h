// What the emulator offers beside the card runtime's functions: its version, and the executor's side of a call.
#ifndef VLM_RUN_AICEMU_CONTROL_H_
#define VLM_RUN_AICEMU_CONTROL_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const uint8_t *data;  // null: skipped
  uint64_t size;
} AicemuInput;

// Kinds of jobs: a call; the exec object is gone; by a deviation, its cache or its vision rows are lost.
enum { kAicemuRun = 0, kAicemuReleased = 1, kAicemuCacheLost = 2, kAicemuRowsLost = 3 };

typedef struct {
  uint64_t job;
  uint64_t exec;
  uint32_t kind;
  uint32_t set;
  const char *folder;
  uint32_t count;
  const AicemuInput *buffers;
} AicemuJob;

const char *aicemuVersion(void);
// An executor for programs that the calling thread will create. 0 is no executor.
uint32_t aicemuExecutorCreate(void);
// Programs that the calling thread creates from now on are this executor's; without it, the newest of the thread's own.
void aicemuExecutorUse(uint32_t executor);
// Waits for a job on the executor's own thread: 1 a job, 0 none within the time, -1 closed.
int aicemuExecutorTake(uint32_t executor, uint32_t timeout_ms, AicemuJob *job);
void aicemuExecutorOutput(uint32_t executor, uint64_t job, uint32_t index, const uint8_t *data, uint64_t size);
void aicemuExecutorFinish(uint32_t executor, uint64_t job, uint32_t status);
void aicemuExecutorClose(uint32_t executor);
// Calls of a function so far; the table of faults or the latency model anew (null faults: from the environment). 0 where
// the text is not understood: every call then answers 6 until faults are set that are.
uint64_t aicemuCalls(const char *function);
int aicemuFaults(const char *text);
int aicemuLatency(const char *text);
// What of the environment or of a text is not understood; the length, 0 for nothing.
uint64_t aicemuProblem(char *into, uint64_t size);
uint64_t aicemuLiveHandles(void);
// The cards as new: all cores and memory free. For tests, while no program is active.
void aicemuReset(void);

#ifdef __cplusplus
}
#endif
#endif  // VLM_RUN_AICEMU_CONTROL_H_
