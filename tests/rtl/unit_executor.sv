// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_executor with the signals of its bench. Test only.
module unit_executor
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic clear, start;
  logic [3:0] mode;
  op_index_t loader, index, norm_op;
  logic [$bits(op_t)-1:0] op, present_op;
  logic op_begin, active, loaded, done;
  logic [$bits(command_t)-1:0] cmd;
  logic cmd_valid, cmd_ready, idle;
  logic [$bits(norm_cmd_t)-1:0] norm;
  logic norm_valid, norm_taken, moe_start;
  words_t expert_words, store_words;
  logic queue_valid, queue_ready, queue_bank, queues_done;
  expert_t queue_expert, demand_expert;
  token_t queue_rows;
  logic demand_valid, demand_ready, store, store_start, stored;
  /* verilator public_off */

  m3vit_executor #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_dut (
      .clk_i,
      .rst_ni         (rst_ni && !clear),
      .start_i        (start),
      .mode_i         (mode),
      .loader_i       (loader),
      .index_o        (index),
      .op_i           (op),
      .op_o           (present_op),
      .begin_o        (op_begin),
      .active_o       (active),
      .loaded_i       (loaded),
      .done_o         (done),
      .cmd_o          (cmd),
      .cmd_valid_o    (cmd_valid),
      .cmd_ready_i    (cmd_ready),
      .idle_i         (idle),
      .norm_o         (norm),
      .norm_valid_o   (norm_valid),
      .norm_taken_i   (norm_taken),
      .norm_op_o      (norm_op),
      .moe_start_o    (moe_start),
      .expert_words_o (expert_words),
      .queue_valid_i  (queue_valid),
      .queue_ready_o  (queue_ready),
      .queue_expert_i (queue_expert),
      .queue_bank_i   (queue_bank),
      .queue_rows_i   (queue_rows),
      .queues_done_i  (queues_done),
      .demand_valid_o (demand_valid),
      .demand_expert_o(demand_expert),
      .demand_ready_i (demand_ready),
      .store_o        (store),
      .store_start_o  (store_start),
      .store_words_o  (store_words),
      .stored_i       (stored)
  );
endmodule
