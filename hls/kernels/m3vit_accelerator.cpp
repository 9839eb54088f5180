// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

#include "m3vit_accelerator.h"

#include "m3vit_config.h"

namespace m3vit {
namespace {

void publish(const Counters counted[kMaxOps], const uint32_t done, uint32_t counters[kCounterSlots * kSlotWords]) {
  slots:
  for (uint32_t i = 0; i < kCounterSlots; ++i) {
    const Counters op = i < done ? counted[i] : Counters{};
  words:
    for (uint32_t w = 0; w < kSlotWords; ++w) {
#pragma HLS PIPELINE II = 1
      uint32_t value = 0;
      switch (Counter(w)) {
        case Counter::kReadWords: value = op.read_words; break;
        case Counter::kWriteWords: value = op.write_words; break;
        case Counter::kExperts:
        case Counter::kLoads: value = op.experts; break;
      }
      counters[i * kSlotWords + w] = value;
    }
  }
}

}  // namespace
}  // namespace m3vit

void m3vit_accelerator(m3vit::beat_t* hp0, const m3vit::beat_t* hp1, const m3vit::beat_t* hp2, const m3vit::beat_t* hp3,
                       uint32_t task, uint64_t memory, uint32_t memory_bytes, uint64_t source, uint64_t result,
                       uint32_t* id, uint32_t* version, uint32_t* capacity0, uint32_t* capacity1, uint32_t* capacity2,
                       uint32_t* error_code, uint32_t* ops_done, const uint32_t task_table[2 * m3vit::kTaskSlots],
                       uint32_t counters[m3vit::kCounterSlots * m3vit::kSlotWords]) {
#include "m3vit_interface.inc"
  using namespace m3vit;
  static State<Config> state;
  lay_out(state);
  *id = kIdValue;
  *version = kHardwareVersion | kProgramVersion << 8 | kBackendHls << 16;
  *capacity0 = Config::lanes | Sizes<Config>::groups << 8 | Config::max_tokens << 16;
  *capacity1 = Config::max_dim | Config::max_hidden << 16;
  *capacity2 = Config::max_top_k | Config::max_block << 16;

  const bool exists = task < kTaskSlots;
  const uint32_t offset = exists ? task_table[2 * task] : 0, count = exists ? task_table[2 * task + 1] : 0;
  Counters counted[kMaxOps];
  uint32_t done;
  const MemoryIo io{source, result};
  const Error error =
      run_program<Config>(state, hp0, hp1, hp2, hp3, memory, memory_bytes, offset, count, io, done, counted);
  *error_code = uint32_t(error);
  *ops_done = done;
  publish(counted, done, counters);
}
