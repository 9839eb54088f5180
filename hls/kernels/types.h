// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Types and derived sizes that all kernels share. The template parameter C is always a hardware config like
/// m3vit_config.h (generated from model/config.py).
#ifndef M3VIT_TYPES_H_
#define M3VIT_TYPES_H_

#include <cstdint>

#include "ap_int.h"
#include "hls_stream.h"
#include "m3vit_contract.h"
#include "m3vit_regs.h"

namespace m3vit {

using beat_t = ap_uint<8 * kPortBytes>;  ///< one beat of an AXI port
using acc_t = ap_int<kAccBits>;          ///< linear accumulator
using gate_t = uint16_t;                 ///< Q1.15 gate, at most 32768

/// Bytes that travel together: a word of DRAM, of the weight stream, or a unit of 32 channels.
template <int N>
struct Bytes {
  int8_t byte[N];
};

using Unit = Bytes<kUnitBytes>;
using DramWord = Bytes<kWordBytes>;

/// A word of the weight stream.
template <class C>
using Word = Bytes<C::inputs>;

/// Eight values of the residual stream: one beat.
struct Values {
  int16_t value[kPortBytes / 2];
};

struct Pixel {
  uint8_t colour[3];
};

constexpr int ceil_div(int value, int unit) { return (value + unit - 1) / unit; }
constexpr int larger(int a, int b) { return a > b ? a : b; }

/// Sizes that follow from a hardware config.
template <class C>
struct Sizes {
  static constexpr int groups = C::inputs / kUnitBytes;
  static constexpr int dim_units = ceil_div(C::max_dim, C::inputs) * groups;
  static constexpr int hidden_units = ceil_div(C::max_hidden, C::inputs) * groups;
  static constexpr int key_units = ceil_div(2 * C::max_dim, C::inputs) * groups;  ///< keys and values, or a patch
  static constexpr int token_units = ceil_div(C::max_tokens, C::inputs) * groups;
  static constexpr int record_words = ceil_div(C::lanes * kRecordBytes, C::inputs);
  static constexpr int routes = C::max_tokens * C::max_top_k;
};

/// Requantisation of one output channel (sim/layout.py CHANNEL).
struct Channel {
  acc_t bias;
  uint16_t multiplier;
  uint8_t shift;
};

/// What the operation counters of the register map hold and a C++ kernel can know.
struct Counters {
  uint32_t read_words, write_words, experts;
};

}  // namespace m3vit

#endif
