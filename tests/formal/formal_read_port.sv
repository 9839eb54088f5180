// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_read_port as an AXI4 master, against any memory that answers in order: a request is stable until taken, no
/// burst leaves its 256 bytes, a word that arrives always has a place, words come out complete and in order, and
/// idle_o is right. By induction.
module formal_read_port
  import m3vit_pkg::*;
#(
    parameter int unsigned Depth = 8
) (
    input logic clk_i,
    input logic rst_ni,
    input logic flush_i,
    input logic valid_i,
    input addr_t addr_i,
    input logic [2:0] words_i,
    input logic ready_i,
    input logic arready_i,
    input logic rvalid_i,
    input logic rlast_i
);
  localparam int unsigned Beats = 4;
  logic ready, valid, error, idle;
  word_t word;
  axi_read_req_t axi;
  axi_read_rsp_t answer;
  m3vit_read_port #(
      .Depth(Depth)
  ) dut (
      .clk_i,
      .rst_ni,
      .flush_i,
      .valid_i,
      .ready_o(ready),
      .addr_i,
      .words_i,
      .word_o (word),
      .valid_o(valid),
      .ready_i,
      .error_o(error),
      .idle_o (idle),
      .axi_o  (axi),
      .axi_i  (answer)
  );

  // The memory numbers its beats. bursts_q and words_q are on order and have not arrived; waiting_q is the request.
  logic [7:0] beats_q, popped_q;
  int unsigned bursts_q, words_q, stored_q, phase_q;
  logic started_q = 1'b0, flushing_q, waiting_q;
  axi_read_req_t axi_q;
  logic accept, word_done;
  assign accept = valid_i && ready;
  assign word_done = rvalid_i && phase_q == Beats - 1;
  assign answer = '{
          arready: arready_i,
          rdata: PortBits'(beats_q),
          rresp: '0,
          rlast: rlast_i,
          rvalid: rvalid_i
      };
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    axi_q <= axi;
    waiting_q <= rst_ni && axi.arvalid && !arready_i;
    if (!rst_ni) begin
      beats_q <= '0;
      popped_q <= '0;
      bursts_q <= 0;
      words_q <= 0;
      stored_q <= 0;
      phase_q <= 0;
      flushing_q <= 1'b0;
    end else begin
      flushing_q <= flush_i;
      bursts_q <= bursts_q + 32'(accept) - 32'(rvalid_i && rlast_i);
      words_q <= words_q + (accept ? 32'(words_i) : 0) - 32'(word_done);
      stored_q <= stored_q + 32'(word_done) - 32'(valid && ready_i);
      if (rvalid_i) phase_q <= (phase_q + 1) % Beats;
      if (rvalid_i) beats_q <= beats_q + 1'b1;
      if (valid && ready_i) popped_q <= popped_q + 8'(Beats);
    end
  end

  logic memory_agrees, parts_agree;
  int unsigned asked, left;  // bursts that the memory has taken, words after this cycle
  assign asked = bursts_q - 32'(axi.arvalid);
  assign left = words_q - 32'(word_done);
  always_comb begin
    memory_agrees = 1'b1;
    parts_agree   = 1'b1;
    for (int i = 0; i < int'(Depth); i++)
    for (int b = 0; b < int'(Beats); b++)
    if (i < int'(stored_q)
        && dut.u_words.mem_q[(32'(dut.u_words.head_q)+i)%Depth][PortBits*b+:8] != popped_q + 8'(int'(Beats) * i + b))
      memory_agrees = 1'b0;
    for (int b = 1; b < int'(Beats); b++)
    if (b <= int'(phase_q) && dut.part_q[int'(Beats)-1-b][7:0] != beats_q - 8'(b)) parts_agree = 1'b0;

    if (!started_q) assume (!rst_ni);
    if (started_q && rst_ni) begin
      // The user.
      if (valid_i) begin
        assume (words_i >= 3'd1 && words_i <= 3'd4 && addr_i[5:0] == '0);
        assume (32'(addr_i[7:6]) + 32'(words_i) <= 4);
      end
      if (flushing_q) assume (flush_i);
      // The memory: answers only taken requests, whole words, the last one of a burst marked.
      if (rvalid_i) assume (asked != 0);
      if (rlast_i) assume (phase_q == Beats - 1);
      if (word_done && rlast_i) assume (left >= bursts_q - 1 && left <= 4 * (bursts_q - 1));
      if (word_done && !rlast_i) assume (left >= bursts_q && left <= 4 * bursts_q);
    end
    if (started_q) begin
      if (waiting_q) begin
        a_stable : assert (axi.arvalid && axi.araddr == axi_q.araddr && axi.arlen == axi_q.arlen);
      end
      if (axi.arvalid) begin
        a_whole_words : assert (axi.araddr[5:0] == '0 && axi.arlen[1:0] == 2'd3);
        a_stripe : assert (32'(axi.araddr[7:0]) + 16 * (32'(axi.arlen) + 1) <= BurstBytes);
      end
      a_ready : assert (axi.rready);
      a_idle : assert (idle == (bursts_q == 0));
      a_no_error : assert (!error);
      if (!flushing_q) begin
        a_place : assert (words_q + stored_q <= Depth);
        if (word_done && !flush_i) a_taken : assert (dut.u_words.ready_o);
        if (valid) a_order : assert (word[7:0] == popped_q && word[3*PortBits+:8] == popped_q + 8'd3);
        i_reserved : assert (32'(dut.reserved_q) == words_q + stored_q);
        i_stored : assert (32'(dut.u_words.count_q) == stored_q && stored_q <= Depth);
        i_memory : assert (memory_agrees && beats_q == popped_q + 8'(Beats * stored_q + phase_q));
      end
      // Invariants for the induction.
      i_flying : assert (32'(dut.flying_q) == bursts_q && (!axi.arvalid || bursts_q != 0));
      i_words : assert (words_q <= Depth && words_q >= bursts_q && words_q <= 4 * bursts_q);
      i_phase : assert (32'(dut.beat_q) == phase_q && phase_q < Beats && (phase_q == 0 || asked != 0));
      i_parts : assert (parts_agree);
      i_pointers : assert (32'(dut.u_words.tail_q) == (32'(dut.u_words.head_q) + 32'(dut.u_words.count_q)) % Depth);
      i_range : assert (32'(dut.u_words.head_q) < Depth && 32'(dut.u_words.tail_q) < Depth);
      i_room : assert (32'(dut.u_words.count_q) <= Depth);
    end
  end
endmodule
