// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The operators of hls/kernels one by one, for tests/hls/test_operators.py. Arrays of n elements.

#include <array>

#include "attention.h"
#include "io.h"
#include "layer_norm.h"
#include "m3vit_config.h"
#include "memory.h"
#include "program.h"
#include "queue_builder.h"

using namespace m3vit;

namespace {

State<Config> state;

/// DRAM words of a memory, as four ports would deliver them.
hls::stream<DramWord>& read(const int8_t* memory, const uint64_t address, const uint32_t words) {
  static hls::stream<DramWord> out("out");
  const auto* beats = reinterpret_cast<const beat_t*>(memory);
  read_words(beats, beats, beats, beats, address, words, out);
  return out;
}

}  // namespace

extern "C" {

void unit_round_half_up_shift(const int64_t* x, const uint8_t* shift, int64_t* y, const int n) {
  for (int i = 0; i < n; ++i) y[i] = round_half_up_shift<kMaxShift>(ap_int<44>(x[i]), shift[i]).to_int64();
}

void unit_saturate(const int64_t* x, int64_t* y8, int64_t* y16, const int n) {
  for (int i = 0; i < n; ++i) {
    y8[i] = saturate<8>(ap_int<44>(x[i])).to_int64();
    y16[i] = saturate<16>(ap_int<44>(x[i])).to_int64();
  }
}

void unit_requantise(const int64_t* acc, const uint16_t* multiplier, const uint8_t* shift, int64_t* y8, int64_t* y10,
                     int64_t* y16, const int n) {
  for (int i = 0; i < n; ++i) {
    y8[i] = requantise<8>(acc_t(acc[i]), multiplier[i], shift[i]).to_int64();
    y10[i] = requantise<10>(acc_t(acc[i]), multiplier[i], shift[i]).to_int64();
    y16[i] = requantise<16>(acc_t(acc[i]), multiplier[i], shift[i]).to_int64();
  }
}

void unit_rsqrt(const int64_t* x, int64_t* mantissa, int64_t* exponent, const int n) {
  for (int i = 0; i < n; ++i) {
    const Factor factor = rsqrt(ap_uint<56>(x[i]));
    mantissa[i] = factor.mantissa;
    exponent[i] = factor.exponent;
  }
}

void unit_reciprocal(const int64_t* x, int64_t* mantissa, int64_t* exponent, const int n) {
  for (int i = 0; i < n; ++i) {
    const Factor factor = reciprocal(ap_uint<24>(x[i]));
    mantissa[i] = factor.mantissa;
    exponent[i] = factor.exponent;
  }
}

void unit_fold_multiplier(const uint16_t* mantissa, const uint16_t* multiplier, int64_t* y, const int n) {
  for (int i = 0; i < n; ++i) y[i] = fold_multiplier(mantissa[i], multiplier[i]);
}

void unit_exp2_fixed(const int16_t* x, int64_t* y, const int n) {
  for (int i = 0; i < n; ++i) y[i] = exp2_fixed(x[i]).to_int64();
}

void unit_probability(const int64_t* below, int64_t* y, const int n) {
  for (int i = 0; i < n; ++i) y[i] = probability(ap_int<17>(below[i]));
}

/// rows x dim values of the residual stream to int8.
void unit_layer_norm(const int16_t* residual, const uint8_t* coarse, const int rows, const int dim,
                     const int multiplier, const int shift, int8_t* y) {
  for (int d = 0; d < dim; ++d) state.coarse[d] = coarse[d];
  for (int i = 0; i < rows * dim; ++i) state.residual[i / dim][i % dim] = residual[i];
  layer_norm<Config>(state, rows, dim, uint16_t(multiplier), shift);
  for (int i = 0; i < rows * dim; ++i) y[i] = state.x[i / dim][i % dim / kUnitBytes].byte[i % kUnitBytes];
}

/// rows x tokens scores to probabilities, 0..255.
void unit_softmax(const int16_t* score, const int rows, const int tokens, int64_t* y) {
  for (int row = 0; row < rows; ++row) {
    state.largest[row] = -32768;
    for (int t = 0; t < tokens; ++t) {
      const int16_t value = score[row * tokens + t];
      state.score[row][t] = value;
      if (value > state.largest[row]) state.largest[row] = value;
    }
  }
  softmax<Config>(state, rows, tokens, 1 << 15, 16);
  for (int row = 0; row < rows; ++row)
    for (int t = 0; t < tokens; ++t)
      y[row * tokens + t] = state.probability[row][t / kUnitBytes].byte[t % kUnitBytes] + 128;
}

/// Routes rows x experts logits: experts and gates of each token, then the queues, flat and in order.
int unit_route(const int16_t* logit, const int rows, const int experts, const int k, const int renormalise,
               int64_t* chosen, int64_t* gate, int64_t* used, int64_t* first, int64_t* token, int64_t* queue_gate) {
  for (int tile = 0; tile < experts; tile += Config::lanes) {
    for (int row = 0; row < rows; ++row)
      for (int l = 0; l < Config::lanes && tile + l < experts; ++l)
        state.logit[row][l] = logit[row * experts + tile + l];
    top_k<Config>(state, rows, tile, experts);
  }
  gates<Config>(state, rows, k, renormalise != 0);
  uint16_t list[Sizes<Config>::routes];
  const int count = build_queues<Config>(state, rows, k, list);
  for (int i = 0; i < rows * k; ++i) {
    chosen[i] = state.best_expert[i / k][i % k];
    gate[i] = state.gate[i / k][i % k];
    token[i] = state.queue_token[i];
    queue_gate[i] = state.queue_gate[i];
  }
  for (int i = 0; i < count; ++i) used[i] = list[i];
  for (int i = 0; i <= count; ++i) first[i] = state.queue_first[i];
  return count;
}

/// Words of the weight stream that begin at an address.
void unit_stream(const int8_t* memory, const uint64_t address, const uint32_t words, int8_t* y) {
  hls::stream<Word<Config>> out("words");
  gearbox<Config>(read(memory, address, dram_words<Config>(words)), words, out);
  for (uint32_t i = 0; i < words; ++i) {
    const Word<Config> word = out.read();
    for (int b = 0; b < Config::inputs; ++b) y[i * Config::inputs + b] = word.byte[b];
  }
}

/// Pixels that begin at an address.
void unit_pixels(const int8_t* memory, const uint64_t address, const uint32_t pixels, uint8_t* y) {
  hls::stream<Pixel> out("pixels");
  words_to_pixels(read(memory, address, words_of(3 * uint64_t(pixels))), pixels, out);
  for (uint32_t i = 0; i < 3 * pixels; i += 3) {
    const Pixel pixel = out.read();
    for (int c = 0; c < 3; ++c) y[i + c] = pixel.colour[c];
  }
}

/// Verdict on a program of `count` operations, and where it stands.
uint32_t unit_read_program(const int8_t* program, const int count, const uint32_t memory_bytes) {
  Op ops[kMaxOps];
  return uint32_t(read_program<Config>(read(program, 0, count), count, memory_bytes, ops));
}
}
