// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Accumulators of the linear engine: adds the partial sums of successive chunks, one row of Lanes per cycle, and the
/// bias with the last. A row may return after four cycles at the earliest; m3vit_row_issuer sees to it.
/// Golden: sim/golden/linear.py accumulate.
/// Latency: acc_o follows partial_i after one cycle.
module m3vit_accumulator
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80
) (
    input  logic                            clk_i,
    input  logic                            rst_ni,
    input  logic                            valid_i,          ///< a row arrives in the next cycle
    input  tag_t                            tag_i,            ///< its tag
    input  logic                            first_row_i,      ///< with last_chunk_i: take new channel records
    input  logic                            first_chunk_i,
    input  logic                            last_chunk_i,
    input  sum_t                            partial_i[Lanes],  ///< one cycle after the tag
    input  channel_t      [Lanes-1:0]       channels_i,
    input  logic                            channels_valid_i,
    output logic                            channels_ready_o,
    output logic                            valid_o,          ///< a complete row
    output tag_t                            tag_o,
    output acc_t                            acc_o[Lanes],
    output channel_t      [Lanes-1:0]       channels_o        ///< records that belong to acc_o
);
  localparam int unsigned AddrW = $clog2(MaxTokens);

  logic valid_q, first_q, last_q, done_q;
  tag_t tag_q, tag_out_q;
  channel_t [Lanes-1:0] channels_q, channels_out_q;
  logic [Lanes-1:0][AccBits-1:0] stored, sum_q;

  assign channels_ready_o = valid_i && first_row_i && last_chunk_i;

  always_ff @(posedge clk_i) begin
    if (channels_ready_o) channels_q <= channels_i;
    first_q <= first_chunk_i;
    last_q <= last_chunk_i;
    tag_q <= tag_i;
    tag_out_q <= tag_q;
    if (valid_q) begin
      for (int l = 0; l < int'(Lanes); l++)
        sum_q[l] <= (first_q ? '0 : stored[l]) + AccBits'(partial_i[l]) + (last_q ? AccBits'(channels_q[l].bias) : '0);
      if (last_q) channels_out_q <= channels_q;
    end
    valid_q <= valid_i && rst_ni;
    done_q  <= valid_q && last_q && rst_ni;
  end

  logic write_q;
  always_ff @(posedge clk_i) write_q <= valid_q && !last_q;

  m3vit_ram #(
      .Width(Lanes * AccBits),
      .Depth(MaxTokens)
  ) u_ram (
      .clk_i,
      .write_i     (write_q),
      .write_addr_i(tag_out_q.row[AddrW-1:0]),
      .write_data_i(sum_q),
      .read_i      (valid_i),
      .read_addr_i (tag_i.row[AddrW-1:0]),
      .read_data_o (stored)
  );

  assign valid_o = done_q;
  assign tag_o = tag_out_q;
  assign channels_o = channels_out_q;
  for (genvar l = 0; l < int'(Lanes); l++) begin : gen_out
    assign acc_o[l] = acc_t'(sum_q[l]);
  end

  logic unused_channels_valid;
  assign unused_channels_valid = channels_valid_i;
`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (rst_ni) begin
      a_records : assert (!channels_ready_o || channels_valid_i) else $error("row before its channel records");
      a_return :
      assert (!(valid_i && write_q && !first_chunk_i && tag_i.row == tag_out_q.row)) else $error("row returned early");
    end
`endif
endmodule
