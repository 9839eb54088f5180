// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The papers' baseline without reordering (ModeTokenOrder): the stream buffer as a cache of whole experts. An expert
/// that is not there is read on demand while the linear engine waits; the oldest one makes room. Then the stream is
/// made to deliver the expert's words from its slot.
module m3vit_expert_cache
  import m3vit_pkg::*;
#(
    parameter int unsigned StreamWords = 512
) (
    input  logic    clk_i,
    input  logic    rst_ni,
    input  logic    clear_i,          ///< pulse: a new layer, all slots are empty
    input  words_t  expert_words_i,   ///< stream words of an expert
    input  logic    valid_i,          ///< this expert is needed
    input  expert_t expert_i,
    output logic    ready_o,          ///< its words follow on the stream
    output logic    load_valid_o,     ///< read it from DRAM to load_base_o
    input  logic    load_ready_i,
    output words_t  load_base_o,
    input  logic    loaded_i,         ///< pulse: it is there
    output logic    seek_valid_o,     ///< continue the stream at seek_base_o
    output words_t  seek_base_o
);
  localparam int unsigned Slots = 16;
  typedef logic [$clog2(Slots)-1:0] slot_t;
  typedef enum logic [2:0] {
    Look,
    Ask,
    Load,
    Seek,
    Give
  } state_e;

  state_e state_q;
  logic [Slots-1:0] valid_q;
  expert_t expert_q[Slots];
  words_t base_q[Slots];
  slot_t next_q;
  words_t next_base_q, seek_base_q;
  logic hit;
  words_t hit_base;

  always_comb begin
    hit = 1'b0;
    hit_base = '0;
    for (int i = 0; i < int'(Slots); i++)
      if (valid_q[i] && expert_q[i] == expert_i) begin
        hit = 1'b1;
        hit_base |= base_q[i];
      end
  end

  assign load_valid_o = state_q == Ask;
  assign load_base_o = next_base_q;
  assign seek_valid_o = state_q == Seek;
  assign seek_base_o = seek_base_q;
  assign ready_o = state_q == Give;

  always_ff @(posedge clk_i) begin
    if (state_q == Look) seek_base_q <= hit ? hit_base : next_base_q;
    if (!rst_ni || clear_i) begin
      state_q <= Look;
      valid_q <= '0;
      next_q <= '0;
      next_base_q <= '0;
    end else begin
      unique case (state_q)
        Look: if (valid_i) state_q <= hit ? Seek : Ask;
        Ask: if (load_ready_i) state_q <= Load;
        Load:
        if (loaded_i) begin
          state_q <= Seek;
          valid_q[next_q] <= 1'b1;
          expert_q[next_q] <= expert_i;
          base_q[next_q] <= next_base_q;
          if (next_q == '1 || next_base_q + 2 * expert_words_i > words_t'(StreamWords)) begin
            next_q <= '0;
            next_base_q <= '0;
          end else begin
            next_q <= next_q + 1'b1;
            next_base_q <= next_base_q + expert_words_i;
          end
        end
        Seek: state_q <= Give;
        default: state_q <= Look;
      endcase
    end
  end
endmodule
