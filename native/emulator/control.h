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

typedef struct {
  uint64_t job;
  uint64_t exec;
  uint32_t kind;  // 0 run, 1 the exec object was released
  uint32_t set;
  const char *folder;
  uint32_t count;
  const AicemuInput *buffers;
} AicemuJob;

const char *aicemuVersion(void);
// An executor for programs that the calling thread will create. 0 is no executor.
uint32_t aicemuExecutorCreate(void);
// Waits for a job on the executor's own thread: 1 a job, 0 none within the time, -1 closed.
int aicemuExecutorTake(uint32_t executor, uint32_t timeout_ms, AicemuJob *job);
void aicemuExecutorOutput(uint32_t executor, uint64_t job, uint32_t index, const uint8_t *data, uint64_t size);
void aicemuExecutorFinish(uint32_t executor, uint64_t job, uint32_t status);
void aicemuExecutorClose(uint32_t executor);
// Calls of a function so far, and the table of faults anew (null: from the environment).
uint64_t aicemuCalls(const char *function);
void aicemuFaults(const char *text);
uint64_t aicemuLiveHandles(void);

#ifdef __cplusplus
}
#endif
#endif  // VLM_RUN_AICEMU_CONTROL_H_
