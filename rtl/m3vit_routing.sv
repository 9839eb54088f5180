// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// From router logits to token queues: router with exact top-k, route table, queue builder, and the set of used experts
/// for the loader. Storage does not depend on the number of experts but for one bit each.
/// Golden: sim/golden/moe.py route.
module m3vit_routing
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxTopK = 8,
    parameter int unsigned RouterLanes = 4
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  op_t                 op_i,             ///< MoE operation, stable while a layer is under way
    input  logic                start_i,          ///< pulse: a layer begins
    input  logic                per_token_i,      ///< queues of one token each (m3vit_queue_builder)
    input  logic                valid_i,          ///< a row of logits, tile after tile
    output logic                ready_o,
    input  tag_t                tag_i,
    input  value_t  [Lanes-1:0] logits_i,
    output logic                idle_o,           ///< no row is under way in the router
    output logic                routed_o,         ///< all tokens are routed
    input  expert_t             expert_i,
    output logic                expert_used_o,    ///< of expert_i, in the same cycle
    output logic                queue_write_o,    ///< to the queues in buffers and residual
    output logic                queue_bank_o,
    output token_t              queue_index_o,
    output entry_t              queue_entry_o,
    output logic                job_valid_o,      ///< a queue is complete
    input  logic                job_ready_i,
    output expert_t             job_expert_o,
    output logic                job_bank_o,
    output token_t              job_rows_o,
    input  logic                release_i,        ///< the oldest queue is no longer needed
    output logic                done_o            ///< no further queue
);
  localparam int unsigned AddrW = $clog2(MaxTokens);
  localparam int unsigned RouteBits = MaxTopK * $bits(candidate_t) + $bits(exp_sum_t);

  logic router_reads, builder_reads, route_valid, route_last;
  logic [AddrW-1:0] router_addr, builder_addr;
  logic [RouteBits-1:0] route_data;
  token_t route_token;
  candidate_t [MaxTopK-1:0] route_list;
  exp_sum_t route_sum;

  m3vit_router #(
      .Lanes      (Lanes),
      .RouterLanes(RouterLanes),
      .MaxTokens  (MaxTokens),
      .MaxTopK    (MaxTopK)
  ) u_router (
      .clk_i,
      .rst_ni,
      .experts_i    (op_i.experts),
      .top_k_i      (op_i.top_k[4:0]),
      .renormalise_i((op_i.flags & 8'(FlagRenormalise)) != '0),
      .valid_i,
      .ready_o,
      .token_i      (tag_i.row),
      .tile_i       (tag_i.m_tile),
      .logits_i,
      .idle_o,
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
      .read_i      (router_reads || builder_reads),
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
      .top_k_i      (op_i.top_k[4:0]),
      .rows_i       (token_t'(op_i.rows)),
      .start_i,
      .per_token_i,
      .routed_o,
      .table_read_o (builder_reads),
      .table_ready_i(!router_reads),
      .table_addr_o (builder_addr),
      .table_data_i (route_data),
      .queue_write_o,
      .queue_bank_o,
      .queue_index_o,
      .queue_entry_o,
      .job_valid_o,
      .job_ready_i,
      .job_expert_o,
      .job_bank_o,
      .job_rows_o,
      .release_i,
      .done_o
  );
  m3vit_expert_set #(
      .MaxTopK(MaxTopK)
  ) u_used (
      .clk_i,
      .rst_ni,
      .clear_i (start_i),
      .insert_i(route_last),
      .list_i  (route_list),
      .top_k_i (op_i.top_k[4:0]),
      .expert_i,
      .used_o  (expert_used_o)
  );
endmodule
