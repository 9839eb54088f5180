// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// All unit benches in one model, because compiling a model costs more than running it. Every `unit_*` module holds
/// one design under test and the signals that cocotb drives and reads; nothing connects them. Test only.
module tb_units (
    input logic clk_i,
    input logic rst_ni
);
  unit_arith u_arith (.clk_i);

  unit_fifo #(.Depth(1)) u_fifo1 (.*);
  unit_fifo #(.Depth(3)) u_fifo3 (.*);
  unit_fifo #(.Depth(4)) u_fifo4 (.*);
  unit_ram_fifo #(.Depth(2)) u_ram_fifo2 (.*);
  unit_ram_fifo #(.Depth(16)) u_ram_fifo16 (.*);

  unit_bank_ram #(.Banks(1), .Depth(5), .ReadGranules(1), .WriteGranules(1)) u_bank_ram1 (.clk_i);
  unit_bank_ram #(.Banks(4), .Depth(7), .ReadGranules(4), .WriteGranules(3)) u_bank_ram48 (.clk_i);  // 48 over 64 bytes
  unit_bank_ram #(.Banks(8), .Depth(3), .ReadGranules(2), .WriteGranules(8)) u_bank_ram8 (.clk_i);

  unit_routing #(.RouterLanes(1)) u_routing1 (.*);
  unit_routing #(.RouterLanes(3)) u_routing3 (.*);
  unit_routing #(.RouterLanes(8)) u_routing8 (.*);

  unit_gelu u_gelu (.*);

  unit_combine #(.Lanes(8), .MaxDim(64)) u_combine8 (.*);
  unit_combine #(.Lanes(48), .MaxDim(192)) u_combine48 (.*);
  unit_combine #(.Lanes(64), .MaxDim(128)) u_combine64 (.*);

  unit_engine #(.Lanes(8)) u_engine8 (.*);
  unit_engine #(.Lanes(16)) u_engine16 (.*);
endmodule
