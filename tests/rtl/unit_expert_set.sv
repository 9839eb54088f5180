// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_expert_set with the signals of its bench. Test only.
module unit_expert_set
  import m3vit_pkg::*;
#(
    parameter int unsigned MaxTopK = 4
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic clear, insert, used;
  logic [MaxTopK*$bits(candidate_t)-1:0] list;
  logic [4:0] top_k;
  expert_t expert;
  /* verilator public_off */

  m3vit_expert_set #(
      .MaxTopK(MaxTopK)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .clear_i (clear),
      .insert_i(insert),
      .list_i  (list),
      .top_k_i (top_k),
      .expert_i(expert),
      .used_o  (used)
  );
endmodule
