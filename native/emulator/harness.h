// Shared by the parts of the harness that drives the emulated card from C++.
#ifndef VLM_RUN_AICEMU_HARNESS_H_
#define VLM_RUN_AICEMU_HARNESS_H_

#include <stdint.h>
#include <stdio.h>

#include <string>
#include <vector>

#include "../ai100/qaic_abi.h"
#include "control.h"

#define X(name, args) extern "C" uint32_t name args;
VLM_RUN_QAIC_FUNCTIONS(X)
#undef X

extern int failures;
#define EXPECT(call, want)                                                                                \
  do {                                                                                                    \
    const uint64_t got = static_cast<uint64_t>(call), wanted = static_cast<uint64_t>(want);               \
    if (got != wanted)                                                                                    \
      failures++, printf("%s:%d: %s: %llu, expected %llu\n", __FILE__, __LINE__, #call,                   \
                         static_cast<unsigned long long>(got), static_cast<unsigned long long>(wanted)); \
  } while (0)

// A program file of this table and descriptor.
std::vector<uint8_t> Packed(const std::string& table, const std::string& descriptor);

// A loaded program and its queue, active unless told otherwise; everything is released in the end.
struct Session {
  QAicContext* context = nullptr;
  QAicQueue* queue = nullptr;
  QAicQpcObj* qpc = nullptr;
  QAicProgram* program = nullptr;
  QAicExecObj* exec = nullptr;
  uint32_t status = 0;
  explicit Session(std::vector<uint8_t> bytes, bool activate = true);
  ~Session();
  uint32_t Set(std::vector<QBuffer> buffers, std::vector<std::vector<uint32_t>> dims);
  uint32_t Wait(uint32_t timeout_us = 1'000'000);
  uint32_t Run(const std::vector<QBuffer>& buffers, const std::vector<std::vector<uint32_t>>& dims);
};

void CheckDeviations();
// Cycles of the binding's own C++ over the program at this path, failures of every function in them, and its numbers.
void CheckBinding(const char* qpc, int cycles);
// The binding tells what was refused and goes on with the rest; what was refused stays with the card, so this comes last.
void CheckRefusedReleases(const char* qpc);
// Mutations of a program's file; how many of them were accepted as programs.
int FuzzPrograms(int rounds);

#endif  // VLM_RUN_AICEMU_HARNESS_H_
