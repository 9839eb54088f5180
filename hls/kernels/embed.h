// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// What precedes the product of the patch embedding: pixels to patches, positions to the residual stream.
/// Golden: sim/golden/embed.py patches, patch_embed; in RTL: m3vit_patches.sv.
#ifndef M3VIT_EMBED_H_
#define M3VIT_EMBED_H_

#include "memory.h"
#include "state.h"

namespace m3vit {

/// Sorts pixels, which come row by row, into int8 patches: pixel row, pixel column, colour. Patch t is row t of s.keys.
template <class C>
void patches(State<C>& s, hls::stream<Pixel>& pixels, const int patch, const int columns, const int column_patches) {
  int token_row = 0, y = 0;  // first patch of the row of patches, pixel row inside it
rows:
  for (int row = 0; row < column_patches * patch; ++row) {
    int token = token_row, x = 0;
  pixels:
    for (int column = 0; column < columns * patch; ++column) {
#pragma HLS PIPELINE II = 1
      const Pixel pixel = pixels.read();
      for (int c = 0; c < 3; ++c) {
        const int place = (y * patch + x) * 3 + c;
        s.keys[token][place / kUnitBytes].byte[place % kUnitBytes] = int8_t(int(pixel.colour[c]) - kPixelOffset);
      }
      if (++x == patch) {
        x = 0;
        ++token;
      }
    }
    if (++y == patch) {
      y = 0;
      token_row += columns;
    }
  }
}

/// Fills the residual stream with 16-bit values: the position table, or the source of a LOAD.
template <class C>
void fill_residual(State<C>& s, hls::stream<Values>& in, const int rows, const int dim) {
rows:
  for (int row = 0; row < rows; ++row) {
  values:
    for (int beat = 0; beat < dim / 8; ++beat) {
#pragma HLS PIPELINE II = 1
      const Values values = in.read();
      for (int v = 0; v < 8; ++v) s.residual[row][beat * 8 + v] = values.value[v];
    }
  }
}

/// Sends rows of the residual stream out, `pitch` channels each, zeros beyond `channels`.
template <class C>
void drain_residual(const State<C>& s, hls::stream<Values>& out, const int rows, const int channels, const int pitch) {
rows:
  for (int row = 0; row < rows; ++row) {
  values:
    for (int beat = 0; beat < pitch / 8; ++beat) {
#pragma HLS PIPELINE II = 1
      Values values;
      for (int v = 0; v < 8; ++v) {
        const int channel = beat * 8 + v;
        values.value[v] = channel < channels ? s.residual[row][channel] : int16_t(0);
      }
      out.write(values);
    }
  }
}

}  // namespace m3vit

#endif
