// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Memories and what is built around them, in one model as tb_units: queues, RAM, weight stream, buffers, patches, GELU
/// table, residual. The number behind a name is Lanes x Groups or one of them. Test only.
module tb_storage (
    input logic clk_i,
    input logic rst_ni
);
  unit_fifo #(.Depth(1)) u_fifo1 (.*);
  unit_fifo #(.Depth(3)) u_fifo3 (.*);
  unit_fifo #(.Depth(4)) u_fifo4 (.*);

  unit_ram #(.Depth(4100), .Style("ultra")) u_ram4100 (.clk_i);
  unit_ram #(.Depth(8257), .Style("ultra")) u_ram8257 (.clk_i);
  unit_ram #(.Depth(37), .Style("block")) u_ram37 (.clk_i);

  unit_stream #(.Groups(2), .BlockWords(0)) u_stream2 (.*);
  unit_stream #(.Groups(3)) u_stream3 (.*);
  unit_stream #(.Groups(4), .BlockWords(16)) u_stream4 (.*);

  unit_buffers #(.Lanes(8), .Groups(2)) u_buffers8 (.clk_i);
  unit_buffers #(.Lanes(32), .Groups(3)) u_buffers32 (.clk_i);
  unit_buffers #(.Lanes(16), .Groups(4), .LendWords(16)) u_buffers16 (.clk_i);

  unit_patches #(.Groups(2)) u_patches2 (.*);
  unit_patches #(.Groups(3)) u_patches3 (.*);
  unit_patches #(.Groups(4)) u_patches4 (.*);

  unit_gelu #(.Lanes(8), .Groups(2)) u_gelu8 (.*);
  unit_gelu #(.Lanes(32), .Groups(3)) u_gelu32 (.*);
  unit_gelu #(.Lanes(16), .Groups(4)) u_gelu16 (.*);

  unit_residual #(.Lanes(8)) u_residual8 (.*);
  unit_residual #(.Lanes(16)) u_residual16 (.*);
  unit_residual #(.Lanes(32)) u_residual32 (.*);
endmodule
