// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Requantisation and the integer functions of attention, norm and router. Golden: sim/golden/arith.py, norm.py,
/// attention.py, moe.py, under the same names.
#ifndef M3VIT_ARITH_H_
#define M3VIT_ARITH_H_

#include "rounding.h"
#include "types.h"

namespace m3vit {

/// An accumulator becomes an activation of Bits bits.
template <int Bits>
ap_int<Bits> requantise(const acc_t acc, const uint16_t multiplier, const uint8_t shift) {
#pragma HLS INLINE
  const ap_int<kAccBits + kMultiplierBits + 1> product = acc * ap_uint<kMultiplierBits>(multiplier);
  return saturate<Bits>(round_half_up_shift<kMaxShift>(product, shift));
}

/// Product of two 16-bit factors, rounded to 16 bits: what a row multiplies all its elements with.
inline uint16_t fold_multiplier(const uint16_t mantissa, const uint16_t multiplier) {
#pragma HLS INLINE
  const uint32_t product = uint32_t(mantissa) * multiplier;
  return uint16_t((uint64_t(product) + (1U << (kMultiplierBits - 1))) >> kMultiplierBits);
}

/// Mantissa and exponent of a row's factor.
struct Factor {
  uint16_t mantissa;
  int8_t exponent;
};

/// mantissa * 2**-(21 + exponent) is close to 1 / sqrt(variance). Zero counts as one.
inline Factor rsqrt(const ap_uint<56> variance) {
#pragma HLS INLINE
  const ap_uint<56> v = variance == 0 ? ap_uint<56>(1) : variance;
  const int exponent = (bit_length(v) - kRsqrtIndexBits + 1) >> 1;
  const ap_uint<56> index = exponent >= 0 ? ap_uint<56>(v >> (2 * exponent)) : ap_uint<56>(v << (-2 * exponent));
  return {kRsqrtMantissa[index.to_uint() - kRsqrtFirst], int8_t(exponent)};
}

/// mantissa * 2**-exponent is close to 1 / total.
inline Factor reciprocal(const ap_uint<24> total) {
#pragma HLS INLINE
  const int exponent = bit_length(total) + kMultiplierBits - 1;
  const uint64_t quotient = (uint64_t(1) << exponent) / total.to_uint();
  return {uint16_t(quotient > 65535 ? 65535 : quotient), int8_t(exponent)};
}

/// 2**logit in units of 2**-31 for a logit in octaves with kLogitFractionBits fraction bits, clipped.
inline ap_uint<47> exp2_fixed(const int16_t logit) {
#pragma HLS INLINE
  constexpr int kLimit = kLogitClipOctaves << kLogitFractionBits;
  const int clipped = logit < -kLimit ? -kLimit : logit > kLimit - 1 ? kLimit - 1 : int(logit);
  const int octave = (clipped >> kLogitFractionBits) + kLogitClipOctaves;
  return ap_uint<47>(kExp2Mantissa[clipped & ((1 << kLogitFractionBits) - 1)]) << octave;
}

/// 2**(score - largest) in units of 2**-8, 0..255; `below` = score - largest is never positive.
inline uint8_t probability(const ap_int<17> below) {
#pragma HLS INLINE
  const ap_uint<kLogitFractionBits> fraction = below.range(kLogitFractionBits - 1, 0);
  const int octaves = 7 - int(below >> kLogitFractionBits);
  const uint32_t mantissa = kExp2Mantissa[fraction.to_uint()];
  const int shift = octaves > 31 ? 31 : octaves;
  const uint64_t rounded = (uint64_t(mantissa) + ((uint64_t(1) << shift) >> 1)) >> shift;
  return uint8_t(rounded > 255 ? 255 : rounded);
}

}  // namespace m3vit

#endif
