// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors
/// \file
/// Integers behind fixed-point values: what every kernel in this folder computes with.
#ifndef M3VIT_FIXED_EXACT_H_
#define M3VIT_FIXED_EXACT_H_

#include "../rounding.h"
#include "ap_fixed.h"
#include "ap_int.h"

namespace m3vit {
namespace fixed {

/// Smallest n with 2^n >= count.
constexpr int ceil_log2(unsigned count) { return count <= 1 ? 0 : 1 + ceil_log2((count + 1) / 2); }

/// Fraction bits of an ap_fixed or ap_ufixed type.
/// \tparam T the type
template <class T>
struct fraction {
  static constexpr int bits = T::width - T::iwidth;
};

/// Bits of a value as a signed integer, in units of its last bit.
/// \tparam T ap_fixed or ap_ufixed
template <class T>
ap_int<T::width + 1> raw(const T& value) {
#pragma HLS INLINE
  const ap_fixed<T::width + 1, T::iwidth + 1> wide = value;
  ap_int<T::width + 1> bits;
  bits.range(T::width, 0) = wide.range(T::width, 0);
  return bits;
}

/// The value whose bits are an integer: bits / 2^F. Exact; rounding happens when the result is assigned.
/// \tparam F fraction bits
/// \tparam W width of the integer
template <int F, int W>
ap_fixed<W, W - F> value_of(const ap_int<W>& bits) {
#pragma HLS INLINE
  ap_fixed<W, W - F> value;
  value.range(W - 1, 0) = bits.range(W - 1, 0);
  return value;
}

}  // namespace fixed
}  // namespace m3vit

#endif
