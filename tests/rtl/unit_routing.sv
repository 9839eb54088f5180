// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Router, route table and queue builder, connected as in m3vit_moe, with the signals of their bench. Test only.
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
  localparam int unsigned AddrW = $clog2(MaxTokens);
  localparam int unsigned RouteBits = MaxTopK * $bits(candidate_t) + $bits(exp_sum_t);

  /* verilator public_flat_rw_on */
  logic [15:0] experts;
  logic [4:0] top_k;
  logic renormalise;
  logic in_valid, in_ready;
  token_t in_token;
  logic [9:0] in_tile;
  logic [Lanes*16-1:0] in_logits;
  logic idle;
  logic route_valid, route_last;
  token_t route_token;
  logic [MaxTopK*$bits(candidate_t)-1:0] route_list;
  exp_sum_t route_sum;
  token_t rows;
  logic start;
  logic load_valid, load_ready;
  expert_t load_expert;
  logic queue_write, queue_bank;
  token_t queue_index;
  logic [$bits(entry_t)-1:0] queue_entry;
  logic job_valid, job_ready, job_bank;
  expert_t job_expert;
  token_t job_rows;
  logic release_bank, done;
  /* verilator public_off */

  logic router_reads, builder_asks;
  logic [AddrW-1:0] router_addr, builder_addr;
  logic [RouteBits-1:0] route_data;
  m3vit_router #(
      .Lanes      (Lanes),
      .RouterLanes(RouterLanes),
      .MaxTokens  (MaxTokens),
      .MaxTopK    (MaxTopK)
  ) u_router (
      .clk_i,
      .rst_ni,
      .experts_i    (experts),
      .top_k_i      (top_k),
      .renormalise_i(renormalise),
      .valid_i      (in_valid),
      .ready_o      (in_ready),
      .token_i      (in_token),
      .tile_i       (in_tile),
      .logits_i     (in_logits),
      .idle_o       (idle),
      .table_read_o (router_reads),
      .table_addr_o (router_addr),
      .table_data_i (route_data),
      .route_valid_o(route_valid),
      .route_last_o (route_last),
      .route_token_o(route_token),
      .route_list_o (route_list),
      .route_sum_o  (route_sum)
  );
  m3vit_ram #(
      .Width(RouteBits),
      .Depth(MaxTokens)
  ) u_table (
      .clk_i,
      .write_i     (route_valid),
      .write_addr_i(route_token[AddrW-1:0]),
      .write_data_i({route_list, route_sum}),
      .read_i      (router_reads || builder_asks),
      .read_addr_i (router_reads ? router_addr : builder_addr),
      .read_data_o (route_data)
  );
  m3vit_queue_builder #(
      .MaxTokens(MaxTokens),
      .MaxTopK  (MaxTopK)
  ) u_builder (
      .clk_i,
      .rst_ni,
      .route_valid_i(route_last),
      .route_list_i (route_list),
      .top_k_i      (top_k),
      .rows_i       (rows),
      .start_i      (start),
      .table_read_o (builder_asks),
      .table_ready_i(!router_reads),
      .table_addr_o (builder_addr),
      .table_data_i (route_data),
      .load_valid_o (load_valid),
      .load_ready_i (load_ready),
      .load_expert_o(load_expert),
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
