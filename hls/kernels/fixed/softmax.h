// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Softmax over the channels of every token.
#ifndef M3VIT_FIXED_SOFTMAX_H_
#define M3VIT_FIXED_SOFTMAX_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// Fraction bits of an exponential.
constexpr int kExpBits = 24;
/// The table holds 2^-f at 2^kExpIndexBits + 1 equidistant points of [0, 1].
constexpr int kExpIndexBits = 8;
/// Bits of f below the index, used to interpolate.
constexpr int kExpRestBits = 12;
/// log2(e) in units of 2^-30.
constexpr int kLog2EBits = 30;
constexpr unsigned kLog2E = 1549082005;
/// Fraction bits of a probability before it is rounded to the output's type.
constexpr int kShareBits = 28;

/// 2^-distance in units of 2^-kExpBits, 0..2^kExpBits; the error is below 2^-19 of the value and one unit.
/// \tparam F fraction bits of the distance
/// \tparam W width of the distance
/// \tparam T element of the table
template <int F, int W, class T>
ap_uint<kExpBits + 1> exp2_negative(const ap_uint<W>& distance, const T table[]) {
#pragma HLS INLINE
  constexpr int bits = F + kLog2EBits;
  static_assert(bits >= kExpIndexBits + kExpRestBits, "inputs have at least -10 fraction bits");
  const ap_uint<W + kLog2EBits + 1> octaves = distance * ap_uint<kLog2EBits + 1>(kLog2E);
  const ap_uint<W + kLog2EBits + 1> whole = octaves >> bits;
  const ap_uint<kExpIndexBits> index = octaves >> (bits - kExpIndexBits);
  const ap_uint<kExpRestBits> rest = octaves >> (bits - kExpIndexBits - kExpRestBits);
  const ap_uint<kExpBits + 1> upper = raw(table[index]), lower = raw(table[index + 1]);
  const ap_uint<kExpBits + 1> mantissa = upper - ap_uint<kExpBits + 1>(((upper - lower) * rest) >> kExpRestBits);
  return whole > kExpBits ? ap_uint<kExpBits + 1>(0) : ap_uint<kExpBits + 1>(mantissa >> int(whole));
}

/// y_c = exp(x_c) / sum of exp(x_d) over the channels d of the same token.
///
/// The largest channel is subtracted first, so no exponential can overflow, and one reciprocal serves a token.
///
/// \tparam In pack of C::channels elements: one token
/// \tparam Out pack of as many
/// \tparam C rows, channels, table_t (ap_ufixed with kExpBits fraction bits)
/// \param table 2^-(i / 2^kExpIndexBits) for i in 0..2^kExpIndexBits
template <class In, class Out, class C>
void softmax(hls::stream<In>& input, hls::stream<Out>& output,
             const typename C::table_t table[(1 << kExpIndexBits) + 1]) {
  static_assert(In::size == C::channels && Out::size == C::channels, "a pack is one token");
  static_assert(fraction<typename C::table_t>::bits == kExpBits, "the table has other units");
  constexpr int width = In::value_type::width + 1;
  constexpr int total_bits = kExpBits + 1 + ceil_log2(C::channels);
tokens:
  for (unsigned row = 0; row < C::rows; ++row) {
    const In x = input.read();
    ap_int<width> largest = raw(x[0]);
    // Invariant: largest is that of the channels before this one.
  maximum:
    for (unsigned channel = 1; channel < C::channels; ++channel) {
#pragma HLS PIPELINE II = 1
      const ap_int<width> value = raw(x[channel]);
      largest = value > largest ? value : largest;
    }
    ap_uint<kExpBits + 1> exponential[C::channels];
    ap_uint<total_bits> total = 0;
    // Invariant: total is the sum of the exponentials before this one.
  exponentials:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS PIPELINE II = 1
      const ap_uint<width> distance = largest - raw(x[channel]);
      exponential[channel] = exp2_negative<fraction<typename In::value_type>::bits>(distance, table);
      total += exponential[channel];
    }
    // total has n bits, n > kExpBits: its reciprocal is inverse / 2^(n + kExpBits).
    const int bits = bit_length(total);
    const ap_uint<total_bits + kExpBits + 1> one = ap_uint<total_bits + kExpBits + 1>(1) << (bits + kExpBits);
    const ap_int<kExpBits + 3> inverse = one / total;
    Out y;
    // Invariant: the channels of y before this one are final.
  divide:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS PIPELINE II = 1
      const ap_int<2 * kExpBits + 6> product = ap_int<kExpBits + 2>(exponential[channel]) * inverse;
      const ap_int<2 * kExpBits + 6> share =
          round_half_up_shift<2 * kExpBits + 6>(product, bits + kExpBits - kShareBits);
      y[channel] = value_of<kShareBits>(ap_int<kShareBits + 3>(share));
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
