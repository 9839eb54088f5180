// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Expert-by-expert passes: an operation is a list of jobs, and while one job computes, the weights of the next one
/// arrive in the other half of a ping-pong buffer (M3ViT, arXiv 2210.14793, section 3.3). A job is an expert with its
/// token queue, a slice of a dense MLP, as many tiles of a linear layer as the buffer holds, or a block of queries of
/// one head of attention, which needs no weights. In RTL: m3vit_executor.sv and m3vit_loader.sv.
#ifndef M3VIT_JOBS_H_
#define M3VIT_JOBS_H_

#include "attention.h"
#include "linear_engine.h"
#include "program.h"
#include "router.h"

namespace m3vit {

enum JobKind { kLayerJob, kRouterJob, kExpertJob, kSliceJob, kAttentionJob };

/// The jobs of an operation, or of its router.
struct Jobs {
  JobKind kind;
  uint32_t count;
  uint16_t tiles, tiles_per_job;  ///< of a layer or router
  uint16_t blocks;                ///< of queries, for each head
};

/// Words of one output tile of a layer.
template <class C>
uint32_t tile_words(const int in_features) {
  return Sizes<C>::record_words + ceil_div(in_features, C::inputs) * C::lanes;
}

/// Jobs of a linear layer or of a router. An even number of tiles ends at a whole DRAM word whatever the word size.
template <class C>
Jobs layer_jobs(const JobKind kind, const int out_features, const int in_features) {
  static_assert(2 * (Sizes<C>::record_words + Sizes<C>::key_units / Sizes<C>::groups * C::lanes) <= C::stream_words,
                "two tiles of the widest layer fit the weight buffer");
  const int tiles = ceil_div(out_features, C::lanes);
  const int fitting = C::stream_words / tile_words<C>(in_features);
  const int per_job = tiles <= fitting ? tiles : fitting / 2 * 2;
  return {kind, uint32_t(ceil_div(tiles, per_job)), uint16_t(tiles), uint16_t(per_job), 0};
}

/// Where the weights of a job lie, relative to the memory image, and how many words they are.
template <class C>
uint32_t job_weights(const Op& op, const Jobs& jobs, const uint32_t job, const uint16_t expert, uint32_t& words) {
  if (jobs.kind == kLayerJob || jobs.kind == kRouterJob) {
    const uint32_t first = job * jobs.tiles_per_job, left = jobs.tiles - first;
    words = (left < jobs.tiles_per_job ? left : jobs.tiles_per_job) * tile_words<C>(op.in_features);
    return op.weights + first * tile_words<C>(op.in_features) * C::inputs;
  }
  words = jobs.kind == kAttentionJob ? 0 : expert_words<C>(op);
  return op.expert_base + (jobs.kind == kExpertJob ? uint32_t(expert) : job) * op.expert_stride;
}

/// Puts words of the weight stream into one half of the buffer.
template <class C>
void fill_buffer(hls::stream<Word<C>>& in, const uint32_t words, Word<C> buffer[C::stream_words]) {
fill:
  for (uint32_t i = 0; i < words; ++i) {
#pragma HLS PIPELINE II = 1
    buffer[i] = in.read();
  }
}

/// Words of the weight stream from DRAM.
template <class C>
void read_stream(const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const uint64_t address,
                 const uint32_t words, hls::stream<Word<C>>& out) {
#pragma HLS DATAFLOW
  hls::stream<DramWord> dram("dram");
  read_words(hp0, hp1, hp2, hp3, address, dram_words<C>(words), dram);
  gearbox<C>(dram, words, out);
}

/// Loads the weights of one job.
template <class C>
void load_job(const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const uint64_t memory,
              const Op& op, const Jobs& jobs, const uint32_t job, const uint16_t experts[Sizes<C>::routes],
              Word<C> buffer[C::stream_words]) {
#pragma HLS INLINE off
  uint32_t words;
  const uint16_t expert = jobs.kind == kExpertJob ? experts[job] : uint16_t(0);
  const uint64_t address = memory + job_weights<C>(op, jobs, job, expert, words);
  hls::stream<Word<C>> stream("weights");
#pragma HLS DATAFLOW
  read_stream<C>(hp0, hp1, hp2, hp3, address, words, stream);
  fill_buffer<C>(stream, words, buffer);
}

/// Command of a linear layer, or of a tile of a router: the rows of x times the tiles of a job.
template <class C>
Command layer_command(const Op& op, const Jobs& jobs, const uint32_t job, const int phase) {
  Command cmd{};
  const int first = job * jobs.tiles_per_job, left = jobs.tiles - first;
  const bool is_router = jobs.kind == kRouterJob, is_head = op.opcode == kHead, is_embed = op.opcode == kPatchEmbed;
  cmd.source = is_embed ? kFromPatches : kFromX;
  cmd.dest = is_router ? kToLogits : is_head ? kToOutput : op.opcode == kLinear ? kToQkv : kToResidual;
  cmd.rows = is_head || is_embed ? op.rows - 1 : op.rows;
  cmd.first_row = is_head ? 1 : 0;  // without the class token
  cmd.first_dest = is_embed ? 1 : 0;
  cmd.chunks = ceil_div(op.in_features, C::inputs);
  cmd.tiles = is_router ? 1 : left < jobs.tiles_per_job ? left : jobs.tiles_per_job;
  cmd.first_tile = is_router ? 0 : first;
  cmd.weight_word = phase * tile_words<C>(op.in_features);
  cmd.dim = op.in_features;
  return cmd;
}

/// Command of the first (phase 0) or second layer of an expert or of a slice.
template <class C>
Command expert_command(const State<C>& s, const Op& op, const Jobs& jobs, const uint32_t job, const int phase) {
  Command cmd{};
  const bool is_queued = jobs.kind == kExpertJob, is_first = phase == 0;
  cmd.source = !is_first ? kFromHidden : is_queued ? kFromQueue : kFromX;
  cmd.dest = is_first ? kToHidden : is_queued ? kToCombine : kToResidual;
  cmd.first_row = is_queued ? s.queue_first[job] : 0;
  cmd.rows = is_queued ? s.queue_first[job + 1] - s.queue_first[job] : op.rows;
  cmd.chunks = ceil_div(is_first ? op.in_features : op.out_features, C::inputs);
  cmd.tiles = ceil_div(is_first ? op.out_features : op.in_features, C::lanes);
  cmd.nibbles = has_nibbles(op);
  cmd.weight_word = is_first ? 0 : layer_words<C>(op.out_features, op.in_features, cmd.nibbles);
  return cmd;
}

/// Command of the scores (phase 0) or the weighted values of a block of queries of one head.
template <class C>
Command attention_command(const Op& op, const Jobs& jobs, const uint32_t job, const int phase) {
  Command cmd{};
  const uint32_t head = job / jobs.blocks, block_rows = op.operands[3], channels = op.operands[4];
  const uint32_t first = job % jobs.blocks * block_rows, left = op.rows - first;
  const bool is_scores = phase == 0;
  cmd.source = is_scores ? kFromQueries : kFromProbabilities;
  cmd.weights = is_scores ? kKeys : kValues;
  cmd.dest = is_scores ? kToScores : kToX;
  cmd.rows = left < block_rows ? left : block_rows;
  cmd.first_row = is_scores ? first : 0;
  cmd.first_dest = is_scores ? 0 : first;
  cmd.chunks = is_scores ? 1 : ceil_div(op.rows, C::inputs);
  cmd.tiles = ceil_div(is_scores ? op.rows : channels, C::lanes);
  cmd.dim = op.out_features;
  cmd.tokens = op.rows;
  cmd.head_unit = head * channels / kUnitBytes;
  cmd.head_units = channels / kUnitBytes;
  cmd.score_shift = op.operands[0];
  return cmd;
}

template <class C>
Command command(const State<C>& s, const Op& op, const Jobs& jobs, const uint32_t job, const int phase) {
  if (jobs.kind == kAttentionJob) return attention_command<C>(op, jobs, job, phase);
  if (jobs.kind == kExpertJob || jobs.kind == kSliceJob) return expert_command<C>(s, op, jobs, job, phase);
  return layer_command<C>(op, jobs, job, phase);
}

/// Computes one job: a command for each phase, and what happens to vectors between them.
template <class C>
void compute_job(State<C>& s, const Word<C> buffer[C::stream_words], const Op& op, const Jobs& jobs,
                 const uint32_t job) {
#pragma HLS INLINE off
  const int first_tile = job * jobs.tiles_per_job, left = jobs.tiles - first_tile;
  const int router_tiles = left < jobs.tiles_per_job ? left : int(jobs.tiles_per_job);
  const int phases = jobs.kind == kLayerJob ? 1 : jobs.kind == kRouterJob ? router_tiles : 2;
phases:
  for (int phase = 0; phase < phases; ++phase) {
    const Command cmd = command<C>(s, op, jobs, job, phase);
    linear_engine<C>(s, buffer, cmd);
    if (jobs.kind == kRouterJob) top_k<C>(s, op.rows, (first_tile + phase) * C::lanes, op.experts);
    if (jobs.kind == kAttentionJob && phase == 0)
      softmax<C>(s, cmd.rows, op.rows, uint16_t(op.operands[1]), op.operands[2]);
  }
}

/// Runs all jobs of an operation; the next job's weights arrive while one computes.
/// \param experts  of kExpertJob: the expert of each job
template <class C>
void run_jobs(State<C>& s, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
              const uint64_t memory, const Op& op, const Jobs& jobs, const uint16_t experts[Sizes<C>::routes]) {
#pragma HLS INLINE off
  const uint32_t count = jobs.count;
jobs:
  for (uint32_t job = 0; job < count; ++job) {
#pragma HLS DATAFLOW
    Word<C> buffer[C::stream_words];
#pragma HLS BIND_STORAGE variable = buffer type = ram_t2p impl = uram
    load_job<C>(hp0, hp1, hp2, hp3, memory, op, jobs, job, experts, buffer);
    compute_job<C>(s, buffer, op, jobs, job);
  }
}

/// DRAM words that the jobs of an operation read.
template <class C>
uint32_t job_words(const Op& op, const Jobs& jobs) {
  if (jobs.kind == kAttentionJob) return 0;
  if (jobs.kind == kExpertJob || jobs.kind == kSliceJob) return jobs.count * dram_words<C>(expert_words<C>(op));
  return dram_words<C>(uint32_t(jobs.tiles) * tile_words<C>(op.in_features));
}

}  // namespace m3vit

#endif
