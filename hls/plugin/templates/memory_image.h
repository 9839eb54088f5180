// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The memory image in C-simulation: a file that stands for the DRAM behind the four ports. Not synthesised.
#ifndef M3VIT_MEMORY_IMAGE_H_
#define M3VIT_MEMORY_IMAGE_H_

#include <dlfcn.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "types.h"

namespace m3vit {

/// Error of the simulation, beyond those of the engine: there is no memory image.
constexpr uint32_t kNoImage = 1 << 16;

/// Folder `weights/` beside the library that holds this code.
static inline std::string library_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&library_folder), &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return (slash == std::string::npos ? std::string() : path.substr(0, slash + 1)) + "weights/";
}

class MemoryImage {
 public:
  explicit MemoryImage(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    beats_.resize(bytes.size() / kPortBytes);
    for (size_t i = 0; i < beats_.size() * kPortBytes; ++i) {
      const int low = 8 * int(i % kPortBytes);
      beats_[i / kPortBytes].range(low + 7, low) = uint8_t(bytes[i]);
    }
  }

  bool found() const { return !beats_.empty(); }
  const beat_t* beats() const { return beats_.data(); }
  uint32_t bytes() const { return uint32_t(beats_.size() * kPortBytes); }

 private:
  std::vector<beat_t> beats_;
};

}  // namespace m3vit

#endif
