// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// LayerNorm of the residual stream without gain and bias, which the exporter folds into the layers behind it.
/// Golden: sim/golden/norm.py layer_norm; in RTL: m3vit_layer_norm.sv.
#ifndef M3VIT_LAYER_NORM_H_
#define M3VIT_LAYER_NORM_H_

#include "arith.h"
#include "state.h"

namespace m3vit {

/// x = layer_norm(residual) for all rows. Sums are exact: c = D x - sum, V = D sum(x^2) - sum^2, c / sqrt(V).
/// \param dim         D, a multiple of 32
/// \param multiplier  of the output's scale
/// \param shift       of the output's scale, 1..31; s.coarse adds 0..3 for each channel
template <class C>
void layer_norm(State<C>& s, const int rows, const int dim, const uint16_t multiplier, const int shift) {
rows:
  for (int row = 0; row < rows; ++row) {
    int32_t sum = 0;
    uint64_t squares = 0;
  moments:
    for (int unit = 0; unit < dim / kUnitBytes; ++unit) {
#pragma HLS PIPELINE II = 1
      for (int b = 0; b < kUnitBytes; ++b) {
        const int32_t value = s.residual[row][unit * kUnitBytes + b];
        sum += value;
        squares += uint32_t(value * value);
      }
    }
    const uint64_t variance = dim * squares - uint64_t(int64_t(sum) * sum);
    const Factor inverse = rsqrt(ap_uint<56>(variance));
    const ap_uint<17> factor = fold_multiplier(inverse.mantissa, multiplier);
    const int row_shift = shift + inverse.exponent + kRsqrtFractionBits - kMultiplierBits;
  scale:
    for (int unit = 0; unit < dim / kUnitBytes; ++unit) {
#pragma HLS PIPELINE II = 1
      for (int b = 0; b < kUnitBytes; ++b) {
        const int channel = unit * kUnitBytes + b;
        const ap_int<32> centred = dim * s.residual[row][channel] - sum;
        const ap_int<49> scaled = centred * factor;
        const int total = row_shift + s.coarse[channel];
        s.x[row][unit].byte[b] = saturate<8>(round_half_up_shift<63>(scaled, total)).to_int();
      }
    }
  }
}

}  // namespace m3vit

#endif
