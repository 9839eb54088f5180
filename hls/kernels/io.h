// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Where a program's image or residual stream comes from and where its result goes: DRAM. stream_node.h has the other
/// answer, streams between the layers of an hls4ml model. Both have the same three functions.
#ifndef M3VIT_IO_H_
#define M3VIT_IO_H_

#include "memory.h"

namespace m3vit {

/// Words of DRAM to 16-bit values, low byte first.
inline void words_to_values(hls::stream<DramWord>& in, const uint32_t words, hls::stream<Values>& out) {
words:
  for (uint32_t i = 0; i < words; ++i) {
    const DramWord word = in.read();
    for (int beat = 0; beat < kWordBytes / kPortBytes; ++beat) {
#pragma HLS PIPELINE II = 1
      Values values;
      for (int v = 0; v < 8; ++v) {
        const int place = beat * kPortBytes + 2 * v;
        values.value[v] = int16_t(uint8_t(word.byte[place]) | uint8_t(word.byte[place + 1]) << 8);
      }
      out.write(values);
    }
  }
}

/// Words of DRAM to pixels of three bytes; what is left of the last word is dropped.
/// Invariant: less than one pixel waits before each word.
inline void words_to_pixels(hls::stream<DramWord>& in, const uint32_t pixels, hls::stream<Pixel>& out) {
  int8_t byte[kWordBytes + 2];
#pragma HLS ARRAY_PARTITION variable = byte complete
  int first = 0, level = 0;
pixels:
  for (uint32_t i = 0; i < pixels; ++i) {
#pragma HLS PIPELINE II = 1
    if (level < 3) {
      for (int b = 0; b < 2; ++b) byte[b] = b < level ? byte[first + b] : int8_t(0);
      const DramWord word = in.read();
      for (int b = 0; b < kWordBytes; ++b) byte[level + b] = word.byte[b];
      first = 0;
      level += kWordBytes;
    }
    Pixel pixel;
    for (int c = 0; c < 3; ++c) pixel.colour[c] = uint8_t(byte[first + c]);
    out.write(pixel);
    first += 3;
    level -= 3;
  }
}

inline uint32_t words_of(const uint64_t bytes) { return uint32_t((bytes + kWordBytes - 1) / kWordBytes); }

/// 16-bit values at an address; `count` is a multiple of 32.
inline void read_values(const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3,
                        const uint64_t address, const uint32_t count, hls::stream<Values>& out) {
#pragma HLS DATAFLOW
  hls::stream<DramWord> words("value_words");
  read_words(hp0, hp1, hp2, hp3, address, words_of(2 * uint64_t(count)), words);
  words_to_values(words, words_of(2 * uint64_t(count)), out);
}

/// Image, source and result in DRAM.
struct MemoryIo {
  uint64_t source, result;

  void read_pixels(const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const uint32_t pixels,
                   hls::stream<Pixel>& out) const {
#pragma HLS DATAFLOW
    hls::stream<DramWord> words("image_words");
    read_words(hp0, hp1, hp2, hp3, source, words_of(3 * uint64_t(pixels)), words);
    words_to_pixels(words, pixels, out);
  }

  void read_rows(const beat_t* hp0, const beat_t* hp1, const beat_t* hp2, const beat_t* hp3, const int rows,
                 const int dim, hls::stream<Values>& out) const {
    read_values(hp0, hp1, hp2, hp3, source, uint32_t(rows) * dim, out);
  }

  void write_rows(beat_t* hp0, const int rows, const int pitch, hls::stream<Values>& in) const {
    write_values(hp0, result, uint32_t(rows) * pitch / 8, in);
  }
};

}  // namespace m3vit

#endif
