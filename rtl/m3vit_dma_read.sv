// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Reads linear DRAM regions over all ports and delivers one in-order stream of words, tagged with the job's
/// destination. The address bits from 8 on choose the port, so a 1,024-byte stripe keeps all busy. Several bursts per port
/// are under way to cover the memory's latency. After flush_i the stream is empty; idle_o tells when AXI is quiet.
module m3vit_dma_read
  import m3vit_pkg::*;
#(
    parameter int unsigned Ports = 4  ///< in use: 1, 2 or 4
) (
    input  logic                      clk_i,
    input  logic                      rst_ni,
    input  logic                      flush_i,
    input  read_job_t                 job_i,        ///< address and length in whole words, at least one
    input  logic                      job_valid_i,
    output logic                      job_ready_o,
    output word_t                     word_o,
    output load_e                     dest_o,
    output op_index_t                 op_o,         ///< operation that the job belongs to
    output logic                      last_o,       ///< last word of the job
    output logic                      valid_o,
    input  logic                      ready_i,
    output logic                      error_o,
    output logic                      idle_o,
    output axi_read_req_t [Ports-1:0] axi_o,
    input  axi_read_rsp_t [Ports-1:0] axi_i
);
  typedef logic [Ports > 1 ? $clog2(Ports)-1 : 0:0] port_t;
  typedef struct packed {
    port_t port;
    logic [2:0] words;
    load_e dest;
    op_index_t op;
    logic last;
  } burst_t;

  // Cut the job into bursts that stay inside one port's 256 bytes.
  logic active_q;
  addr_t addr_q;
  words_t left_q;
  load_e dest_q;
  op_index_t op_q;
  logic [2:0] words;
  port_t port;
  logic [Ports-1:0] port_ready, port_valid, port_take, port_error, port_idle;
  word_t port_word[Ports];
  burst_t burst, head;
  logic order_ready, order_valid, order_take, issue;

  assign port = Ports > 1 ? addr_q[8+:$bits(port_t)] : '0;
  always_comb begin
    words = 3'd4 - 3'(addr_q[7:6]);
    if (left_q < words_t'(words)) words = 3'(left_q);
  end
  assign issue = active_q && order_ready && port_ready[port];
  assign burst = '{port: port, words: words, dest: dest_q, op: op_q, last: left_q == words_t'(words)};
  assign job_ready_o = !active_q && !flush_i;

  always_ff @(posedge clk_i) begin
    if (job_valid_i && job_ready_o) begin
      addr_q <= job_i.addr;
      left_q <= job_i.words;
      dest_q <= job_i.dest;
      op_q   <= job_i.op;
    end else if (issue) begin
      addr_q <= addr_q + addr_t'(words) * addr_t'(WordBytes);
      left_q <= left_q - words_t'(words);
    end
    if (!rst_ni || flush_i) active_q <= 1'b0;
    else if (job_valid_i && job_ready_o) active_q <= 1'b1;
    else if (issue && burst.last) active_q <= 1'b0;
  end

  m3vit_fifo #(
      .Depth (64),
      .data_t(burst_t)
  ) u_order (
      .clk_i,
      .rst_ni (rst_ni && !flush_i),
      .data_i (burst),
      .valid_i(issue),
      .ready_o(order_ready),
      .data_o (head),
      .valid_o(order_valid),
      .ready_i(order_take)
  );

  for (genvar p = 0; p < int'(Ports); p++) begin : gen_port
    m3vit_read_port u_port (
        .clk_i,
        .rst_ni,
        .flush_i,
        .valid_i(active_q && order_ready && port == port_t'(p)),
        .ready_o(port_ready[p]),
        .addr_i (addr_q),
        .words_i(words),
        .word_o (port_word[p]),
        .valid_o(port_valid[p]),
        .ready_i(port_take[p]),
        .error_o(port_error[p]),
        .idle_o (port_idle[p]),
        .axi_o  (axi_o[p]),
        .axi_i  (axi_i[p])
    );
    assign port_take[p] = order_valid && head.port == port_t'(p) && ready_i;
  end

  // Collect the words in the order of the bursts.
  logic [2:0] taken_q;
  logic last_of_burst;
  assign word_o = port_word[head.port];
  assign dest_o = head.dest;
  assign op_o = head.op;
  assign valid_o = order_valid && port_valid[head.port];
  assign last_of_burst = taken_q == head.words - 1'b1;
  assign last_o = head.last && last_of_burst;
  assign order_take = valid_o && ready_i && last_of_burst;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) taken_q <= '0;
    else if (valid_o && ready_i) taken_q <= last_of_burst ? '0 : taken_q + 1'b1;
  end
  assign error_o = |port_error;
  assign idle_o  = &port_idle;
endmodule
