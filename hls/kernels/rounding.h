// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Shift, round, saturate and bit length of integers: what both the engine and the layers in fixed/ build on.
/// Golden: sim/golden/arith.py.
#ifndef M3VIT_ROUNDING_H_
#define M3VIT_ROUNDING_H_

#include <cstdint>

#include "ap_int.h"

namespace m3vit {

/// Arithmetic right shift, ties towards plus infinity. Shift 0 is the identity.
/// \tparam MaxShift  largest shift
/// \tparam W         width of x
template <int MaxShift, int W>
ap_int<W + 1> round_half_up_shift(const ap_int<W>& x, const int shift) {
#pragma HLS INLINE
  constexpr int kSumBits = (W > MaxShift ? W : MaxShift) + 2;
  const ap_int<kSumBits> half = (ap_int<kSumBits>(1) << shift) >> 1;
  return ap_int<W + 1>((ap_int<kSumBits>(x) + half) >> shift);
}

/// Clip to the range of a signed integer of Bits bits.
template <int Bits, int W>
ap_int<Bits> saturate(const ap_int<W>& x) {
#pragma HLS INLINE
  constexpr int64_t kHigh = (int64_t(1) << (Bits - 1)) - 1;
  if (x > kHigh) return ap_int<Bits>(kHigh);
  if (x < -kHigh - 1) return ap_int<Bits>(-kHigh - 1);
  return ap_int<Bits>(x);
}

/// Bits of an integer without leading zeros; 0 for 0.
template <int W>
int bit_length(const ap_uint<W>& x) {
#pragma HLS INLINE
  int bits = 0;
leading_one:
  for (int i = 0; i < W; ++i) {
#pragma HLS UNROLL
    if (x[i]) bits = i + 1;
  }
  return bits;
}

}  // namespace m3vit

#endif
