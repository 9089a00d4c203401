// The part of the Cloud AI 100 runtime's C ABI that vlm-run uses, in declarations of our own.
//
// Source of the layouts and numbers: the open runtime (quic/software-kit-for-qualcomm-cloud-ai-100,
// BSD-3-Clause-Clear) and public programs that use the SDK. No card was at hand to check them against: `vlm-run
// selftest` checks each assumption on the day one is. Structs that the runtime alone may look into (program
// properties, device info, QPC info) are only ever a zeroed block of kOpaqueBytes.
#ifndef VLM_RUN_QAIC_ABI_H_
#define VLM_RUN_QAIC_ABI_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t QID;

// QStatus: a 32-bit enum; every function returns it unless said otherwise.
enum {
  QS_SUCCESS = 0,
  QS_PERM = 1,
  QS_AGAIN = 2,
  QS_NOMEM = 3,
  QS_BUSY = 4,
  QS_NODEV = 5,
  QS_INVAL = 6,
  QS_NOSPC = 7,
  QS_BADDESC = 8,
  QS_TIMEDOUT = 9,
  QS_PROTO = 10,
  QS_UNSUPP = 11,
  QS_CRC = 12,
  QS_DEV_ERROR = 300,
  QS_ERROR = 500,
};

enum { QBUFFER_TYPE_HEAP = 0 };
enum { QIO_INPUT = 1, QIO_OUTPUT = 2 };            // QAicBufferMappings.ioType
enum { QACTIVATE_FULL = 0, QDEACTIVATE_FULL = 1 };  // qaicRunActivationCmd

// Data types of buffers.
enum {
  QTYPE_F32 = 0,
  QTYPE_F16 = 1,
  QTYPE_Q8 = 2,
  QTYPE_QU8 = 3,
  QTYPE_Q16 = 4,
  QTYPE_Q32 = 5,
  QTYPE_I32 = 6,
  QTYPE_I64 = 7,
  QTYPE_I8 = 8,
  QTYPE_BF16 = 11,
};

typedef struct {
  size_t size;
  uint8_t *buf;
  uint64_t handle;
  uint32_t offset;
  uint32_t type;
} QBuffer;

typedef struct {
  size_t size;
  uint8_t *data;
} QData;

typedef struct {
  uint32_t count;
  uint32_t sizeOfElem;
  uint32_t *dims;
} QBufferDimensions;

typedef struct {
  char *bufferName;
  uint32_t index;
  uint32_t ioType;
  uint32_t size;
#ifdef __cplusplus
  bool isPartialBufferAllowed;
#else
  _Bool isPartialBufferAllowed;
#endif
  uint32_t dataType;
} QAicBufferMappings;

typedef struct {
  uint32_t numBufferMappings;
  QAicBufferMappings *bufferMappings;
} QAicIoBufferInfo;

typedef struct {
  int32_t reservationId;
  uint64_t dramTotal;
  uint64_t dramFree;
  uint8_t vcTotal;
  uint8_t vcFree;
  uint8_t nspTotal;
  uint8_t nspFree;
  uint32_t mcidTotal;
  uint32_t mcidFree;
  uint32_t semTotal;
  uint32_t semFree;
  uint8_t pcTotal;
  uint8_t pcReserved;
  uint8_t skuType;
  uint8_t pad[5];
} QResourceInfo;

enum { kQaicOpaqueBytes = 4096 };

typedef struct QAicContext QAicContext;
typedef struct QAicQueue QAicQueue;
typedef struct QAicQpcObj QAicQpcObj;
typedef struct QAicProgram QAicProgram;
typedef struct QAicExecObj QAicExecObj;
typedef struct QAicEvent QAicEvent;

typedef void (*qaicLogCb)(void *);
typedef void (*qaicErrorCb)(void *);

// X(name, arguments): all functions that the binding resolves, in the order `selftest` lists them.
#define VLM_RUN_QAIC_FUNCTIONS(X)                                                                          \
  X(qaicGetAicVersion, (uint16_t * major, uint16_t * minor, const char **patch, const char **variant))     \
  X(qaicGetDeviceInfo, (QID id, void *info))                                                               \
  X(qaicGetResourceInfo, (QID id, QResourceInfo * info))                                                   \
  X(qaicCreateContext, (QAicContext * *context, void *props, uint32_t count, QID *devices, qaicLogCb log,  \
                        void *logData, qaicErrorCb error, void *errorData))                                \
  X(qaicReleaseContext, (QAicContext * context))                                                           \
  X(qaicSetLogLevel, (QAicContext * context, uint32_t level))                                              \
  X(qaicCreateQueue, (QAicContext * context, QAicQueue * *queue, void *props, QID id))                     \
  X(qaicReleaseQueue, (QAicQueue * queue))                                                                 \
  X(qaicOpenQpcFile, (QAicQpcObj * *qpc, const char *path))                                                \
  X(qaicOpenQpc, (QAicQpcObj * *qpc, uint8_t * buffer, size_t size, bool copy))                            \
  X(qaicCloseQpc, (QAicQpcObj * qpc))                                                                      \
  X(qaicQpcGetInfo, (QAicQpcObj * qpc, const void **info))                                                 \
  X(qaicProgramPropertiesInitDefault, (void *props))                                                       \
  X(qaicCreateProgram, (QAicContext * context, QAicProgram * *program, void *props, QID id,                \
                        const char *name, QAicQpcObj *qpc))                                                \
  X(qaicLoadProgram, (QAicProgram * program))                                                              \
  X(qaicUnloadProgram, (QAicProgram * program))                                                            \
  X(qaicRunActivationCmd, (QAicProgram * program, uint32_t command))                                       \
  X(qaicReleaseProgram, (QAicProgram * program))                                                           \
  X(qaicProgramGetIoDescriptor, (QAicProgram * program, QData * descriptor))                               \
  X(qaicProgramGetIoBufferInfo, (QAicProgram * program, QAicIoBufferInfo * *info))                         \
  X(qaicCreateExecObj, (QAicContext * context, QAicExecObj * *exec, const uint32_t *props,                 \
                        QAicProgram *program, const QData *descriptor, void *callback, void *userData))    \
  X(qaicReleaseExecObj, (QAicExecObj * exec))                                                              \
  X(qaicExecObjSetDataExt, (QAicExecObj * exec, uint32_t count, QBuffer * buffers, QBufferDimensions * dims)) \
  X(qaicEnqueueExecObj, (QAicQueue * queue, QAicExecObj * exec, QAicEvent * event))                        \
  X(qaicExecObjWaitForCompletion, (QAicExecObj * exec, uint32_t timeoutUs))

#ifdef __cplusplus
}  // extern "C"

static_assert(sizeof(QBuffer) == 32, "QBuffer");
static_assert(sizeof(QBufferDimensions) == 16, "QBufferDimensions");
static_assert(sizeof(QAicBufferMappings) == 32, "QAicBufferMappings");
static_assert(sizeof(QResourceInfo) == 56, "QResourceInfo");
#endif

#endif  // VLM_RUN_QAIC_ABI_H_
