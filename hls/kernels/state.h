// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// On-chip memory of the engine. It grows with tokens, channels and tokens x top-k, never with the number of experts.
#ifndef M3VIT_STATE_H_
#define M3VIT_STATE_H_

#include "types.h"

namespace m3vit {

/// All buffers. Rows of units of 32 channels: `groups` neighbours are one word of the linear engine.
template <class C>
struct State {
  int16_t residual[C::max_tokens][C::max_dim];         ///< the residual stream; behind a HEAD its output
  Unit x[C::max_tokens][Sizes<C>::dim_units];          ///< int8 activations
  Unit hidden[C::max_tokens][Sizes<C>::hidden_units];  ///< hidden activations of an expert; queries of attention
  Unit keys[C::max_tokens][Sizes<C>::key_units];       ///< keys, then values; patches before the first norm
  acc_t acc[C::max_tokens][C::lanes];                  ///< sums of one tile

  int16_t score[C::max_block][Sizes<C>::token_units * kUnitBytes];  ///< one head, one block of queries
  Unit probability[C::max_block][Sizes<C>::token_units];            ///< 0..255 minus 128
  int16_t largest[C::max_block];
  uint16_t output_factor[C::max_block];
  uint8_t output_shift[C::max_block];

  int8_t gelu[C::lanes][1 << kGeluIndexBits];  ///< a copy for each lane
  uint8_t coarse[C::max_dim];

  int16_t logit[C::max_tokens][C::lanes];  ///< of one tile of experts
  int16_t best_logit[C::max_tokens][C::max_top_k];
  uint16_t best_expert[C::max_tokens][C::max_top_k];
  ap_uint<58> exponentials[C::max_tokens];  ///< sum over all experts
  gate_t gate[C::max_tokens][C::max_top_k];

  uint16_t queue_token[Sizes<C>::routes];
  gate_t queue_gate[Sizes<C>::routes];
  uint16_t queue_first[Sizes<C>::routes + 1];  ///< first entry of the queue of the i-th used expert
};

/// How the buffers are cut into memories, so that a word of the linear engine is one access. For the function that holds
/// the state.
template <class C>
void lay_out(State<C>& s) {
#pragma HLS INLINE
  [[maybe_unused]] constexpr int kGroups = Sizes<C>::groups, kChannels = kUnitBytes;
#pragma HLS ARRAY_PARTITION variable = s.residual cyclic factor = kChannels dim = 2
#pragma HLS ARRAY_PARTITION variable = s.x cyclic factor = kGroups dim = 2
#pragma HLS ARRAY_PARTITION variable = s.hidden cyclic factor = kGroups dim = 2
#pragma HLS ARRAY_PARTITION variable = s.keys cyclic factor = kGroups dim = 2
#pragma HLS ARRAY_PARTITION variable = s.probability cyclic factor = kGroups dim = 2
#pragma HLS ARRAY_PARTITION variable = s.acc complete dim = 2
#pragma HLS ARRAY_PARTITION variable = s.score cyclic factor = kChannels dim = 2
#pragma HLS ARRAY_PARTITION variable = s.gelu complete dim = 1
#pragma HLS ARRAY_PARTITION variable = s.coarse cyclic factor = kChannels
#pragma HLS ARRAY_PARTITION variable = s.logit complete dim = 2
#pragma HLS ARRAY_PARTITION variable = s.best_logit complete dim = 2
#pragma HLS ARRAY_PARTITION variable = s.best_expert complete dim = 2
#pragma HLS ARRAY_PARTITION variable = s.gate complete dim = 2
  static_cast<void>(s);
}

}  // namespace m3vit

#endif
