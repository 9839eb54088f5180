// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_attention with the signals of its bench. Test only.
module unit_attention
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxBlock = 24,
    parameter int unsigned MaxTokens = 200
) (
    input logic clk_i,
    input logic rst_ni
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  /* verilator public_flat_rw_on */
  logic score_valid;
  token_t score_row, score_keys;
  logic [9:0] score_tile;
  logic [2:0] score_units;
  logic [4:0] score_shift;
  logic [$bits(sum_t)*Groups*Lanes-1:0] score_sum;
  logic req_valid, req_last;
  token_t req_row, req_keys;
  logic [7:0] req_word;
  logic [15:0] req_multiplier;
  logic [5:0] req_shift;
  logic [8*Inputs-1:0] act;
  logic [$bits(factor_t)-1:0] factor;
  logic factor_valid, factor_ready, idle;
  /* verilator public_off */

  sum_t sum[Groups][Lanes];
  for (genvar g = 0; g < int'(Groups); g++) begin : gen_group
    for (genvar l = 0; l < int'(Lanes); l++) begin : gen_lane
      assign sum[g][l] = score_sum[$bits(sum_t)*(g*int'(Lanes)+l)+:$bits(sum_t)];
    end
  end
  score_tag_t tag;
  act_req_t req;
  assign tag = '{row: score_row, tile: score_tile, units: score_units, shift: score_shift, keys: score_keys};
  always_comb begin
    req = '1;
    req.source = SrcScores;
    req.row = req_row;
    req.word = req_word;
    req.keys = req_keys;
    req.last = req_last;
    req.multiplier = req_multiplier;
    req.shift = req_shift;
  end
  m3vit_attention #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxBlock (MaxBlock),
      .MaxTokens(MaxTokens)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .score_valid_i (score_valid),
      .score_tag_i   (tag),
      .score_sum_i   (sum),
      .req_valid_i   (req_valid),
      .req_i         (req),
      .act_o         (act),
      .factor_o      (factor),
      .factor_valid_o(factor_valid),
      .factor_ready_i(factor_ready),
      .idle_o        (idle)
  );
endmodule
