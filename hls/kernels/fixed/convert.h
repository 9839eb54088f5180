// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Another fixed-point type for every element.
#ifndef M3VIT_FIXED_CONVERT_H_
#define M3VIT_FIXED_CONVERT_H_

#include "elementwise.h"

namespace m3vit {
namespace fixed {

struct Same {
  template <class T>
  static T of(const T& x) {
#pragma HLS INLINE
    return x;
  }
};

/// y = x in the output's type. Parameters as of elementwise.
template <class In, class Out, class C>
void convert(hls::stream<In>& input, hls::stream<Out>& output) {
  elementwise<Same, In, Out, C>(input, output);
}

}  // namespace fixed
}  // namespace m3vit

#endif
