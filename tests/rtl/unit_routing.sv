// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_routing with the signals of its bench. Test only.
module unit_routing
  import m3vit_pkg::*;
#(
    parameter  int unsigned RouterLanes = 4,
    localparam int unsigned Lanes = 8,
    localparam int unsigned MaxTokens = 24,
    localparam int unsigned MaxTopK = 8
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic [15:0] experts;
  logic [4:0] top_k;
  logic renormalise, per_token;
  logic in_valid, in_ready;
  token_t in_token;
  logic [9:0] in_tile;
  logic [Lanes*16-1:0] in_logits;
  logic idle, routed;
  expert_t asked;
  logic asked_used;
  logic route_valid, route_last;
  token_t route_token;
  logic [MaxTopK*$bits(candidate_t)-1:0] route_list;
  exp_sum_t route_sum;
  token_t rows;
  logic start;
  logic queue_write, queue_bank;
  token_t queue_index;
  logic [$bits(entry_t)-1:0] queue_entry;
  logic job_valid, job_ready, job_bank;
  expert_t job_expert;
  token_t job_rows;
  logic release_bank, done;
  /* verilator public_off */

  op_t op;
  tag_t tag;
  always_comb begin
    op = '0;
    op.experts = experts;
    op.top_k = 8'(top_k);
    op.flags = renormalise ? 8'(FlagRenormalise) : '0;
    op.rows = 16'(rows);
    tag = '0;
    tag.row = in_token;
    tag.m_tile = in_tile;
  end
  assign route_valid = u_dut.route_valid;
  assign route_last  = u_dut.route_last;
  assign route_token = u_dut.route_token;
  assign route_list  = u_dut.route_list;
  assign route_sum   = u_dut.route_sum;
  m3vit_routing #(
      .Lanes      (Lanes),
      .MaxTokens  (MaxTokens),
      .MaxTopK    (MaxTopK),
      .RouterLanes(RouterLanes)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .op_i         (op),
      .start_i      (start),
      .per_token_i  (per_token),
      .valid_i      (in_valid),
      .ready_o      (in_ready),
      .tag_i        (tag),
      .logits_i     (in_logits),
      .idle_o       (idle),
      .routed_o     (routed),
      .expert_i     (asked),
      .expert_used_o(asked_used),
      .queue_write_o(queue_write),
      .queue_bank_o (queue_bank),
      .queue_index_o(queue_index),
      .queue_entry_o(queue_entry),
      .job_valid_o  (job_valid),
      .job_ready_i  (job_ready),
      .job_expert_o (job_expert),
      .job_bank_o   (job_bank),
      .job_rows_o   (job_rows),
      .release_i    (release_bank),
      .done_o       (done)
  );
endmodule
