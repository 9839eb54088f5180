// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// One function of every element: the loop that such layers share.
#ifndef M3VIT_FIXED_ELEMENTWISE_H_
#define M3VIT_FIXED_ELEMENTWISE_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// y = F::of(x), rounded and saturated as the output's type says.
/// \tparam F has a static function `of` from an input element
/// \tparam In pack of C::channels elements: one token
/// \tparam Out pack of as many
/// \tparam C rows, channels
template <class F, class In, class Out, class C>
void elementwise(hls::stream<In>& input, hls::stream<Out>& output) {
  static_assert(In::size == C::channels && Out::size == C::channels, "a pack is one token");
  // Invariant: the tokens before this one have been written.
tokens:
  for (unsigned row = 0; row < C::rows; ++row) {
#pragma HLS PIPELINE II = 1
    const In x = input.read();
    Out y;
  channels:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS UNROLL
      y[channel] = F::of(x[channel]);
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
