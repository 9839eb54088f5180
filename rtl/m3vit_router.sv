// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// From router logits to the route table: for every token the top-k experts with their logits, and the sum of
/// exponentials that normalises the gates. RouterLanes tokens are processed side by side, one expert per cycle each.
/// Storage grows with tokens x k, not with the number of experts: tokens with more experts than Lanes come back with
/// the next tile and continue from the table. Golden: sim/golden/moe.py top_k and the sums inside gates.
module m3vit_router
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned RouterLanes = 4,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxTopK = 4,
    localparam int unsigned AddrW = $clog2(MaxTokens),
    localparam int unsigned RouteBits = MaxTopK * $bits(candidate_t) + $bits(exp_sum_t)
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  logic         [       15:0] experts_i,      ///< experts of the layer
    input  logic         [        4:0] top_k_i,
    input  logic                       renormalise_i,
    input  logic                       valid_i,        ///< a row of logits, tile after tile
    output logic                       ready_o,
    input  token_t                     token_i,
    input  logic         [        9:0] tile_i,
    input  value_t       [  Lanes-1:0] logits_i,
    output logic                       idle_o,
    output logic                       table_read_o,   ///< the route table lies outside, the queue builder reads it too
    output logic         [  AddrW-1:0] table_addr_o,
    input  logic         [RouteBits-1:0] table_data_i,
    output logic                       route_valid_o,  ///< write to the table
    output logic                       route_last_o,   ///< the token is routed
    output token_t                     route_token_o,
    output candidate_t   [MaxTopK-1:0] route_list_o,
    output exp_sum_t                   route_sum_o
);
  typedef struct packed {
    candidate_t [MaxTopK-1:0] list;
    exp_sum_t sum;
  } route_t;
  localparam int unsigned LaneW = RouterLanes > 1 ? $clog2(RouterLanes) : 1;

  logic [15:0] first_expert, left;
  logic last_tile;
  assign first_expert = 16'(tile_i) * 16'(Lanes);
  assign left = experts_i - first_expert;
  assign last_tile = left <= 16'(Lanes);

  // Rows go to the lanes in turn; a new tile waits until the table is up to date.
  logic [RouterLanes-1:0] lane_idle, lane_valid;
  logic [LaneW-1:0] turn_q;
  logic [9:0] tile_q;
  logic staged_q, accept, all_idle;
  assign all_idle = &lane_idle && !staged_q;
  assign ready_o = lane_idle[turn_q] && !staged_q && (tile_i == tile_q || all_idle);
  assign accept = valid_i && ready_o;
  assign idle_o = all_idle;
  assign table_read_o = accept;
  assign table_addr_o = token_i[AddrW-1:0];

  // One stage to read the table.
  token_t token_q;
  value_t [Lanes-1:0] logits_q;
  expert_t expert_q;
  logic [7:0] count_q;
  logic fresh_q, last_q;
  route_t state;
  assign state = fresh_q ? '0 : route_t'(table_data_i);

  always_ff @(posedge clk_i) begin
    if (accept) begin
      token_q  <= token_i;
      logits_q <= logits_i;
      expert_q <= expert_t'(first_expert);
      count_q  <= last_tile ? 8'(left) : 8'(Lanes);
      fresh_q  <= tile_i == '0;
      last_q   <= last_tile;
    end
    if (!rst_ni) begin
      staged_q <= 1'b0;
      turn_q   <= '0;
      tile_q   <= '0;
    end else begin
      staged_q <= accept;
      if (accept) tile_q <= tile_i;
      if (staged_q) turn_q <= turn_q == LaneW'(RouterLanes - 1) ? '0 : turn_q + 1'b1;
    end
  end

  token_t lane_token[RouterLanes];
  candidate_t [MaxTopK-1:0] lane_list[RouterLanes];
  exp_sum_t lane_sum[RouterLanes];
  for (genvar i = 0; i < int'(RouterLanes); i++) begin : gen_lane
    m3vit_router_lane #(
        .Lanes  (Lanes),
        .MaxTopK(MaxTopK)
    ) u_lane (
        .clk_i,
        .rst_ni,
        .start_i      (staged_q && turn_q == LaneW'(i)),
        .token_i      (token_q),
        .logits_i     (logits_q),
        .expert_i     (expert_q),
        .count_i      (count_q),
        .list_i       (state.list),
        .sum_i        (state.sum),
        .renormalise_i(renormalise_i && last_q),
        .top_k_i,
        .idle_o       (lane_idle[i]),
        .valid_o      (lane_valid[i]),
        .token_o      (lane_token[i]),
        .list_o       (lane_list[i]),
        .sum_o        (lane_sum[i])
    );
  end

  // Lanes start in different cycles and take equally long, so at most one finishes per cycle.
  always_comb begin
    route_token_o = '0;
    route_list_o  = '0;
    route_sum_o   = '0;
    for (int i = 0; i < int'(RouterLanes); i++)
      if (lane_valid[i]) begin
        route_token_o |= lane_token[i];
        route_list_o |= lane_list[i];
        route_sum_o |= lane_sum[i];
      end
  end
  assign route_valid_o = |lane_valid;
  assign route_last_o  = route_valid_o && last_q;
`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (rst_ni) a_one_finishes : assert ($onehot0(lane_valid)) else $error("two router lanes finished together");
`endif
endmodule
