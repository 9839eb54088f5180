// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Router of a MoE layer behind its linear layer: exact top-k over tiles of logits, softmax over all experts, gates.
/// Golden: sim/golden/moe.py top_k, gates; in RTL: m3vit_router_lane.sv.
#ifndef M3VIT_ROUTER_H_
#define M3VIT_ROUTER_H_

#include "arith.h"
#include "state.h"

namespace m3vit {

/// No expert yet: every logit is better, and a place of the list is empty.
constexpr uint16_t kNoExpert = 0xFFFF;

/// Puts a logit into the sorted list of the best. It goes behind its equals: experts come in ascending order, so ties
/// go to the lower one. Every entry of the list is written on every path.
template <int K>
void insert(int16_t logit[K], uint16_t expert[K], const int16_t new_logit, const uint16_t new_expert) {
#pragma HLS INLINE
  for (int k = K - 1; k >= 0; --k) {
#pragma HLS UNROLL
    const bool beats = expert[k] == kNoExpert || new_logit > logit[k];
    const bool beats_above = k > 0 && (expert[k > 0 ? k - 1 : 0] == kNoExpert || new_logit > logit[k > 0 ? k - 1 : 0]);
    if (beats) {
      logit[k] = beats_above ? logit[k - 1] : new_logit;
      expert[k] = beats_above ? expert[k - 1] : new_expert;
    }
  }
}

/// Takes the logits of one tile of experts into every token's list and sum.
/// \param first    first expert of the tile; 0 begins a layer
/// \param experts  of the layer
template <class C>
void top_k(State<C>& s, const int rows, const int first, const int experts) {
lanes:
  for (int l = 0; l < C::lanes; ++l) {
  rows:
    for (int row = 0; row < rows; ++row) {
#pragma HLS PIPELINE II = 1
      if (first == 0 && l == 0) {
        for (int k = 0; k < C::max_top_k; ++k) s.best_expert[row][k] = kNoExpert;
        s.exponentials[row] = 0;
      }
      if (first + l < experts) {
        insert<C::max_top_k>(s.best_logit[row], s.best_expert[row], s.logit[row][l], uint16_t(first + l));
        s.exponentials[row] += exp2_fixed(s.logit[row][l]);
      }
    }
  }
}

/// Gates of the chosen experts in Q1.15, rounded down.
/// \param k            chosen experts of a token
/// \param renormalise  divide by the sum over the chosen experts instead of all
template <class C>
void gates(State<C>& s, const int rows, const int k, const bool renormalise) {
rows:
  for (int row = 0; row < rows; ++row) {
    ap_uint<58> chosen = 0;
    for (int i = 0; i < k; ++i) chosen += exp2_fixed(s.best_logit[row][i]);
    const ap_uint<58> total = renormalise ? chosen : s.exponentials[row];
  gates:
    for (int i = 0; i < k; ++i) {
#pragma HLS PIPELINE
      const uint64_t share = uint64_t(exp2_fixed(s.best_logit[row][i])) << kGateFractionBits;
      s.gate[row][i] = gate_t(share / uint64_t(total));
    }
  }
}

}  // namespace m3vit

#endif
