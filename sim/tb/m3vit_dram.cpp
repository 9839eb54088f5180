// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

// Contents of the simulated DRAM: a file that the simulation and Python map at the same time. Reads and writes of the
// model go to the same pages that the host's NumPy buffers show, so nothing is copied. The environment variable
// M3VIT_DRAM names the file; its size is the size of the memory, and what lies beyond answers with an AXI error. The
// first bytes are not memory but orders of the host (sim/cosim.py, Orders): stalls, jitter, errors, silence.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "svdpi.h"

namespace {

constexpr std::size_t kBeatBytes = 16;

/// At the start of the file. Countdowns are in beats: 1 strikes the next beat, 0 never strikes.
struct Orders {
  std::uint64_t stall_percent;
  std::uint64_t jitter_cycles;
  std::uint64_t read_error;  // countdown to one error answer
  std::uint64_t write_error;
  std::uint64_t read_silence;  // countdown to silence, which lasts until the host writes 0
  std::uint64_t write_silence;
};

struct Dram {
  std::uint8_t* data = nullptr;
  std::uint64_t size = 0;

  Dram() {
    const char* path = std::getenv("M3VIT_DRAM");
    const int file = path ? open(path, O_RDWR) : -1;
    struct stat status{};
    if (file < 0 || fstat(file, &status) != 0) {
      std::fprintf(stderr, "m3vit_dram: cannot open M3VIT_DRAM=%s\n", path ? path : "(not set)");
      std::exit(2);
    }
    size = static_cast<std::uint64_t>(status.st_size);
    void* map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
      std::fprintf(stderr, "m3vit_dram: cannot map %s\n", path);
      std::exit(2);
    }
    data = static_cast<std::uint8_t*>(map);
    close(file);
  }

  volatile Orders* orders() const { return reinterpret_cast<volatile Orders*>(data); }

  bool holds(std::uint64_t address) const { return address <= size && size - address >= kBeatBytes; }
};

Dram& dram() {
  static Dram instance;
  return instance;
}

/// Counts a beat; true if an error was ordered for it.
bool strikes(volatile std::uint64_t& countdown) {
  if (countdown == 0) return false;
  countdown = countdown - 1;
  return countdown == 0;
}

/// Counts a beat towards silence.
void approach(volatile std::uint64_t& countdown) {
  if (countdown > 1) countdown = countdown - 1;
}

}  // namespace

/// Chance of withholding a handshake in a cycle.
extern "C" int m3vit_dram_stall_percent() { return static_cast<int>(dram().orders()->stall_percent); }

/// Largest extra latency of a read burst.
extern "C" int m3vit_dram_jitter_cycles() { return static_cast<int>(dram().orders()->jitter_cycles); }

/// Bit 0: reads are silent, bit 1: writes are.
extern "C" int m3vit_dram_is_silent() {
  return (dram().orders()->read_silence == 1 ? 1 : 0) | (dram().orders()->write_silence == 1 ? 2 : 0);
}

/// Reads one 16-byte beat; returns 1, or 0 and zeros if the address lies outside the memory or an error was ordered.
extern "C" int m3vit_dram_read(const long long address, svBitVecVal* beat) {
  const auto at = static_cast<std::uint64_t>(address);
  approach(dram().orders()->read_silence);
  if (strikes(dram().orders()->read_error) || !dram().holds(at)) {
    std::memset(beat, 0, kBeatBytes);
    return 0;
  }
  std::memcpy(beat, dram().data + at, kBeatBytes);
  return 1;
}

/// Writes one 16-byte beat; returns 1, or 0 if the address lies outside the memory or an error was ordered.
extern "C" int m3vit_dram_write(const long long address, const svBitVecVal* beat) {
  const auto at = static_cast<std::uint64_t>(address);
  approach(dram().orders()->write_silence);
  if (strikes(dram().orders()->write_error) || !dram().holds(at)) return 0;
  std::memcpy(dram().data + at, beat, kBeatBytes);
  return 1;
}
