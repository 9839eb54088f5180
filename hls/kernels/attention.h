// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Softmax between the two products of attention, in one pass over the scores: their largest was tracked while they
/// were formed, and the sum of the probabilities forms beside them.
/// Golden: sim/golden/attention.py probabilities, reciprocal; in RTL: m3vit_attention.sv.
#ifndef M3VIT_ATTENTION_H_
#define M3VIT_ATTENTION_H_

#include "arith.h"
#include "state.h"

namespace m3vit {

/// Scores of a block of queries become probabilities, and each row's factor of the weighted values.
/// \param rows        queries in the block
/// \param tokens      keys
/// \param multiplier  of the output's scale
/// \param shift       of the output's scale
template <class C>
void softmax(State<C>& s, const int rows, const int tokens, const uint16_t multiplier, const int shift) {
rows:
  for (int row = 0; row < rows; ++row) {
    uint32_t total = 0;
  tokens:
    for (int unit = 0; unit < ceil_div(tokens, kUnitBytes); ++unit) {
#pragma HLS PIPELINE II = 1
      for (int b = 0; b < kUnitBytes; ++b) {
        const int token = unit * kUnitBytes + b;
        const bool exists = token < tokens;
        const uint8_t p = exists ? probability(ap_int<17>(s.score[row][token]) - s.largest[row]) : uint8_t(0);
        total += p;
        s.probability[row][unit].byte[b] = int8_t(int(p) - (1 << (kProbabilityBits - 1)));
      }
    }
    const Factor inverse = reciprocal(total);
    s.output_factor[row] = fold_multiplier(inverse.mantissa, multiplier);
    s.output_shift[row] = uint8_t(shift + inverse.exponent - kMultiplierBits);
  }
}

}  // namespace m3vit

#endif
