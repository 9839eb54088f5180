// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Rectified linear unit of every element.
#ifndef M3VIT_FIXED_RELU_H_
#define M3VIT_FIXED_RELU_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// y = max(x, 0), exact but for the output's type.
/// \tparam In pack of C::channels elements: one token
/// \tparam Out pack of as many
/// \tparam C rows, channels
template <class In, class Out, class C>
void relu(hls::stream<In>& input, hls::stream<Out>& output) {
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
      y[channel] = x[channel] > 0 ? x[channel] : typename In::value_type(0);
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
