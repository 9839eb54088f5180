// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_gearbox: the units of a job come out complete and in order; what does not fill a word at its end is dropped.
/// By induction, for jobs of any length, gaps and stalls.
module formal_gearbox
  import m3vit_pkg::*;
#(
    parameter int unsigned Groups = 3
) (
    input logic clk_i,
    input logic rst_ni,
    input logic valid_i,
    input logic last_i,
    input logic ready_i
);
  localparam int unsigned UnitBits = 8 * UnitBytes;
  // The units of a job are numbered.
  logic [7:0] in_q, out_q;
  word_t word;
  assign word = {UnitBits'(in_q + 1'b1), UnitBits'(in_q)};
  logic ready, valid;
  logic [UnitBits*Groups-1:0] out;
  m3vit_gearbox #(
      .Groups(Groups)
  ) dut (
      .clk_i,
      .rst_ni,
      .word_i (word),
      .valid_i,
      .last_i,
      .ready_o(ready),
      .word_o (out),
      .valid_o(valid),
      .ready_i
  );
  logic started_q = 1'b0, take, give;
  assign take = valid_i && ready;
  assign give = valid && ready_i;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni || (take && last_i)) begin
      in_q  <= '0;
      out_q <= '0;
    end else begin
      if (take) in_q <= in_q + 8'd2;
      if (give) out_q <= out_q + 8'(Groups);
    end
  end

  logic ordered, held_agrees;
  always_comb begin
    ordered = 1'b1;
    held_agrees = 1'b1;
    for (int g = 0; g < int'(Groups); g++) if (out[UnitBits*g+:8] != out_q + 8'(g)) ordered = 1'b0;
    for (int u = 0; u < 2; u++)
    if (u < int'(dut.held_q) && dut.hold_q[UnitBits*u+:8] != out_q + 8'(u)) held_agrees = 1'b0;
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      if (valid) a_ordered : assert (ordered);
      if (take && last_i && rst_ni) begin
        a_complete : assert (8'(in_q + 8'd2 - out_q) - (give ? 8'(Groups) : '0) < 8'(Groups));
      end
      if (valid_i && ready_i) a_no_stall : assert (ready);
      i_held : assert (8'(dut.held_q) == in_q - out_q && 32'(dut.held_q) < Groups);
      i_hold : assert (held_agrees);
    end
  end
endmodule
