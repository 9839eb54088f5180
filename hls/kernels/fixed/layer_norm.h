// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// LayerNorm over the channels of every token (Ba et al., arXiv 1607.06450, equation 4).
#ifndef M3VIT_FIXED_LAYER_NORM_H_
#define M3VIT_FIXED_LAYER_NORM_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// Bits of the square root of a variance; its relative error is below 2^(1 - kRootBits).
constexpr int kRootBits = 24;
/// Fraction bits of a standard score before gain and bias.
constexpr int kScoreBits = 20;

/// Square root, rounded down, bit by bit: exact, no table, no range to leave.
inline ap_uint<kRootBits> square_root(const ap_uint<2 * kRootBits>& x) {
  ap_uint<kRootBits> root = 0;
  // Invariant: root has its final bits above `bit` and zeros below; root^2 <= x.
root_bits:
  for (int bit = kRootBits - 1; bit >= 0; --bit) {
#pragma HLS PIPELINE II = 1
    ap_uint<kRootBits> trial = root;
    trial[bit] = 1;
    if (ap_uint<2 * kRootBits>(trial * trial) <= x) root = trial;
  }
  return root;
}

/// 1 / sqrt(variance) = mantissa / 2^exponent.
struct inverse_deviation {
  ap_uint<kRootBits + 2> mantissa;
  int exponent;
};

/// \tparam W width of the variance, an integer; 0 gives 0
template <int W>
inverse_deviation invert_deviation(const ap_uint<W>& variance) {
  constexpr int wide = W > 2 * kRootBits ? W : 2 * kRootBits;
  if (variance == 0) return {0, 0};
  const int excess = bit_length(variance) - 2 * kRootBits;
  const int half = excess >= 0 ? (excess + 1) / 2 : -(-excess / 2);  // an even shift brings the leading one to the top
  const ap_uint<wide> x = variance;
  const ap_uint<2 * kRootBits> scaled = half >= 0 ? ap_uint<wide>(x >> (2 * half)) : ap_uint<wide>(x << (-2 * half));
  const ap_uint<kRootBits> root = square_root(scaled);
  const ap_uint<2 * kRootBits + 1> one = ap_uint<2 * kRootBits + 1>(1) << (2 * kRootBits);
  return {ap_uint<kRootBits + 2>(one / root), 2 * kRootBits + half};
}

/// y = (x - mean) / sqrt(variance + epsilon) * gain + bias, the variance being that of the token (divided by D).
///
/// Sums are exact integers: with D channels, c = D x - sum(x) and V = D sum(x^2) - sum(x)^2 = D^2 variance, so
/// (x - mean) / deviation = c / sqrt(V). A variance of any size is served: it is shifted to 48 bits before the root.
///
/// \tparam In pack of C::channels elements: one token
/// \tparam Out pack of as many
/// \tparam C rows, channels, epsilon (round(eps * D^2 * 4^F) of an input with F fraction bits, uint64)
template <class In, class Out, class C>
void layer_norm(hls::stream<In>& input, hls::stream<Out>& output, const typename C::scale_t gain[C::channels],
                const typename C::bias_t bias[C::channels]) {
  static_assert(In::size == C::channels && Out::size == C::channels, "a pack is one token");
  constexpr int growth = ceil_log2(C::channels);
  constexpr int width = In::value_type::width + 1;
  constexpr int centred = width + growth + 1;
  constexpr int score = centred + kRootBits + 3;
  constexpr int variance_bits = (2 * (width + growth) > 64 ? 2 * (width + growth) : 64) + 1;
  constexpr int score_range = kScoreBits + growth / 2 + 3;  // |score| < sqrt(D)
tokens:
  for (unsigned row = 0; row < C::rows; ++row) {
    const In x = input.read();
    ap_int<width + growth> sum = 0;
    ap_uint<2 * width + growth> squares = 0;
    // Invariant: sum and squares are those of the channels before this one.
  moments:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS PIPELINE II = 1
      const ap_int<width> value = raw(x[channel]);
      sum += value;
      squares += ap_uint<2 * width>(value * value);
    }
    const ap_uint<variance_bits> variance = ap_uint<variance_bits>(C::channels) * squares
                                            - ap_uint<variance_bits>(sum * sum) + ap_uint<variance_bits>(C::epsilon);
    const inverse_deviation inverse = invert_deviation(variance);
    Out y;
    // Invariant: the channels of y before this one are final.
  normalise:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS PIPELINE II = 1
      const ap_int<centred> c = ap_int<centred>(C::channels * ap_int<centred>(raw(x[channel]))) - sum;
      ap_int<score> z = c * ap_int<kRootBits + 3>(inverse.mantissa);
      const int shift = inverse.exponent - kScoreBits;
      z = shift >= 0 ? ap_int<score>(round_half_up_shift<score>(z, shift)) : ap_int<score>(z << -shift);
      y[channel] = value_of<kScoreBits>(ap_int<score_range>(z)) * gain[channel] + bias[channel];
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
