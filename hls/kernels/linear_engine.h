// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The linear engine: lanes x inputs int8 multipliers that serve every product of the network. One command multiplies
/// rows with tiles of `lanes` output channels. Golden: sim/golden/linear.py, attention.py (scores, weighted_values),
/// embed.py (linear_residual), moe.py (combine); in RTL: m3vit_linear_engine.sv and m3vit_datapath.sv.
#ifndef M3VIT_LINEAR_ENGINE_H_
#define M3VIT_LINEAR_ENGINE_H_

#include "arith.h"
#include "state.h"

namespace m3vit {

/// Where the rows come from.
enum Source { kFromX, kFromQueue, kFromHidden, kFromPatches, kFromQueries, kFromProbabilities };

/// Where the weights come from: the weight buffer, keys of one head (a lane is a token), or values (an input is one).
enum Weights { kBuffered, kKeys, kValues };

/// What becomes of the sums.
enum Dest { kToQkv, kToResidual, kToHidden, kToCombine, kToLogits, kToOutput, kToScores, kToX };

/// One pass of rows over tiles. Attention has `tokens` keys, and its head is `head_units` units from `head_unit` on.
struct Command {
  Source source;
  Weights weights;
  Dest dest;
  uint16_t rows;
  uint16_t first_row;   ///< of the source; kFromQueue: of the queue
  uint16_t first_dest;  ///< row of the destination for row 0
  uint16_t chunks;      ///< words of a row
  uint16_t tiles;
  uint16_t first_tile;
  uint32_t weight_word;  ///< of the weight buffer
  bool nibbles;          ///< 4-bit weights, two lanes in a word of the weight buffer
  uint16_t dim;          ///< channels of the residual stream
  uint16_t tokens, head_unit, head_units;
  uint8_t score_shift;
};

/// Fewer rows are padded with idle steps, so a sum has been written before it is read again.
constexpr int kAccLatency = 8;

/// Weights and channels of two tiles: one at work, one arriving.
template <class C>
struct WeightRegisters {
  Word<C> weight[2][C::lanes];
  Channel channel[2][C::lanes];
  acc_t value_sum[2][C::lanes];  ///< kValues: 128 times the sum over all tokens makes up for probabilities minus 128
};

/// A word of a row: `units` units from `unit` on, zeros beyond them.
template <class C>
Word<C> row_word(const Unit* row, const int unit, const int units) {
#pragma HLS INLINE
  Word<C> word;
  for (int g = 0; g < Sizes<C>::groups; ++g) {
#pragma HLS UNROLL
    for (int b = 0; b < kUnitBytes; ++b) word.byte[g * kUnitBytes + b] = g < units ? row[unit + g].byte[b] : int8_t(0);
  }
  return word;
}

template <class C>
Word<C> read_row(const State<C>& s, const Command& cmd, const int row, const int chunk) {
#pragma HLS INLINE
  constexpr int kGroups = Sizes<C>::groups;
  const int unit = chunk * kGroups;
  switch (cmd.source) {
    case kFromQueue: return row_word<C>(s.x[s.queue_token[cmd.first_row + row]], unit, kGroups);
    case kFromHidden: return row_word<C>(s.hidden[row], unit, kGroups);
    case kFromPatches: return row_word<C>(s.keys[row], unit, kGroups);
    case kFromQueries: return row_word<C>(s.hidden[cmd.first_row + row], cmd.head_unit, cmd.head_units);
    case kFromProbabilities: return row_word<C>(s.probability[row], unit, kGroups);
    default: return row_word<C>(s.x[cmd.first_row + row], unit, kGroups);
  }
}

/// Channel records that lie in word `index` of a tile (sim/layout.py CHANNEL).
template <class C>
void take_records(const Word<C>& word, const int index, Channel channel[C::lanes]) {
#pragma HLS INLINE
  constexpr int kRecords = C::inputs / kRecordBytes;
  for (int r = 0; r < kRecords; ++r) {
#pragma HLS UNROLL
    const int8_t* byte = word.byte + r * kRecordBytes;
    uint32_t bias = 0;
    for (int b = 0; b < 4; ++b) bias |= uint32_t(uint8_t(byte[b])) << (8 * b);
    const int lane = index * kRecords + r;
    if (lane < C::lanes)
      channel[lane] = {acc_t(int32_t(bias)), uint16_t(uint8_t(byte[4]) | uint8_t(byte[5]) << 8), uint8_t(byte[6])};
  }
}

/// Weights of an even or odd lane from a word of 4-bit weights (sim/layout.py).
template <class C>
Word<C> nibbles_of(const Word<C>& pair, const bool odd) {
#pragma HLS INLINE
  Word<C> word;
  for (int b = 0; b < C::inputs; ++b) {
#pragma HLS UNROLL
    const int nibble = (uint8_t(pair.byte[b]) >> (odd ? 4 : 0)) & 0xF;
    word.byte[b] = int8_t(nibble < 8 ? nibble : nibble - 16);
  }
  return word;
}

/// One step of loading the weights of a pass into the registers `side` (weights) and `tile_side` (channels).
template <class C>
void load_step(const State<C>& s, const Word<C> buffer[C::stream_words], const Command& cmd, const int tile,
               const int chunk, const int step, uint32_t& address, WeightRegisters<C>& r, const int side,
               const int tile_side) {
#pragma HLS INLINE
  if (cmd.weights == kBuffered) {
    const int records = chunk == 0 ? Sizes<C>::record_words : 0;
    if (step >= records + C::lanes) return;
    const Word<C> word = buffer[address];
    const int lane = step - records;
    if (step < records) take_records<C>(word, step, r.channel[tile_side]);
    else r.weight[side][lane] = cmd.nibbles ? nibbles_of<C>(word, lane % 2 == 1) : word;
    if (step < records || !cmd.nibbles || lane % 2 == 1) ++address;
  } else if (cmd.weights == kKeys) {
    if (step >= C::lanes) return;
    const int token = tile * C::lanes + step;
    r.weight[side][step] = token < cmd.tokens ? row_word<C>(s.keys[token], cmd.head_unit, cmd.head_units) : Word<C>{};
  } else if (step < C::inputs) {
    const int token = chunk * C::inputs + step, channel = tile * C::lanes;
    const int values = cmd.dim / kUnitBytes + cmd.head_unit;  // first unit of the head's values
    const Unit unit = s.keys[token < cmd.tokens ? token : 0][values + channel / kUnitBytes];
    for (int l = 0; l < C::lanes; ++l) {
#pragma HLS UNROLL
      const int8_t value = token < cmd.tokens ? unit.byte[channel % kUnitBytes + l] : int8_t(0);
      r.weight[side][l].byte[step] = value;
      r.value_sum[tile_side][l] = value + (chunk == 0 && step == 0 ? acc_t(0) : r.value_sum[tile_side][l]);
    }
  }
}

/// Sums of a row leave the engine: requantised, and put where the command says. `channel` is the first of the tile.
template <class C>
void emit(State<C>& s, const Command& cmd, const int row, const int channel, const acc_t sum[C::lanes],
          const Channel record[C::lanes], const acc_t value_sum[C::lanes]) {
#pragma HLS INLINE
  const int to = cmd.first_dest + row, unit = channel / kUnitBytes, place = channel % kUnitBytes;
  const bool queued = cmd.dest == kToCombine;
  const int token = queued ? int(s.queue_token[cmd.first_row + row]) : to;
  const gate_t gate = queued ? s.queue_gate[cmd.first_row + row] : gate_t(0);
  int16_t largest = channel == 0 ? int16_t(-32768) : s.largest[cmd.dest == kToScores ? row : 0];
  for (int l = 0; l < C::lanes; ++l) {
#pragma HLS UNROLL
    const uint16_t multiplier = record[l].multiplier;
    const uint8_t shift = record[l].shift;
    switch (cmd.dest) {
      case kToQkv: {
        const int8_t value = requantise<8>(sum[l], multiplier, shift).to_int();
        if (channel < cmd.dim) s.hidden[to][unit].byte[place + l] = value;
        else s.keys[to][(channel - cmd.dim) / kUnitBytes].byte[place + l] = value;
        break;
      }
      case kToHidden: {
        const int index = requantise<kGeluIndexBits>(sum[l], multiplier, shift).to_int() + (1 << (kGeluIndexBits - 1));
        s.hidden[row][unit].byte[place + l] = s.gelu[l][index];
        break;
      }
      case kToLogits: s.logit[row][l] = requantise<16>(sum[l], multiplier, shift).to_int(); break;
      case kToOutput: s.residual[row][channel + l] = requantise<16>(sum[l], multiplier, shift).to_int(); break;
      case kToResidual:
      case kToCombine: {
        const int16_t value = requantise<16>(sum[l], multiplier, shift).to_int();
        const ap_int<33> gated = ap_int<33>(value) * gate;
        const ap_int<34> part =
            queued ? round_half_up_shift<kGateFractionBits>(gated, kGateFractionBits) : ap_int<34>(value);
        s.residual[token][channel + l] = saturate<16>(ap_int<35>(part + s.residual[token][channel + l])).to_int();
        break;
      }
      case kToScores: {
        const int16_t value = saturate<16>(round_half_up_shift<kMaxScoreShift>(sum[l], cmd.score_shift)).to_int();
        s.score[row][channel + l] = value;
        if (channel + l < cmd.tokens && value > largest) largest = value;
        break;
      }
      default: {  // kToX: weighted values
        const acc_t product = sum[l] + (value_sum[l] << (kProbabilityBits - 1));
        const ap_int<kAccBits + 17> scaled = product * ap_uint<16>(s.output_factor[row]);
        const int to_channel = cmd.head_unit * kUnitBytes + channel;
        s.x[to][to_channel / kUnitBytes].byte[to_channel % kUnitBytes + l] =
            saturate<8>(round_half_up_shift<63>(scaled, s.output_shift[row])).to_int();
      }
    }
  }
  if (cmd.dest == kToScores) s.largest[row] = largest;
}

/// Runs one command.
///
/// A pass multiplies all rows with one chunk (inputs x lanes weights) while the next chunk's weights arrive, one word
/// per step. The loop over passes and steps is one flat loop; in its first pass weights only arrive, in its last they
/// only work. Invariant: in pass p the registers of side p % 2 fill and those of the other side multiply.
template <class C>
void linear_engine(State<C>& s, const Word<C> buffer[C::stream_words], const Command& cmd) {
#pragma HLS INLINE off
  WeightRegisters<C> r;
#pragma HLS ARRAY_PARTITION variable = r.weight complete dim = 0
#pragma HLS ARRAY_PARTITION variable = r.channel complete dim = 0
#pragma HLS ARRAY_PARTITION variable = r.value_sum complete dim = 0
  const int records = cmd.weights == kBuffered ? Sizes<C>::record_words : 0;
  const int arriving = cmd.weights == kValues ? C::inputs : C::lanes + records;
  const int steps = larger(larger(cmd.rows, kAccLatency), arriving);
  const int passes = cmd.tiles * cmd.chunks;
  uint32_t address = cmd.weight_word;
  int load_tile = 0, load_chunk = 0, tile = 0, chunk = 0, pass = 0, step = 0;
engine:
  for (int i = 0; i < (passes + 1) * steps; ++i) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = s.acc inter false
#pragma HLS DEPENDENCE variable = s.keys inter false
#pragma HLS DEPENDENCE variable = s.hidden inter false
#pragma HLS DEPENDENCE variable = s.x inter false
#pragma HLS DEPENDENCE variable = s.residual inter false
#pragma HLS DEPENDENCE variable = s.largest inter false
    if (pass < passes) load_step<C>(s, buffer, cmd, load_tile, load_chunk, step, address, r, pass % 2, load_tile % 2);
    if (pass > 0 && step < cmd.rows) {
      const Word<C> x = read_row<C>(s, cmd, step, chunk);
      const Channel* channel = r.channel[tile % 2];
      acc_t sum[C::lanes];
    lanes:
      for (int l = 0; l < C::lanes; ++l) {
#pragma HLS UNROLL
        const Word<C>& weight = r.weight[(pass + 1) % 2][l];
        int32_t dot = 0;
      inputs:
        for (int b = 0; b < C::inputs; ++b) dot += int32_t(x.byte[b]) * weight.byte[b];
        const acc_t before = chunk != 0 ? s.acc[step][l] : cmd.weights == kBuffered ? channel[l].bias : acc_t(0);
        sum[l] = before + dot;
        s.acc[step][l] = sum[l];
      }
      if (chunk == cmd.chunks - 1)
        emit<C>(s, cmd, step, (cmd.first_tile + tile) * C::lanes, sum, channel, r.value_sum[tile % 2]);
    }
    if (++step == steps) {
      step = 0;
      tile = load_tile;
      chunk = load_chunk;
      ++pass;
      if (++load_chunk == cmd.chunks) {
        load_chunk = 0;
        ++load_tile;
      }
    }
  }
}

}  // namespace m3vit

#endif
