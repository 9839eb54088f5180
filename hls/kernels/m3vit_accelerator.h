// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Top function of the HLS accelerator. Registers as in sim/regmap.py, shared with the RTL.
#ifndef M3VIT_ACCELERATOR_H_
#define M3VIT_ACCELERATOR_H_

#include "engine.h"

/// Runs the program of a task once.
/// \param hp0..hp3       the same DRAM through four ports; index 0 is address 0
/// \param task           entry of the task table
/// \param memory         address of the memory image, and its size in bytes
/// \param source,result  addresses of the image (or residual stream) and of the result
/// \param id...capacity2 who answers; written by every run, so an empty run asks for them
/// \param error_code     m3vit::Error of this run
/// \param ops_done       operations begun
/// \param task_table     byte offset of the program in the image and number of operations, for each entry
/// \param counters       kSlotWords words for each operation; words and experts only, cycles are not known here
extern "C" void m3vit_accelerator(m3vit::beat_t* hp0, const m3vit::beat_t* hp1, const m3vit::beat_t* hp2,
                                  const m3vit::beat_t* hp3, uint32_t task, uint64_t memory, uint32_t memory_bytes,
                                  uint64_t source, uint64_t result, uint32_t* id, uint32_t* version,
                                  uint32_t* capacity0, uint32_t* capacity1, uint32_t* capacity2, uint32_t* error_code,
                                  uint32_t* ops_done, const uint32_t task_table[2 * m3vit::kTaskSlots],
                                  uint32_t counters[m3vit::kCounterSlots * m3vit::kSlotWords]);

#endif
