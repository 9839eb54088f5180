// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_program, which holds m3vit_op_check, with the signals of its bench. Test only.
module unit_program
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 128,
    parameter int unsigned MaxHidden = 128,
    parameter int unsigned MaxTopK = 8,
    parameter int unsigned MaxBlock = 80,
    parameter int unsigned LendWords = 128
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic clear, word_valid, complete, lend;
  logic [15:0] count;
  word_t word;
  logic [7:0] error;
  op_index_t loader, executor;
  logic [$bits(op_t)-1:0] loader_op, executor_op;
  /* verilator public_off */

  error_e error_code;
  assign error = error_code;
  m3vit_program #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .MaxTopK  (MaxTopK),
      .MaxBlock (MaxBlock),
      .LendWords(LendWords)
  ) u_dut (
      .clk_i,
      .rst_ni       (rst_ni && !clear),
      .count_i      (count),
      .word_i       (word),
      .word_valid_i (word_valid),
      .complete_o   (complete),
      .error_o      (error_code),
      .lend_o       (lend),
      .loader_i     (loader),
      .loader_op_o  (loader_op),
      .executor_i   (executor),
      .executor_op_o(executor_op)
  );
endmodule
