// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The benches of attention and LayerNorm in one model, at two sizes. Test only.
module tb_vector (
    input logic clk_i,
    input logic rst_ni
);
  unit_vector_arith u_arith (.clk_i);

  unit_attention #(.Lanes(8), .Groups(2), .MaxBlock(24), .MaxTokens(200)) u_attention8 (.*);
  unit_attention #(.Lanes(32), .Groups(3), .MaxBlock(40), .MaxTokens(300)) u_attention32 (.*);

  unit_layer_norm #(.Lanes(8), .Groups(2), .MaxDim(128)) u_layer_norm8 (.*);
  unit_layer_norm #(.Lanes(32), .Groups(3), .MaxDim(384)) u_layer_norm32 (.*);
endmodule
