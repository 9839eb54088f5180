// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// One engine that loops over a Pathway's program, with all weights in DRAM: what m3vit_core.sv is in RTL.
/// Golden: sim/golden/executor.py.
#ifndef M3VIT_ENGINE_H_
#define M3VIT_ENGINE_H_

#include "embed.h"
#include "io.h"
#include "jobs.h"
#include "layer_norm.h"
#include "queue_builder.h"

namespace m3vit {

/// Loads the GELU table of an operation.
template <class C>
void load_gelu(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
               const uint64_t address) {
  constexpr int kEntries = 1 << kGeluIndexBits, kWords = ceil_div(kEntries, C::inputs);
  hls::stream<Word<C>> words("gelu");
#pragma HLS STREAM variable = words depth = kWords
  read_stream<C>(hp0, hp1, hp2, hp3, address, kWords, words);
gelu:
  for (int i = 0; i < kWords; ++i) {
    const Word<C> word = words.read();
    for (int b = 0; b < C::inputs; ++b)
      for (int l = 0; l < C::lanes; ++l)
        if (i * C::inputs + b < kEntries) s.gelu[l][i * C::inputs + b] = word.byte[b];
  }
}

/// Loads the coarse shifts of a norm's channels.
template <class C>
void load_coarse(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
                 const uint64_t address, const int dim) {
  [[maybe_unused]] constexpr int kDepth = Sizes<C>::dim_units;
  hls::stream<Word<C>> words("coarse");
#pragma HLS STREAM variable = words depth = kDepth
  read_stream<C>(hp0, hp1, hp2, hp3, address, ceil_div(dim, C::inputs), words);
coarse:
  for (int i = 0; i < ceil_div(dim, C::inputs); ++i) {
    const Word<C> word = words.read();
    for (int b = 0; b < C::inputs; ++b)
      if (i * C::inputs + b < dim) s.coarse[i * C::inputs + b] = uint8_t(word.byte[b]);
  }
}

/// Pixels of the image to patches.
template <class C, class Io>
void load_patches(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const Io& io,
                  const int patch, const int columns, const int column_patches) {
#pragma HLS DATAFLOW
  hls::stream<Pixel> pixels("pixels");
  io.read_pixels(hp0, hp1, hp2, hp3, uint32_t(patch * columns) * (patch * column_patches), pixels);
  patches<C>(s, pixels, patch, columns, column_patches);
}

/// Position table to the residual stream.
template <class C>
void load_positions(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
                    const uint64_t address, const int rows, const int dim) {
#pragma HLS DATAFLOW
  hls::stream<Values> positions("positions");
  read_values(hp0, hp1, hp2, hp3, address, uint32_t(rows) * dim, positions);
  fill_residual<C>(s, positions, rows, dim);
}

/// Source of a LOAD to the residual stream.
template <class C, class Io>
void load_rows(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const Io& io,
               const int rows, const int dim) {
#pragma HLS DATAFLOW
  hls::stream<Values> values("rows");
  io.read_rows(hp0, hp1, hp2, hp3, rows, dim, values);
  fill_residual<C>(s, values, rows, dim);
}

/// Residual stream to the result.
template <class C, class Io>
void store_rows(const State<C>& s, beat_t* hp0, const Io& io, const int rows, const int channels, const int pitch) {
#pragma HLS DATAFLOW
  hls::stream<Values> values("result");
  drain_residual<C>(s, values, rows, channels, pitch);
  io.write_rows(hp0, rows, pitch, values);
}

/// What precedes the jobs of an operation: vectors, tables, pixels, positions, routing. Returns the jobs.
/// \tparam Io  MemoryIo or StreamIo
template <class C, class Io>
Jobs prepare(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
             const uint64_t memory, const Io& io, const Op& op, Counters& counters) {
  const uint64_t table = memory + op.table;
  switch (op.opcode) {
    case kPatchEmbed: {
      const uint32_t pixels = op.operands[1] * op.operands[2], values = uint32_t(op.rows) * op.out_features;
      load_patches<C>(s, hp0, hp1, hp2, hp3, io, op.operands[0], op.operands[3], op.operands[4]);
      load_positions<C>(s, hp0, hp1, hp2, hp3, table, op.rows, op.out_features);
      counters.read_words += words_of(3 * uint64_t(pixels)) + words_of(2 * uint64_t(values));
      return layer_jobs<C>(kLayerJob, op.out_features, op.in_features);
    }
    case kLayerNorm:
      load_coarse<C>(s, hp0, hp1, hp2, hp3, table, op.in_features);
      layer_norm<C>(s, op.rows, op.in_features, uint16_t(op.operands[0]), op.operands[1] & 31);
      counters.read_words += dram_words<C>(ceil_div(op.in_features, C::inputs));
      return {kLayerJob, 0, 0, 0, 0};
    case kAttention: {
      const uint16_t blocks = ceil_div(op.rows, op.operands[3]);
      return {kAttentionJob, uint32_t(blocks) * op.heads, 0, 0, blocks};
    }
    case kMlp:
    case kMoe:
      load_gelu<C>(s, hp0, hp1, hp2, hp3, table);
      counters.read_words += dram_words<C>(ceil_div(1 << kGeluIndexBits, C::inputs));
      if (op.opcode == kMoe) return layer_jobs<C>(kRouterJob, op.experts, op.in_features);
      return {kSliceJob, op.experts, 0, 0, 0};
    case kLoad:
      load_rows<C>(s, hp0, hp1, hp2, hp3, io, op.rows, op.in_features);
      counters.read_words += words_of(2 * uint64_t(op.rows) * op.in_features);
      return {kLayerJob, 0, 0, 0, 0};
    case kStore: return {kLayerJob, 0, 0, 0, 0};
    default: return layer_jobs<C>(kLayerJob, op.out_features, op.in_features);
  }
}

/// Runs one operation. A MoE layer has two lists of jobs: its router's, and, once the queues are built, its experts'.
template <class C, class Io>
void execute(State<C>& s, beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const uint64_t memory,
             const Io& io, const Op& op, Counters& counters) {
#pragma HLS INLINE off
  uint16_t experts[Sizes<C>::routes];
  Jobs jobs = prepare<C>(s, hp0, hp1, hp2, hp3, memory, io, op, counters);
lists:
  while (jobs.count != 0) {
    run_jobs<C>(s, hp0, hp1, hp2, hp3, memory, op, jobs, experts);
    counters.read_words += job_words<C>(op, jobs);
    if (jobs.kind != kRouterJob) break;
    gates<C>(s, op.rows, op.top_k, (op.flags & kRenormalise) != 0);
    jobs = {kExpertJob, uint32_t(build_queues<C>(s, op.rows, op.top_k, experts)), 0, 0, 0};
    counters.experts = jobs.count;
  }
  if (op.opcode == kStore) {
    const int pitch = ceil_div(op.out_features, kUnitBytes) * kUnitBytes;
    store_rows<C>(s, hp0, io, op.rows, op.out_features, pitch);
    counters.write_words = uint32_t(op.rows) * pitch * 2 / kWordBytes;
  }
}

/// Reads, checks and runs a program.
/// \param memory        address of the memory image
/// \param memory_bytes  its size; nothing beyond is read
/// \param offset        of the program in the image
/// \param count         its operations
/// \param done          operations begun
/// \param counters      of each operation
template <class C, class Io>
Error run_program(State<C>& s, beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
                  const uint64_t memory, const uint32_t memory_bytes, const uint32_t offset, const uint32_t count,
                  const Io& io, uint32_t& done, Counters counters[kMaxOps]) {
  Op ops[kMaxOps];
  hls::stream<DramWord> words("program");
#pragma HLS STREAM variable = words depth = kMaxOps
  done = 0;
  if (count == 0 || count > kMaxOps) return Error::kTask;
  if (!inside(offset, count, memory_bytes)) return Error::kAddress;
  read_words(hp0, hp1, hp2, hp3, memory + offset, count, words);
  const Error error = read_program<C>(words, count, memory_bytes, ops);
  if (error != Error::kNone) return error;
program:
  for (uint32_t i = 0; i < count; ++i) {
    Counters counted{};
    ++done;
    execute<C>(s, hp0, hp1, hp2, hp3, memory, io, ops[i], counted);
    counters[i] = counted;
  }
  return Error::kNone;
}

}  // namespace m3vit

#endif
