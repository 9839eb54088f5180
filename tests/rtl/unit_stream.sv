// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_stream with the signals of its bench and the RAM that it borrows. Test only.
module unit_stream
  import m3vit_pkg::*;
#(
    parameter int unsigned Groups = 2,
    parameter int unsigned StreamWords = 32,
    parameter int unsigned LendWords = 8,
    parameter int unsigned BlockWords = 8,
    localparam int unsigned Bits = 8 * UnitBytes * Groups
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic [$bits(word_t):0] in_data;  ///< last, word
  logic in_valid, in_ready;
  logic [Bits-1:0] out_data;
  logic out_valid, out_ready;
  logic [2:0] level;
  words_t skip_words, load_base, seek_base;
  logic skip, skip_ready, cache, seek, job_done, lend;
  /* verilator public_off */
  logic lend_write, lend_read;
  logic [$clog2(LendWords)-1:0] lend_write_addr, lend_read_addr;
  logic [Bits-1:0] lend_write_data, lend_read_data;
  m3vit_stream #(
      .Groups     (Groups),
      .StreamWords(StreamWords),
      .LendWords  (LendWords),
      .BlockWords (BlockWords)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .word_i           (in_data[$bits(word_t)-1:0]),
      .valid_i          (in_valid),
      .last_i           (in_data[$bits(word_t)]),
      .ready_o          (in_ready),
      .word_o           (out_data),
      .valid_o          (out_valid),
      .level_o          (level),
      .ready_i          (out_ready),
      .skip_words_i     (skip_words),
      .skip_valid_i     (skip),
      .skip_ready_o     (skip_ready),
      .cache_i          (cache),
      .load_base_i      (load_base),
      .seek_valid_i     (seek),
      .seek_base_i      (seek_base),
      .job_done_o       (job_done),
      .lend_i           (lend),
      .lend_write_o     (lend_write),
      .lend_write_addr_o(lend_write_addr),
      .lend_write_data_o(lend_write_data),
      .lend_read_o      (lend_read),
      .lend_read_addr_o (lend_read_addr),
      .lend_read_data_i (lend_read_data)
  );
  m3vit_ram #(
      .Width(Bits),
      .Depth(LendWords)
  ) u_lent (
      .clk_i,
      .write_i     (lend_write),
      .write_addr_i(lend_write_addr),
      .write_data_i(lend_write_data),
      .read_i      (lend_read),
      .read_addr_i (lend_read_addr),
      .read_data_o (lend_read_data)
  );
endmodule
