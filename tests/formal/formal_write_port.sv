// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_write_port as an AXI4 master, for any memory that answers finished bursts: address and data are stable until
/// taken, the data of a burst has no gap, is complete, in order and ends with wlast, and idle_o is right. By induction.
module formal_write_port
  import m3vit_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic valid_i,
    input logic last_i,
    input addr_t addr_i,
    input logic awready_i,
    input logic wready_i,
    input logic bvalid_i
);
  localparam int unsigned Beats = 4;
  localparam int unsigned Words = 8;  // of the queue of words
  localparam int unsigned Bursts = 4;  // of the queue of bursts
  logic ready, error, idle;
  axi_write_req_t axi;
  axi_write_rsp_t answer;
  word_t word;
  logic [7:0] given_q;  // words given, numbered in the data
  always_comb begin
    word = '0;
    for (int b = 0; b < int'(Beats); b++) word[PortBits*b+:8] = 8'(int'(Beats) * int'(given_q) + b);
  end
  logic [2:0] count_q;  // words of the present burst already given
  m3vit_write_port dut (
      .clk_i,
      .rst_ni,
      .word_i (word),
      .valid_i,
      .last_i,
      .addr_i,
      .words_i(count_q + 1'b1),
      .ready_o(ready),
      .error_o(error),
      .idle_o (idle),
      .axi_o  (axi),
      .axi_i  (answer)
  );
  assign answer = '{awready: awready_i, wready: wready_i, bresp: '0, bvalid: bvalid_i};

  // aw_q and w_q: bursts whose address or last beat has been taken and that are not answered.
  logic started_q = 1'b0, aw_wait_q, w_wait_q;
  logic [7:0] beats_q;  // beats taken
  int unsigned aw_q, w_q, in_burst_q;
  axi_write_req_t axi_q;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    axi_q <= axi;
    aw_wait_q <= rst_ni && axi.awvalid && !awready_i;
    w_wait_q <= rst_ni && axi.wvalid && !wready_i;
    if (!rst_ni) begin
      given_q <= '0;
      count_q <= '0;
      beats_q <= '0;
      aw_q <= 0;
      w_q <= 0;
      in_burst_q <= 0;
    end else begin
      if (valid_i && ready) begin
        given_q <= given_q + 1'b1;
        count_q <= last_i ? '0 : count_q + 1'b1;
      end
      if (axi.wvalid && wready_i) begin
        beats_q <= beats_q + 1'b1;
        in_burst_q <= axi.wlast ? 0 : in_burst_q + 1;
      end
      aw_q <= aw_q + 32'(axi.awvalid && awready_i) - 32'(bvalid_i);
      w_q  <= w_q + 32'(axi.wvalid && wready_i && axi.wlast) - 32'(bvalid_i);
    end
  end

  // What the queues hold: the words of all complete bursts and of the one being given.
  logic memory_agrees, bursts_agree;
  int unsigned words_held, bursts_held, words_due;
  assign words_held  = 32'(dut.u_words.count_q);
  assign bursts_held = 32'(dut.u_bursts.count_q);
  always_comb begin
    memory_agrees = 1'b1;
    for (int i = 0; i < int'(Words); i++)
    for (int b = 0; b < int'(Beats); b++)
    if (i < int'(words_held) && dut.u_words.mem_q[(32'(dut.u_words.head_q)+i)%Words][PortBits*b+:8]
        != 8'(int'(Beats) * (int'(given_q) - int'(words_held) + i) + b))
      memory_agrees = 1'b0;
    words_due = (dut.sending_q ? 32'(dut.left_q) : 0) + 32'(count_q);
    bursts_agree = 1'b1;
    for (int i = 0; i < int'(Bursts); i++)
    if (i < int'(bursts_held)) begin
      automatic logic [2:0] words = dut.u_bursts.mem_q[(32'(dut.u_bursts.head_q)+i)%Bursts].words;
      words_due += 32'(words);
      if (words == '0 || words > 3'd4) bursts_agree = 1'b0;
    end

    if (!started_q) assume (!rst_ni);
    if (started_q && rst_ni) begin
      if (valid_i && count_q == 3'd3) assume (last_i);
      if (bvalid_i) assume (aw_q != 0 && w_q != 0);
    end
    if (started_q) begin
      if (aw_wait_q) begin
        a_address_stable : assert (axi.awvalid && axi.awaddr == axi_q.awaddr && axi.awlen == axi_q.awlen);
      end
      if (w_wait_q) begin
        a_data_stable : assert (axi.wvalid && axi.wdata[7:0] == axi_q.wdata[7:0] && axi.wlast == axi_q.wlast);
      end
      if (axi.wvalid) begin
        a_here : assert (words_held != 0);
        a_order : assert (axi.wdata[7:0] == beats_q);
        a_wlast : assert (axi.wlast == (in_burst_q == 32'(axi.awlen)));
      end
      if (in_burst_q != 0) a_no_gap : assert (axi.wvalid);
      if (axi.awvalid) a_whole_words : assert (axi.awlen[1:0] == 2'd3 && axi.awlen < 8'd16);
      // idle_o only when all given bursts are answered
      if (idle) a_idle : assert (aw_q == 0 && w_q == 0 && bursts_held == 0 && !axi.awvalid && !axi.wvalid);
      a_no_error : assert (!error);
      // Invariants for the induction.
      i_flying : assert (32'(dut.flying_q) == aw_q + 32'(axi.awvalid) && 32'(dut.flying_q) == w_q + 32'(axi.wvalid));
      i_answers : assert (aw_q < 32 && w_q < 32);
      i_memory : assert (memory_agrees && bursts_agree);
      i_held : assert (words_held == words_due && words_held <= Words && bursts_held <= Bursts && count_q <= 3'd3);
      i_beats : assert (beats_q == 8'(Beats * (32'(given_q) - words_held) + 32'(dut.beat_q)));
      i_sending : assert (dut.sending_q ? dut.left_q != '0 && dut.left_q <= dut.burst_q.words
          && in_burst_q == Beats * (32'(dut.burst_q.words) - 32'(dut.left_q)) + 32'(dut.beat_q)
          : dut.beat_q == '0 && in_burst_q == 0);
      if (dut.sending_q || dut.aw_valid_q) begin
        i_burst : assert (dut.burst_q.words != '0 && dut.burst_q.words <= 3'd4);
      end
      i_words : assert (32'(dut.u_words.tail_q) == (32'(dut.u_words.head_q) + words_held) % Words);
      i_bursts : assert (32'(dut.u_bursts.tail_q) == (32'(dut.u_bursts.head_q) + bursts_held) % Bursts);
    end
  end
endmodule
