// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// C-simulation of the HLS accelerator as a host sees it: the s_axilite registers that Vitis HLS puts before the top
/// function (UG1399, S_AXILITE control register map), and DRAM in a file. `m3vit.hls.csim` talks to it.
///
///   m3vit_csim DRAM_FILE
///
/// reads lines from standard input, "r OFFSET" and "w OFFSET VALUE" in hexadecimal, and answers each with one line: the
/// value read, or 0 when a write is done. A write of START returns when the run has ended.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cinttypes>
#include <cstdio>
#include <vector>

#include "m3vit_accelerator.h"

namespace {

constexpr uint32_t kStart = 1, kDone = 2, kIdle = 4, kReady = 8, kInterrupt = 1 << 9;
constexpr uint32_t kWindow = M3VIT_REG_COUNTERS + 4 * m3vit::kCounterSlots * m3vit::kSlotWords;

class Adapter {
 public:
  explicit Adapter(m3vit::beat_t* dram) : dram_(dram), word_(kWindow / 4) {}

  uint32_t read(const uint32_t offset) {
    if (offset % 4 != 0 || offset >= kWindow) return 0;
    if (offset != M3VIT_REG_CONTROL) return word_[offset / 4];
    const bool interrupt = (word_[M3VIT_REG_GLOBAL_IRQ / 4] & 1) != 0 && word_[M3VIT_REG_IRQ_STATUS / 4] != 0;
    const uint32_t value = ended_ | kIdle | (interrupt ? kInterrupt : 0);
    ended_ = 0;  // DONE and READY are cleared by reading
    return value;
  }

  void write(const uint32_t offset, const uint32_t value) {
    if (offset % 4 != 0 || offset >= kWindow) return;
    if (offset == M3VIT_REG_CONTROL) {
      if (value & kStart) run();
    } else if (offset == M3VIT_REG_IRQ_STATUS) {
      word_[offset / 4] ^= value & 3;
    } else if (!is_read_only(offset)) {
      word_[offset / 4] = value;
    }
  }

 private:
  static bool is_read_only(const uint32_t offset) {
    return offset == M3VIT_REG_MODE || offset >= M3VIT_REG_COUNTERS
           || (offset >= M3VIT_REG_ID && offset < M3VIT_REG_TASK_TABLE);
  }

  uint64_t address(const uint32_t low) const { return word_[low / 4] | uint64_t(word_[low / 4 + 1]) << 32; }

  void run() {
    const auto out = [&](const uint32_t offset) { return &word_[offset / 4]; };
    m3vit_accelerator(dram_, dram_, dram_, dram_, *out(M3VIT_REG_TASK), address(M3VIT_REG_MEMORY_LO),
                      *out(M3VIT_REG_MEMORY_BYTES), address(M3VIT_REG_SOURCE_LO), address(M3VIT_REG_RESULT_LO),
                      out(M3VIT_REG_ID), out(M3VIT_REG_VERSION), out(M3VIT_REG_CAPACITY0), out(M3VIT_REG_CAPACITY1),
                      out(M3VIT_REG_CAPACITY2), out(M3VIT_REG_ERROR_CODE), out(M3VIT_REG_OPS_DONE),
                      out(M3VIT_REG_TASK_TABLE), out(M3VIT_REG_COUNTERS));
    ended_ = kDone | kReady;
    *out(M3VIT_REG_IRQ_STATUS) |= *out(M3VIT_REG_IRQ_ENABLE) & 3;
  }

  m3vit::beat_t* dram_;
  std::vector<uint32_t> word_;
  uint32_t ended_ = 0;
};

}  // namespace

int main(const int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: m3vit_csim DRAM_FILE\n"), 2;
  const int file = open(argv[1], O_RDWR);
  struct stat status{};
  if (file < 0 || fstat(file, &status) != 0) return std::perror(argv[1]), 2;
  void* dram = mmap(nullptr, size_t(status.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (dram == MAP_FAILED) return std::perror(argv[1]), 2;
  Adapter adapter(static_cast<m3vit::beat_t*>(dram));
  char command = 0;
  uint32_t offset = 0, value = 0;
  while (std::scanf(" %c %" SCNx32, &command, &offset) == 2) {
    if (command == 'w') {
      if (std::scanf(" %" SCNx32, &value) != 1) return 2;
      adapter.write(offset, value);
      std::printf("0\n");
    } else {
      std::printf("%" PRIx32 "\n", adapter.read(offset));
    }
    std::fflush(stdout);
  }
  return 0;
}
