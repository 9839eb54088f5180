// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_fifo against a shift register: same order, same flags. By induction.
module formal_fifo #(
    parameter int unsigned Depth = 3
) (
    input logic clk_i,
    input logic rst_ni,
    input logic [3:0] data_i,
    input logic valid_i,
    input logic ready_i
);
  logic ready, valid;
  logic [3:0] data;
  m3vit_fifo #(
      .Depth (Depth),
      .data_t(logic [3:0])
  ) dut (
      .clk_i,
      .rst_ni,
      .data_i,
      .valid_i,
      .ready_o(ready),
      .data_o (data),
      .valid_o(valid),
      .ready_i
  );

  // Model: entry 0 leaves first.
  logic [3:0] model_q[Depth];
  int unsigned count_q;
  logic started_q = 1'b0;
  always_ff @(posedge clk_i) begin
    automatic int unsigned count = count_q;
    started_q <= 1'b1;
    if (valid && ready_i) begin
      for (int i = 0; i < int'(Depth) - 1; i++) model_q[i] <= model_q[i+1];
      count--;
    end
    for (int i = 0; i < int'(Depth); i++) if (valid_i && ready && i == int'(count)) model_q[i] <= data_i;
    count_q <= rst_ni ? count + 32'(valid_i && ready) : 0;
  end

  logic memory_agrees;
  always_comb begin
    memory_agrees = 1'b1;
    for (int i = 0; i < int'(Depth); i++)
    if (i < int'(count_q) && dut.mem_q[(32'(dut.head_q) + i) % Depth] != model_q[i]) memory_agrees = 1'b0;
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      a_ready : assert (ready == (count_q < Depth));
      a_valid : assert (valid == (count_q != 0));
      if (valid) a_data : assert (data == model_q[0]);
      // Invariants for the induction.
      i_count : assert (32'(dut.count_q) == count_q && count_q <= Depth);
      i_pointers : assert (32'(dut.tail_q) == (32'(dut.head_q) + count_q) % Depth);
      i_range : assert (32'(dut.head_q) < Depth && 32'(dut.tail_q) < Depth);
      i_memory : assert (memory_agrees);
    end
  end
endmodule
