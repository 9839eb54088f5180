// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Reading and writing DRAM over four 128-bit ports that all see the same memory. A stripe of 1024 bytes is one burst
/// of 256 bytes on each port. Addresses are absolute and multiples of 64.
#ifndef M3VIT_MEMORY_H_
#define M3VIT_MEMORY_H_

#include "types.h"

namespace m3vit {

constexpr uint64_t kPieceBytes = kStripeBytes / kPorts;

inline void unpack_beat(const beat_t beat, int8_t* bytes) {
#pragma HLS INLINE
  for (int i = 0; i < kPortBytes; ++i) {
#pragma HLS UNROLL
    bytes[i] = int8_t(beat.range(8 * i + 7, 8 * i).to_int());
  }
}

/// The part of a range that belongs to one port, as 64-byte words.
/// \tparam Port  0..3
template <int Port>
void read_port(const beat_t* hp, const uint64_t address, const uint32_t words, hls::stream<DramWord>& part) {
  const uint64_t end = address + uint64_t(words) * kWordBytes;
stripes:
  for (uint64_t stripe = address / kStripeBytes * kStripeBytes; stripe < end; stripe += kStripeBytes) {
    const uint64_t piece = stripe + Port * kPieceBytes;
    const uint64_t first = piece > address ? piece : address;
    const uint64_t last = piece + kPieceBytes < end ? piece + kPieceBytes : end;
    DramWord word;
  beats:
    for (uint64_t at = first; at < last; at += kPortBytes) {
#pragma HLS PIPELINE II = 1
      const int place = at % kWordBytes;
      unpack_beat(hp[at / kPortBytes], word.byte + place);
      if (place == kWordBytes - kPortBytes) part.write(word);
    }
  }
}

/// Words of four ports in the order of their addresses. One word per cycle once every port has delivered.
inline void collect(hls::stream<DramWord>& part0, hls::stream<DramWord>& part1, hls::stream<DramWord>& part2,
                    hls::stream<DramWord>& part3, const uint64_t address, const uint32_t words,
                    hls::stream<DramWord>& out) {
collect:
  for (uint32_t i = 0; i < words; ++i) {
#pragma HLS PIPELINE II = 1
    switch ((address + uint64_t(i) * kWordBytes) / kPieceBytes % kPorts) {
      case 0: out.write(part0.read()); break;
      case 1: out.write(part1.read()); break;
      case 2: out.write(part2.read()); break;
      default: out.write(part3.read());
    }
  }
}

/// Reads `words` words of 64 bytes, all ports at work at once.
inline void read_words(const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
                       const uint64_t address, const uint32_t words, hls::stream<DramWord>& out) {
#pragma HLS DATAFLOW
  hls::stream<DramWord> part0("part0"), part1("part1"), part2("part2"), part3("part3");
#pragma HLS STREAM variable = part0 depth = 16
#pragma HLS STREAM variable = part1 depth = 16
#pragma HLS STREAM variable = part2 depth = 16
#pragma HLS STREAM variable = part3 depth = 16
  read_port<0>(hp0, address, words, part0);
  read_port<1>(hp1, address, words, part1);
  read_port<2>(hp2, address, words, part2);
  read_port<3>(hp3, address, words, part3);
  collect(part0, part1, part2, part3, address, words, out);
}

/// DRAM words that hold `words` words of the weight stream.
template <class C>
uint32_t dram_words(const uint32_t words) {
#pragma HLS INLINE
  return (words * C::inputs + kWordBytes - 1) / kWordBytes;
}

/// Words of 64 bytes become words of C::inputs bytes; what is left of the last one is dropped.
/// Invariant: less than one word waits before each step, so each step emits at most one, and `words` in all.
template <class C>
void gearbox(hls::stream<DramWord>& in, const uint32_t words, hls::stream<Word<C>>& out) {
  static_assert(C::inputs >= kWordBytes, "a step emits at most one word");
  int8_t waiting[C::inputs + kWordBytes] = {};
#pragma HLS ARRAY_PARTITION variable = waiting complete
  int level = 0;
gearbox:
  for (uint32_t i = 0; i < dram_words<C>(words); ++i) {
#pragma HLS PIPELINE II = 1
    const DramWord word = in.read();
    for (int b = 0; b < kWordBytes; ++b) waiting[level + b] = word.byte[b];
    level += kWordBytes;
    if (level >= C::inputs) {
      Word<C> full;
      for (int b = 0; b < C::inputs; ++b) full.byte[b] = waiting[b];
      for (int b = 0; b < kWordBytes; ++b) waiting[b] = waiting[C::inputs + b];
      level -= C::inputs;
      out.write(full);
    }
  }
}

/// Values of the residual stream to DRAM. Rows are short, one port is enough.
inline void write_values(beat_t* hp, const uint64_t address, const uint32_t beats, hls::stream<Values>& in) {
write:
  for (uint32_t i = 0; i < beats; ++i) {
#pragma HLS PIPELINE II = 1
    const Values values = in.read();
    beat_t beat;
    for (int v = 0; v < kPortBytes / 2; ++v) beat.range(16 * v + 15, 16 * v) = uint16_t(values.value[v]);
    hp[address / kPortBytes + i] = beat;
  }
}

}  // namespace m3vit

#endif
