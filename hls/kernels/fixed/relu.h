// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Rectified linear unit of every element.
#ifndef M3VIT_FIXED_RELU_H_
#define M3VIT_FIXED_RELU_H_

#include "elementwise.h"

namespace m3vit {
namespace fixed {

struct Positive {
  template <class T>
  static T of(const T& x) {
#pragma HLS INLINE
    return x > 0 ? x : T(0);
  }
};

/// y = max(x, 0). Parameters as of elementwise.
template <class In, class Out, class C>
void relu(hls::stream<In>& input, hls::stream<Out>& output) {
  elementwise<Positive, In, Out, C>(input, output);
}

}  // namespace fixed
}  // namespace m3vit

#endif
