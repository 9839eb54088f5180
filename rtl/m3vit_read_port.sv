// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// One AXI4 read port: bursts of up to four 64-byte words, reassembled into words. A burst is requested only when
/// all its words have a place in the queue. With flush_i words are dropped and nothing new is accepted, but started
/// bursts end as AXI demands; idle_o tells when.
module m3vit_read_port
  import m3vit_pkg::*;
#(
    parameter int unsigned Depth = 32  ///< words in flight or waiting
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  logic                flush_i,
    input  logic                valid_i,      ///< a burst of words_i words from addr_i, inside one 256-byte block
    output logic                ready_o,
    input  addr_t               addr_i,
    input  logic          [2:0] words_i,
    output word_t               word_o,
    output logic                valid_o,
    input  logic                ready_i,
    output logic                error_o,      ///< the memory answered with an error, one cycle
    output logic                idle_o,       ///< no burst is under way
    output axi_read_req_t       axi_o,
    input  axi_read_rsp_t       axi_i
);
  localparam int unsigned Beats = 8 * WordBytes / PortBits;
  localparam int unsigned CountW = $clog2(Depth + 1);

  logic ar_valid_q;
  addr_t ar_addr_q;
  logic [7:0] ar_len_q;
  logic [CountW-1:0] reserved_q;  // words requested and not yet popped
  logic [CountW-1:0] flying_q;  // bursts under way
  logic [$clog2(Beats)-1:0] beat_q;
  logic [Beats-2:0][PortBits-1:0] part_q;
  logic accept, beat, word_done, pop, unused_room;

  assign ready_o = !flush_i && (!ar_valid_q || axi_i.arready) && reserved_q <= CountW'(Depth - 4);
  assign accept = valid_i && ready_o;
  assign beat = axi_i.rvalid;
  assign word_done = beat && beat_q == $bits(beat_q)'(Beats - 1);
  assign pop = valid_o && ready_i;
  assign error_o = beat && axi_i.rresp[1];
  assign idle_o = !ar_valid_q && flying_q == '0;
  assign axi_o = '{araddr: ar_addr_q, arlen: ar_len_q, arvalid: ar_valid_q, rready: 1'b1};

  always_ff @(posedge clk_i) begin
    if (accept) begin
      ar_addr_q <= addr_i;
      ar_len_q  <= 8'(words_i) * 8'(Beats) - 1'b1;
    end
    if (beat) part_q <= {axi_i.rdata, part_q[Beats-2:1]};
    if (!rst_ni) begin
      ar_valid_q <= 1'b0;
      flying_q   <= '0;
      beat_q     <= '0;
    end else begin
      ar_valid_q <= accept || (ar_valid_q && !axi_i.arready);
      flying_q   <= flying_q + CountW'(accept) - CountW'(beat && axi_i.rlast);
      if (beat) beat_q <= axi_i.rlast ? '0 : beat_q + 1'b1;
    end
    if (!rst_ni || flush_i) reserved_q <= '0;
    else reserved_q <= reserved_q + (accept ? CountW'(words_i) : '0) - CountW'(pop);
  end

  m3vit_fifo #(
      .Depth (Depth),
      .data_t(word_t)
  ) u_words (
      .clk_i,
      .rst_ni (rst_ni && !flush_i),
      .data_i ({axi_i.rdata, part_q}),
      .valid_i(word_done && !flush_i),
      .ready_o(unused_room),  // reserved_q keeps it from overflowing
      .data_o (word_o),
      .valid_o(valid_o),
      .ready_i(ready_i)
  );
endmodule
