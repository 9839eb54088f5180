// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_counters with the signals of its bench. Test only.
module unit_counters
  import m3vit_pkg::*;
(
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic start, running;
  op_index_t op, word_op, load_op, read_op;
  logic [$bits(events_t)-1:0] events;
  logic [$bits(counters_t)-1:0] counters;
  /* verilator public_off */

  m3vit_counters u_dut (
      .clk_i,
      .rst_ni,
      .start_i  (start),
      .running_i(running),
      .op_i     (op),
      .events_i (events_t'(events)),
      .word_op_i(word_op),
      .load_op_i(load_op),
      .read_op_i(read_op),
      .read_o   (counters)
  );
endmodule
