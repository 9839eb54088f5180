// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Decides whether a fetched operation may run on this hardware. Combinational.
module m3vit_op_check
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 64,
    parameter int unsigned MaxHidden = 256,
    parameter int unsigned MaxTopK = 8
) (
    input  op_t    op_i,
    output error_e error_o  ///< ErrorNone if it may
);
  logic [31:0] check;
  logic tokens_ok, dim_ok, hidden_ok, experts_ok;

  always_comb begin
    check = CheckWord;
    for (int i = 0; i < 16; i++) check ^= op_i[32*i+:32];
  end

  function automatic logic fits(logic [15:0] size, int unsigned limit);
    return size != '0 && size <= 16'(limit) && size % 16'(WordBytes) == '0 && size % 16'(Lanes) == '0;
  endfunction

  assign tokens_ok = op_i.rows != '0 && op_i.rows <= 16'(MaxTokens);
  assign dim_ok = fits(op_i.in_features, MaxDim);
  assign hidden_ok = fits(op_i.out_features, MaxHidden);
  assign experts_ok = op_i.top_k != '0 && op_i.top_k <= 8'(MaxTopK) && 16'(op_i.top_k) <= op_i.experts
      && op_i.experts <= 16'(MaxExperts);

  always_comb begin
    error_o = ErrorNone;
    if (check != '0 || op_i.version != 8'(ProgramVersion)) error_o = ErrorOperation;
    else if (op_i.opcode != OpMoe) error_o = ErrorUnsupported;
    else if (!(tokens_ok && dim_ok && hidden_ok && experts_ok)) error_o = ErrorShape;
  end
endmodule
