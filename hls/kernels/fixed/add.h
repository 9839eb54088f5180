// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Sum of two streams of tokens: residual connections.
#ifndef M3VIT_FIXED_ADD_H_
#define M3VIT_FIXED_ADD_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// y = a + b, exact but for the output's type.
/// \tparam A pack of C::channels elements: one token
/// \tparam B pack of as many
/// \tparam Out pack of as many
/// \tparam C rows, channels
template <class A, class B, class Out, class C>
void add(hls::stream<A>& first, hls::stream<B>& second, hls::stream<Out>& output) {
  static_assert(A::size == C::channels && B::size == C::channels && Out::size == C::channels, "a pack is one token");
  // Invariant: the tokens before this one have been written.
tokens:
  for (unsigned row = 0; row < C::rows; ++row) {
#pragma HLS PIPELINE II = 1
    const A a = first.read();
    const B b = second.read();
    Out y;
  channels:
    for (unsigned channel = 0; channel < C::channels; ++channel) {
#pragma HLS UNROLL
      y[channel] = a[channel] + b[channel];
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
