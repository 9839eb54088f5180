// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// All unit benches in one model, because compiling a model costs more than running it. Every `unit_*` module holds
/// one design under test and the signals that cocotb drives and reads; nothing connects them. Test only.
module tb_units (
    input logic clk_i,
    input logic rst_ni
);
  unit_arith u_arith (.clk_i);

  unit_routing #(.RouterLanes(1)) u_routing1 (.*);
  unit_routing #(.RouterLanes(3)) u_routing3 (.*);
  unit_routing #(.RouterLanes(8)) u_routing8 (.*);
endmodule
