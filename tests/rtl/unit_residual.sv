// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_residual with the signals of its bench. Test only.
module unit_residual
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 6,
    parameter int unsigned MaxDim = 96
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic load_valid;
  word_t load_word;
  logic queue_write, queue_bank;
  token_t queue_index;
  logic [$bits(entry_t)-1:0] queue_entry;
  logic valid, busy;
  logic [$bits(tag_t)-1:0] tag;
  logic [Lanes*16-1:0] value, norm_data;
  logic norm_read;
  logic [$bits(granule_t)-1:0] norm_place;
  logic store;
  words_t store_words;
  word_t out_data;
  logic out_valid, out_ready;
  logic clear;  ///< resets the unit, as the core is reset before every run
  /* verilator public_off */
  m3vit_residual #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim)
  ) u_dut (
      .clk_i,
      .rst_ni           (rst_ni && !clear),
      .load_valid_i     (load_valid),
      .load_word_i      (load_word),
      .queue_write_i    (queue_write),
      .queue_bank_i     (queue_bank),
      .queue_index_i    (queue_index),
      .queue_entry_i    (queue_entry),
      .valid_i          (valid),
      .tag_i            (tag),
      .value_i          (value),
      .busy_o           (busy),
      .norm_read_valid_i(norm_read),
      .norm_read_i      (norm_place),
      .norm_data_o      (norm_data),
      .store_i          (store),
      .store_words_i    (store_words),
      .store_word_o     (out_data),
      .store_valid_o    (out_valid),
      .store_ready_i    (out_ready)
  );
endmodule
