// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Test bench of the accelerator: runs a whole frame of every task through the top function, as the host on a board does,
/// and compares every element with the golden model. For csim_design of Vitis HLS and for `make csim` with g++.
///
/// Usage: m3vit_test [FOLDER...]   folders with image.bin and the vectors; default: the current one
/// Exit code: 0 if everything is equal, 1 if something differs, 2 if a file cannot be read.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../src/m3vit_accelerator.h"
#include "m3vit_vectors.h"

namespace {

using Bytes = std::vector<unsigned char>;

constexpr std::size_t kStripe = 1024;       ///< the accelerator's alignment
constexpr std::size_t kBeat = 16;           ///< bytes of a beat of an AXI port
constexpr unsigned char kUntouched = 0xA5;  ///< memory that nobody has written

std::size_t align(std::size_t size) { return (size + kStripe - 1) / kStripe * kStripe; }

Bytes read_file(const std::vector<std::string>& folders, const std::string& name) {
  for (const std::string& folder : folders) {
    std::FILE* file = std::fopen((folder + "/" + name).c_str(), "rb");
    if (!file) continue;
    Bytes data;
    unsigned char piece[4096];
    for (std::size_t size; (size = std::fread(piece, 1, sizeof piece, file)) > 0;) {
      data.insert(data.end(), piece, piece + size);
    }
    std::fclose(file);
    return data;
  }
  std::printf("m3vit_test: cannot read %s\n", name.c_str());
  std::exit(2);
}

/// DRAM of the board; all four ports see it.
class Dram {
 public:
  explicit Dram(std::size_t size) : beats_(size / kBeat) { write(0, Bytes(size, kUntouched)); }

  m3vit::beat_t* port() { return beats_.data(); }

  void write(std::size_t address, const Bytes& data) {
    for (std::size_t i = 0; i < data.size(); ++i) {
      const int low = 8 * ((address + i) % kBeat);
      beats_[(address + i) / kBeat].range(low + 7, low) = data[i];
    }
  }

  Bytes read(std::size_t address, std::size_t size) const {
    Bytes data(size);
    for (std::size_t i = 0; i < size; ++i) {
      const int low = 8 * ((address + i) % kBeat);
      data[i] = static_cast<unsigned char>(beats_[(address + i) / kBeat].range(low + 7, low).to_uint());
    }
    return data;
  }

 private:
  std::vector<m3vit::beat_t> beats_;
};

/// The registers, and the accelerator behind them.
struct Registers {
  std::uint32_t identity[5] = {}, error_code = 0, ops_done = 0;
  std::uint32_t task_table[kTableWords] = {};
  std::vector<std::uint32_t> counters = std::vector<std::uint32_t>(kCounterWordsInAll);
  std::uint64_t memory = 0, source = 0, result = 0;
  std::uint32_t memory_bytes = 0;

  void start(Dram& dram, std::uint32_t task) {
    m3vit_accelerator(dram.port(), dram.port(), dram.port(), dram.port(), task, memory, memory_bytes, source, result,
                      &identity[0], &identity[1], &identity[2], &identity[3], &identity[4], &error_code, &ops_done,
                      task_table, counters.data());
  }
};

/// An empty run, with which the host learns what it talks to.
bool check_identity(Registers& registers, Dram& dram) {
  registers.start(dram, kNoTask);
  if (registers.error_code != kErrorTask) {
    std::printf("m3vit_test: a run without a task ended with error code %u instead of %u\n",
                static_cast<unsigned>(registers.error_code), static_cast<unsigned>(kErrorTask));
    return false;
  }
  for (int i = 0; i < 5; ++i) {
    if (registers.identity[i] != kIdentity[i]) {
      std::printf("m3vit_test: word %d of ID, VERSION, CAPACITY0-2 is 0x%08X instead of 0x%08X\n", i,
                  static_cast<unsigned>(registers.identity[i]), static_cast<unsigned>(kIdentity[i]));
      return false;
    }
  }
  return true;
}

int element(const Bytes& data, std::size_t index) {
  return static_cast<std::int16_t>(data[2 * index] | data[2 * index + 1] << 8);
}

/// Prints how many elements of a result differ, and where the first does.
bool compare(const Vector& vector, const Bytes& result, const Bytes& expected) {
  std::size_t wrong = 0;
  for (std::size_t row = 0; row < vector.rows; ++row) {
    for (std::size_t channel = 0; channel < vector.channels; ++channel) {
      const int got = element(result, row * vector.pitch + channel);
      const int wanted = element(expected, row * vector.channels + channel);
      if (got != wanted && wrong++ == 0) {
        std::printf("%s: row %zu, channel %zu is %d instead of %d\n", vector.task, row, channel, got, wanted);
      }
    }
  }
  std::printf("%s: %zu of %zu elements differ\n", vector.task, wrong, expected.size() / 2);
  return wrong == 0;
}

/// Runs one frame; its input and result lie behind the memory image.
bool run(const Vector& vector, Registers& registers, Dram& dram, const Bytes& source, const Bytes& expected) {
  const std::size_t result_bytes = 2 * std::size_t(vector.rows) * vector.pitch;
  if (expected.size() != 2 * std::size_t(vector.rows) * vector.channels) {
    std::printf("%s: %s has %zu bytes\n", vector.task, vector.expected, expected.size());
    return false;
  }
  dram.write(registers.source, source);
  registers.result = registers.source + align(source.size());
  dram.write(registers.result, Bytes(result_bytes + kStripe, kUntouched));
  registers.start(dram, vector.slot);
  if (registers.error_code != 0 || registers.ops_done != vector.operations) {
    std::printf("%s: error code %u after %u of %u operations\n", vector.task,
                static_cast<unsigned>(registers.error_code), static_cast<unsigned>(registers.ops_done),
                static_cast<unsigned>(vector.operations));
    return false;
  }
  if (dram.read(registers.result + result_bytes, kStripe) != Bytes(kStripe, kUntouched)) {
    std::printf("%s: memory behind the result was written\n", vector.task);
    return false;
  }
  return compare(vector, dram.read(registers.result, result_bytes), expected);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> folders(argv + 1, argv + argc);
  if (folders.empty()) folders.push_back(".");
  const Bytes image = read_file(folders, "image.bin");

  std::size_t frame = 0;
  for (const Vector& vector : kVectors) {
    const std::size_t result = 2 * std::size_t(vector.rows) * vector.pitch;
    frame = std::max(frame, align(read_file(folders, vector.source).size()) + align(result) + 2 * kStripe);
  }
  Registers registers;
  registers.memory = 3 * kStripe;
  registers.memory_bytes = static_cast<std::uint32_t>(image.size());
  registers.source = registers.memory + align(image.size());
  Dram dram(registers.source + frame);
  dram.write(registers.memory, image);
  for (const Vector& vector : kVectors) {
    registers.task_table[2 * vector.slot] = vector.program_offset;
    registers.task_table[2 * vector.slot + 1] = vector.operations;
  }

  bool equal = check_identity(registers, dram);
  for (const Vector& vector : kVectors) {
    const Bytes source = read_file(folders, vector.source), expected = read_file(folders, vector.expected);
    equal = run(vector, registers, dram, source, expected) && equal;
  }
  if (dram.read(registers.memory, image.size()) != image) {
    std::printf("m3vit_test: the memory image was written\n");
    equal = false;
  }
  std::printf(equal ? "m3vit_test: all equal\n" : "m3vit_test: NOT equal\n");
  return equal ? 0 : 1;
}
