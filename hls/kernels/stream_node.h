// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The engine as one node of an hls4ml model: image or residual stream from a stream, result to a stream, weights from
/// DRAM. Elements of the packs are types whose raw bits are the integers, ap_uint<8> pixels and 16-bit values.
#ifndef M3VIT_STREAM_NODE_H_
#define M3VIT_STREAM_NODE_H_

#include "engine.h"

namespace m3vit {

/// Raw bits of an ap_fixed or ap_int element, sign extended from 16 bits.
template <class T>
int16_t raw(const T& value) {
#pragma HLS INLINE
  return int16_t(ap_uint<T::width>(value.range(T::width - 1, 0)).to_uint());
}

/// \tparam In   pack of one pixel (3 elements) for programs that begin with PATCH_EMBED, of one token for LOAD
/// \tparam Out  pack of one row of the result
template <class In, class Out>
struct StreamIo {
  hls::stream<In>& in;
  hls::stream<Out>& out;

  void read_pixels(const beat_t*, const beat_t*, const beat_t*, const beat_t*, const uint32_t pixels,
                   hls::stream<Pixel>& to) const {
  pixels:
    for (uint32_t i = 0; i < pixels; ++i) {
#pragma HLS PIPELINE II = 1
      const In pack = in.read();
      Pixel pixel{};
      for (unsigned c = 0; c < 3 && c < In::size; ++c) pixel.colour[c] = uint8_t(raw(pack[c]));
      to.write(pixel);
    }
  }

  void read_rows(const beat_t*, const beat_t*, const beat_t*, const beat_t*, const int rows, const int dim,
                 hls::stream<Values>& to) const {
  rows:
    for (int row = 0; row < rows; ++row) {
      const In pack = in.read();
      for (int beat = 0; beat < dim / 8; ++beat) {
#pragma HLS PIPELINE II = 1
        Values values{};
        for (unsigned v = 0; v < 8; ++v)
          if (beat * 8 + v < In::size) values.value[v] = raw(pack[beat * 8 + v]);
        to.write(values);
      }
    }
  }

  void write_rows(beat_t*, const int rows, const int pitch, hls::stream<Values>& from) const {
  rows:
    for (int row = 0; row < rows; ++row) {
      Out pack;
      for (int beat = 0; beat < pitch / 8; ++beat) {
#pragma HLS PIPELINE II = 1
        const Values values = from.read();
        for (unsigned v = 0; v < 8; ++v)
          if (beat * 8 + v < Out::size) {
            using T = typename Out::value_type;
            pack[beat * 8 + v].range(T::width - 1, 0) = uint16_t(values.value[v]);
          }
      }
      out.write(pack);
    }
  }
};

/// Runs a program between two streams.
/// \param error  Error::kNone, or why nothing ran; then nothing was read or written either
template <class C, class In, class Out>
void stream_engine(hls::stream<In>& in, hls::stream<Out>& out, const beat_t* hp0, const beat_t* hp1, const beat_t* hp2,
                   const beat_t* hp3, const uint64_t memory, const uint32_t memory_bytes, const uint32_t program_offset,
                   const uint32_t program_ops, uint32_t& error) {
  static State<C> state;
  lay_out(state);
  uint32_t done;
  Counters counters[kMaxOps];
  const StreamIo<In, Out> io{in, out};
  // hp0 is written by MemoryIo only.
  error = uint32_t(run_program<C>(state, const_cast<beat_t*>(hp0), hp1, hp2, hp3, memory, memory_bytes, program_offset,
                                  program_ops, io, done, counters));
}

}  // namespace m3vit

#endif
