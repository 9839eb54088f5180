// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_buffers with the signals of its bench. Test only.
module unit_buffers
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxTokens = 9,
    parameter int unsigned MaxDim = 160,
    parameter int unsigned MaxHidden = 256,
    parameter int unsigned LendWords = 8,
    localparam int unsigned Inputs = UnitBytes * Groups,
    localparam int unsigned KvDepth = MaxTokens * ((2 * MaxDim + Inputs - 1) / Inputs)
) (
    input logic clk_i
);
  /* verilator public_flat_rw_on */
  logic x_write, h_write, kv_write, patch_write, queue_write, queue_bank, req_valid, kv_valid;
  logic [$bits(granule_t)-1:0] x_place, h_place, kv_place;
  logic [8*Lanes-1:0] x_data, h_data, kv_data;
  logic [$clog2(KvDepth)-1:0] patch_addr;
  logic [8*Inputs-1:0] patch_data, act, lend_write_data, lend_read_data;
  logic [Inputs/8-1:0] patch_pieces;
  token_t queue_index;
  logic [$bits(entry_t)-1:0] queue_entry;
  logic [$bits(act_req_t)-1:0] req;
  logic [$bits(kv_req_t)-1:0] kv_req;
  logic [8*UnitBytes-1:0] kv_unit;
  logic lend, lend_write, lend_read;
  logic [$clog2(LendWords)-1:0] lend_write_addr, lend_read_addr;
  /* verilator public_off */
  m3vit_buffers #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .LendWords(LendWords)
  ) u_dut (
      .clk_i,
      .x_write_i        (x_write),
      .x_place_i        (x_place),
      .x_data_i         (x_data),
      .h_write_i        (h_write),
      .h_place_i        (h_place),
      .h_data_i         (h_data),
      .kv_write_i       (kv_write),
      .kv_place_i       (kv_place),
      .kv_data_i        (kv_data),
      .patch_write_i    (patch_write),
      .patch_addr_i     (patch_addr),
      .patch_data_i     (patch_data),
      .patch_pieces_i   (patch_pieces),
      .queue_write_i    (queue_write),
      .queue_bank_i     (queue_bank),
      .queue_index_i    (queue_index),
      .queue_entry_i    (queue_entry),
      .req_valid_i      (req_valid),
      .req_i            (req),
      .act_o            (act),
      .kv_valid_i       (kv_valid),
      .kv_req_i         (kv_req),
      .kv_unit_o        (kv_unit),
      .lend_i           (lend),
      .lend_write_i     (lend_write),
      .lend_write_addr_i(lend_write_addr),
      .lend_write_data_i(lend_write_data),
      .lend_read_i      (lend_read),
      .lend_read_addr_i (lend_read_addr),
      .lend_read_data_o (lend_read_data)
  );
endmodule
