// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// GELU of every element (Hendrycks and Gimpel, arXiv 1606.08415, section 2).
#ifndef M3VIT_FIXED_GELU_H_
#define M3VIT_FIXED_GELU_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// The table reaches to |x| = 8, where max(x, 0) - gelu(x) is below 2^-40.
constexpr int kGeluLimitBits = 3;
/// Table points per unit of x, as a power of two.
constexpr int kGeluStepBits = 7;
/// Bits of |x| below the index, used to interpolate.
constexpr int kGeluRestBits = 13;
/// Fraction bits of a table entry.
constexpr int kGeluBits = 24;

/// y = max(x, 0) - r(|x|) with the even function r(a) = max(a, 0) - gelu(a), which is 0 from 8 on.
///
/// r is interpolated linearly between table points 1/128 apart: the error is below 2^-16.
///
/// \tparam In pack of C::channels elements: one token
/// \tparam Out pack of as many
/// \tparam C rows, channels, table_t (ap_ufixed with kGeluBits fraction bits)
/// \param table r(i / 2^kGeluStepBits) for i in 0..8 * 2^kGeluStepBits
template <class In, class Out, class C>
void gelu(hls::stream<In>& input, hls::stream<Out>& output,
          const typename C::table_t table[(1 << (kGeluLimitBits + kGeluStepBits)) + 1]) {
  static_assert(In::size == C::channels && Out::size == C::channels, "a pack is one token");
  static_assert(fraction<typename C::table_t>::bits == kGeluBits, "the table has other units");
  constexpr int F = fraction<typename In::value_type>::bits;
  constexpr int width = In::value_type::width + 1;
  constexpr int position_bits = kGeluStepBits + kGeluRestBits;
  static_assert(F >= 0 && F <= position_bits, "inputs have 0 to 20 fraction bits");
tokens:
  for (unsigned row = 0; row < C::rows; ++row) {
    const In x = input.read();
    Out y;
    // Invariant: the channels of y before this one are final.
  channels:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS PIPELINE II = 1
      const ap_int<width> value = raw(x[channel]);
      const ap_uint<width> magnitude = value < 0 ? ap_int<width>(-value) : value;
      ap_int<kGeluBits + 1> r = 0;
      if ((magnitude >> (F + kGeluLimitBits)) == 0) {
        const ap_uint<kGeluLimitBits + position_bits> position = ap_uint<kGeluLimitBits + position_bits>(magnitude)
                                                                 << (position_bits - F);
        const ap_uint<kGeluLimitBits + kGeluStepBits> index = position >> kGeluRestBits;
        const ap_int<kGeluRestBits + 1> rest = ap_uint<kGeluRestBits>(position);
        const ap_int<kGeluBits + 1> low = raw(table[index]), high = raw(table[index + 1]);
        r = low + ap_int<kGeluBits + 1>(((high - low) * rest) >> kGeluRestBits);
      }
      const ap_fixed<width, width - F> linear = value_of<F>(value > 0 ? value : ap_int<width>(0));
      y[channel] = linear - value_of<kGeluBits>(r);
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
