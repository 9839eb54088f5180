// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Linear layer on a stream of tokens: y = W x + b for every token.
#ifndef M3VIT_FIXED_LINEAR_H_
#define M3VIT_FIXED_LINEAR_H_

#include "exact.h"
#include "hls_stream.h"

namespace m3vit {
namespace fixed {

/// Sums are exact; the only rounding is that of the output type.
///
/// \tparam In pack of C::inputs elements: one token
/// \tparam Out pack of C::outputs elements
/// \tparam C rows (tokens), inputs, outputs, parallel (inputs per cycle), accum_t (holds every sum exactly)
/// \param weight row by row: the inputs of output 0 first, as torch.nn.Linear.weight
template <class In, class Out, class C>
void linear(hls::stream<In>& input, hls::stream<Out>& output, const typename C::weight_t weight[C::outputs * C::inputs],
            const typename C::bias_t bias[C::outputs]) {
  static_assert(In::size == C::inputs && Out::size == C::outputs, "a pack is one token");
  constexpr unsigned chunks = (C::inputs + C::parallel - 1) / C::parallel;
#pragma HLS ARRAY_PARTITION variable = weight cyclic factor = C::parallel
tokens:
  for (unsigned row = 0; row < C::rows; ++row) {
    const In x = input.read();
    Out y;
    typename C::accum_t sum = 0;
    unsigned channel = 0, first = 0;
    // Invariant: sum is bias[channel] plus the products of the inputs before `first`, none of them if first is 0.
  products:
    for (unsigned step = 0; step < C::outputs * chunks; ++step) {
#pragma HLS PIPELINE II = 1
      typename C::accum_t next = first == 0 ? typename C::accum_t(bias[channel]) : sum;
    lanes:
      for (unsigned lane = 0; lane < C::parallel; ++lane) {
#pragma HLS UNROLL
        if (first + lane < C::inputs) next += x[first + lane] * weight[channel * C::inputs + first + lane];
      }
      sum = next;
      first += C::parallel;
      if (first >= C::inputs) {
        y[channel] = next;
        first = 0;
        ++channel;
      }
    }
    output.write(y);
  }
}

}  // namespace fixed
}  // namespace m3vit

#endif
