// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

// Contents of the simulated DRAM: a file that the simulation and Python map at the same time. Reads and writes of the
// model go to the same pages that the host's NumPy buffers show, so nothing is copied. The environment variable
// M3VIT_DRAM names the file; its size is the size of the memory, and what lies beyond answers with an AXI error.

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

struct Dram {
  std::uint8_t* data = nullptr;
  std::uint64_t size = 0;

  Dram() {
    const char* path = std::getenv("M3VIT_DRAM");
    const int file = path ? open(path, O_RDWR) : -1;
    struct stat status {};
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

  bool holds(std::uint64_t address) const { return address <= size && size - address >= kBeatBytes; }
};

Dram& dram() {
  static Dram instance;
  return instance;
}

}  // namespace

/// Reads one 16-byte beat; returns 1 if the address lies inside the memory, else 0 and zeros.
extern "C" int m3vit_dram_read(const long long address, svBitVecVal* beat) {
  const auto at = static_cast<std::uint64_t>(address);
  if (!dram().holds(at)) {
    std::memset(beat, 0, kBeatBytes);
    return 0;
  }
  std::memcpy(beat, dram().data + at, kBeatBytes);
  return 1;
}

/// Writes one 16-byte beat; returns 1 if the address lies inside the memory.
extern "C" int m3vit_dram_write(const long long address, const svBitVecVal* beat) {
  const auto at = static_cast<std::uint64_t>(address);
  if (!dram().holds(at)) return 0;
  std::memcpy(dram().data + at, beat, kBeatBytes);
  return 1;
}
