// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Writes a stream of words to a linear DRAM region over all ports, in 256-byte bursts chosen by the address bits from 8 on.
/// done_o pulses when the memory has answered every burst of the job.
module m3vit_dma_write
  import m3vit_pkg::*;
#(
    parameter int unsigned Ports = 4  ///< in use: 1, 2 or 4
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  logic                       flush_i,      ///< forget the job; started bursts end
    input  addr_t                      addr_i,
    input  words_t                     words_i,      ///< at least one
    input  logic                       start_i,
    input  word_t                      word_i,
    input  logic                       valid_i,
    output logic                       ready_o,
    output logic                       done_o,
    output logic                       error_o,
    output logic                       idle_o,       ///< no burst is under way
    output axi_write_req_t [Ports-1:0] axi_o,
    input  axi_write_rsp_t [Ports-1:0] axi_i
);
  typedef logic [Ports > 1 ? $clog2(Ports)-1 : 0:0] port_t;

  logic active_q, sent_q;
  addr_t addr_q, burst_addr_q;
  words_t left_q;
  logic [2:0] count_q;  // words of the present burst already passed on
  port_t port;
  logic last, take;
  logic [Ports-1:0] port_ready, port_error, port_idle;

  assign port = Ports > 1 ? addr_q[8+:$bits(port_t)] : '0;
  assign last = addr_q[7:6] == 2'd3 || left_q == words_t'(1);
  assign ready_o = active_q && port_ready[port];
  assign take = valid_i && ready_o;

  for (genvar p = 0; p < int'(Ports); p++) begin : gen_port
    m3vit_write_port u_port (
        .clk_i,
        .rst_ni,
        .word_i,
        .valid_i(valid_i && active_q && port == port_t'(p)),
        .last_i (last),
        .addr_i (count_q == '0 ? addr_q : burst_addr_q),
        .words_i(count_q + 1'b1),
        .ready_o(port_ready[p]),
        .error_o(port_error[p]),
        .idle_o (port_idle[p]),
        .axi_o  (axi_o[p]),
        .axi_i  (axi_i[p])
    );
  end

  assign idle_o  = &port_idle;
  assign error_o = |port_error;
  assign done_o  = sent_q && idle_o;
  always_ff @(posedge clk_i) begin
    if (take && count_q == '0) burst_addr_q <= addr_q;
    if (start_i) begin
      addr_q <= addr_i;
      left_q <= words_i;
    end else if (take) begin
      addr_q <= addr_q + addr_t'(WordBytes);
      left_q <= left_q - 1'b1;
    end
    if (!rst_ni || flush_i) begin
      active_q <= 1'b0;
      sent_q   <= 1'b0;
      count_q  <= '0;
    end else begin
      if (start_i) active_q <= 1'b1;
      else if (take && left_q == words_t'(1)) active_q <= 1'b0;
      if (take) count_q <= last ? '0 : count_q + 1'b1;
      sent_q <= (take && left_q == words_t'(1)) || (sent_q && !idle_o);
    end
  end
endmodule
