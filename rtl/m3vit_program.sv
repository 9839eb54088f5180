// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The program of a task on chip: takes its operations from DRAM, checks each when it arrives, and lets loader and
/// executor read them. Nothing runs before the whole program has been found right. Read latency one cycle.
module m3vit_program
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
    input  logic             clk_i,
    input  logic             rst_ni,
    input  logic      [15:0] count_i,        ///< operations, 1..MaxOps
    input  word_t            word_i,
    input  logic             word_valid_i,   ///< the next operation arrives
    output logic             complete_o,     ///< level: all have arrived
    output error_e           error_o,        ///< level: the first error
    output logic             lend_o,         ///< level: the upper LendWords of the key-value buffer are not needed
    input  op_index_t        loader_i,
    output op_t              loader_op_o,
    input  op_index_t        executor_i,
    output op_t              executor_op_o
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  localparam int unsigned KeptWords = MaxTokens * ((2 * MaxDim + Inputs - 1) / Inputs) - LendWords;

  logic [15:0] index_q, rows_q, dim_q, dim;
  logic [7:0] kv_words, patch_words;
  op_t op_q, before_q;
  logic valid_q, last_q, first_q;
  error_e verdict;

  m3vit_op_check #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .MaxTopK  (MaxTopK),
      .MaxBlock (MaxBlock)
  ) u_check (
      .op_i      (op_q),
      .before_i  (before_q),
      .is_first_i(first_q),
      .is_last_i (last_q),
      .rows_i    (rows_q),
      .dim_i     (dim_q),
      .error_o   (verdict)
  );

  assign dim = op_q.opcode == OpLoad ? op_q.in_features : op_q.out_features;
  assign kv_words = words_of(dim << 1, Groups);
  assign patch_words = words_of(op_q.in_features, Groups);
  always_ff @(posedge clk_i) begin
    if (word_valid_i) begin
      op_q    <= op_t'(word_i);
      first_q <= index_q == '0;
      last_q  <= index_q + 1'b1 == count_i;
    end
    if (valid_q) begin
      before_q <= op_q;
      if (first_q) begin
        rows_q <= op_q.rows;
        dim_q  <= dim;
        lend_o <= 32'(op_q.rows) * 32'(kv_words > patch_words ? kv_words : patch_words) <= 32'(KeptWords);
      end
    end
    if (!rst_ni) begin
      index_q <= '0;
      valid_q <= 1'b0;
      complete_o <= 1'b0;
      error_o <= ErrorNone;
    end else begin
      index_q <= index_q + 16'(word_valid_i);
      valid_q <= word_valid_i;
      if (valid_q && last_q) complete_o <= 1'b1;
      if (valid_q && error_o == ErrorNone) error_o <= verdict;
    end
  end

  m3vit_ram #(
      .Width($bits(op_t)),
      .Depth(MaxOps)
  ) u_loader (
      .clk_i,
      .write_i     (word_valid_i),
      .write_addr_i(op_index_t'(index_q)),
      .write_data_i(word_i),
      .read_i      (1'b1),
      .read_addr_i (loader_i),
      .read_data_o (loader_op_o)
  );
  m3vit_ram #(
      .Width($bits(op_t)),
      .Depth(MaxOps)
  ) u_executor (
      .clk_i,
      .write_i     (word_valid_i),
      .write_addr_i(op_index_t'(index_q)),
      .write_data_i(word_i),
      .read_i      (1'b1),
      .read_addr_i (executor_i),
      .read_data_o (executor_op_o)
  );
endmodule
