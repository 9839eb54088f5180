// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// One AXI4 write port: bursts of up to four 64-byte words. A burst starts when all its words are here, so write data
/// never waits. At most 31 bursts are under way; idle_o tells when every one has been answered.
module m3vit_write_port
  import m3vit_pkg::*;
(
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  word_t                word_i,
    input  logic                 valid_i,
    input  logic                 last_i,    ///< last word of the burst
    input  addr_t                addr_i,    ///< of the burst, with the last word
    input  logic           [2:0] words_i,   ///< of the burst, with the last word
    output logic                 ready_o,
    output logic                 error_o,   ///< the memory answered with an error, one cycle
    output logic                 idle_o,
    output axi_write_req_t       axi_o,
    input  axi_write_rsp_t       axi_i
);
  localparam int unsigned Beats = 8 * WordBytes / PortBits;

  typedef struct packed {
    addr_t addr;
    logic [2:0] words;
  } burst_t;

  burst_t burst, next;
  logic word_ready, burst_ready, word_valid, burst_valid, word_take, burst_take;
  word_t word;
  assign burst = '{addr: addr_i, words: words_i};
  assign ready_o = word_ready && burst_ready;

  m3vit_fifo #(
      .Depth (8),
      .data_t(word_t)
  ) u_words (
      .clk_i,
      .rst_ni,
      .data_i (word_i),
      .valid_i(valid_i && burst_ready),
      .ready_o(word_ready),
      .data_o (word),
      .valid_o(word_valid),
      .ready_i(word_take)
  );
  m3vit_fifo #(
      .Depth (4),
      .data_t(burst_t)
  ) u_bursts (
      .clk_i,
      .rst_ni,
      .data_i (burst),
      .valid_i(valid_i && last_i && word_ready),
      .ready_o(burst_ready),
      .data_o (next),
      .valid_o(burst_valid),
      .ready_i(burst_take)
  );

  logic aw_valid_q, sending_q;
  burst_t burst_q;
  logic [2:0] left_q;
  logic [$clog2(Beats)-1:0] beat_q;
  logic [4:0] flying_q;
  logic beat, last_beat;
  assign burst_take = burst_valid && !aw_valid_q && !sending_q && flying_q != '1;
  assign beat = sending_q && axi_i.wready;
  assign last_beat = beat_q == $bits(beat_q)'(Beats - 1);
  assign word_take = beat && last_beat;

  always_ff @(posedge clk_i) begin
    if (burst_take) burst_q <= next;
    if (!rst_ni) begin
      aw_valid_q <= 1'b0;
      sending_q <= 1'b0;
      left_q <= '0;
      beat_q <= '0;
      flying_q <= '0;
    end else begin
      if (burst_take) begin
        aw_valid_q <= 1'b1;
        sending_q <= 1'b1;
        left_q <= next.words;
      end else begin
        if (axi_i.awready) aw_valid_q <= 1'b0;
        if (word_take) begin
          left_q <= left_q - 1'b1;
          if (left_q == 3'd1) sending_q <= 1'b0;
        end
      end
      if (beat) beat_q <= beat_q + 1'b1;
      flying_q <= flying_q + 5'(burst_take) - 5'(axi_i.bvalid);
    end
  end

  assign axi_o = '{
          awaddr: burst_q.addr,
          awlen: 8'(burst_q.words) * 8'(Beats) - 1'b1,
          awvalid: aw_valid_q,
          wdata: word[PortBits*beat_q+:PortBits],
          wlast: last_beat && left_q == 3'd1,
          wvalid: sending_q,
          bready: 1'b1
      };
  assign error_o = axi_i.bvalid && axi_i.bresp[1];
  assign idle_o = !burst_valid && !aw_valid_q && !sending_q && flying_q == '0;

  logic unused_word_valid;
  assign unused_word_valid = word_valid;
endmodule
