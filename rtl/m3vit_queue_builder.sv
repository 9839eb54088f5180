// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Turns the route table into the token queues of the experts that have tokens, one expert after the other, in
/// ascending order, without any storage per expert: a scan of the table collects the tokens of the current expert, in
/// ascending order, with their gates, and finds the next higher expert that has tokens. The scan of one expert hides
/// behind the computation of the one before. Golden: sim/golden/moe.py token_queues and the quotients of gates.
/// Expert 0 cannot be undercut: once it has a token, its scan follows the router row by row; otherwise the first scan
/// starts when all tokens are routed. A scan takes rows + 22 cycles. With per_token_i the queues hold one token each:
/// all experts of token 0, then those of token 1, and so on (the baseline without reordering).
module m3vit_queue_builder
  import m3vit_pkg::*;
#(
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxTopK = 4,
    localparam int unsigned AddrW = $clog2(MaxTokens),
    localparam int unsigned RouteBits = MaxTopK * $bits(candidate_t) + $bits(exp_sum_t)
) (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  logic                         route_valid_i,   ///< the next token is routed, in ascending order
    input  candidate_t   [  MaxTopK-1:0] route_list_i,
    input  logic         [          4:0] top_k_i,
    input  token_t                       rows_i,
    input  logic                         start_i,         ///< a new layer begins
    input  logic                         per_token_i,     ///< stable while a layer is under way
    output logic                         routed_o,        ///< all tokens of the layer are routed
    output logic                         table_read_o,
    input  logic                         table_ready_i,   ///< the read is granted
    output logic         [    AddrW-1:0] table_addr_o,
    input  logic         [RouteBits-1:0] table_data_i,
    output logic                         queue_write_o,
    output logic                         queue_bank_o,
    output token_t                       queue_index_o,
    output entry_t                       queue_entry_o,
    output logic                         job_valid_o,     ///< the queue is complete
    input  logic                         job_ready_i,
    output expert_t                      job_expert_o,
    output logic                         job_bank_o,
    output token_t                       job_rows_o,
    input  logic                         release_i,       ///< the oldest queue is no longer needed
    output logic                         done_o           ///< no further expert; level until the next start
);
  typedef struct packed {
    candidate_t [MaxTopK-1:0] list;
    exp_sum_t sum;
  } route_t;
  typedef logic [$bits(expert_t):0] wide_expert_t;  // the top bit means none
  localparam wide_expert_t None = {1'b1, {$bits(expert_t){1'b0}}};
  localparam int unsigned GateLatency = 2 + 16;  // exponential and division

  typedef enum logic [2:0] {
    Idle,
    Find,
    Found,
    Announce,
    WaitBank,
    Scan,
    Drain,
    Job
  } state_e;

  typedef struct packed {
    logic valid;
    token_t token;
  } hit_t;

  state_e state_q, state_d;
  wide_expert_t current_q, next_q, lowest_q;
  token_t row_q, count_q, routed_q, token_first_q, row_last;
  logic begin_scans, granted, last_token;
  logic [4:0] drain_q;
  logic bank_q;
  logic [1:0] banks_used_q;
  logic read_q, taken;
  token_t row_qq;
  route_t route;
  assign route = route_t'(table_data_i);

  /// Lowest expert of a list at or above `from`.
  function automatic wide_expert_t lowest(candidate_t [MaxTopK-1:0] list, wide_expert_t from);
    automatic wide_expert_t best = None;
    for (int i = 0; i < int'(MaxTopK); i++) begin
      automatic wide_expert_t expert = wide_expert_t'(list[i].expert);
      if (5'(i) < top_k_i && list[i].valid && expert >= from && expert < best) best = expert;
    end
    return best;
  endfunction

  // Read, then match, then exponential and division.
  logic match, match_q;
  value_t logit, logit_q;
  exp_sum_t sum_q, sum_late;
  token_t token_q;
  wide_expert_t row_next;
  always_comb begin
    match = 1'b0;
    logit = '0;
    for (int i = 0; i < int'(MaxTopK); i++)
      if (5'(i) < top_k_i && route.list[i].valid && wide_expert_t'(route.list[i].expert) == current_q) begin
        match = read_q;
        logit |= route.list[i].logit;
      end
    row_next = lowest(route.list, current_q + 1'b1);
  end

  exp_t exp_value;
  hit_t hit_now, hit_late;
  assign hit_now = '{valid: match_q, token: token_q};
  m3vit_exp2 u_exp2 (
      .clk_i,
      .logit_i(logit_q),
      .exp_o  (exp_value)
  );
  m3vit_delay #(
      .Stages(2),
      .data_t(exp_sum_t)
  ) u_sum_delay (
      .clk_i,
      .data_i(sum_q),
      .data_o(sum_late)
  );
  m3vit_divider u_divider (
      .clk_i,
      .numerator_i  (exp_value),
      .denominator_i(sum_late),
      .quotient_o   (queue_entry_o.gate)
  );
  m3vit_delay #(
      .Stages(GateLatency),
      .data_t(hit_t)
  ) u_hit_delay (
      .clk_i,
      .data_i(hit_now),
      .data_o(hit_late)
  );
  assign queue_write_o = hit_late.valid;
  assign queue_entry_o.token = hit_late.token;
  assign queue_index_o = count_q;
  assign queue_bank_o = bank_q;

  assign table_read_o = (state_q == Scan && row_q < routed_q) || state_q == Find;
  assign granted = table_read_o && table_ready_i;
  assign routed_o = routed_q == rows_i;
  assign begin_scans = !done_o && routed_q != '0 && ((lowest_q == '0 && !per_token_i) || routed_o);
  assign row_last = per_token_i ? token_first_q : rows_i - 1'b1;
  assign last_token = !per_token_i || token_first_q == rows_i - 1'b1;
  assign table_addr_o = state_q == Find ? token_first_q[AddrW-1:0] : row_q[AddrW-1:0];
  assign job_valid_o = state_q == Job;
  assign job_expert_o = expert_t'(current_q);
  assign job_bank_o = bank_q;
  assign job_rows_o = count_q;
  assign taken = job_valid_o && job_ready_i;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (begin_scans) state_d = per_token_i ? Find : Announce;
      Find: if (table_ready_i) state_d = Found;
      Found: state_d = Announce;
      Announce:
      if (!current_q[$bits(expert_t)]) state_d = WaitBank;
      else state_d = last_token ? Idle : Find;
      WaitBank: if (banks_used_q != 2'd2) state_d = Scan;
      Scan: if (granted && row_q == row_last) state_d = Drain;
      Drain: if (drain_q == '0) state_d = Job;
      Job: if (job_ready_i) state_d = Announce;
      default: state_d = Idle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    read_q   <= granted && state_q == Scan;
    row_qq   <= row_q;
    logit_q  <= logit;
    sum_q    <= route.sum;
    token_q  <= row_qq;
    row_q    <= state_q == Scan ? row_q + token_t'(granted) : per_token_i ? token_first_q : '0;
    drain_q  <= state_q == Drain ? drain_q - 1'b1 : 5'(GateLatency + 2);
    if (!rst_ni) begin
      state_q <= Idle;
      done_o <= 1'b1;
      routed_q <= '0;
      match_q <= 1'b0;
      bank_q <= 1'b0;
      banks_used_q <= '0;
      count_q <= '0;
      lowest_q <= None;
      current_q <= None;
      next_q <= None;
      token_first_q <= '0;
    end else begin
      state_q <= state_d;
      match_q <= match;
      banks_used_q <= banks_used_q + 2'(taken) - 2'(release_i);
      if (queue_write_o) count_q <= count_q + 1'b1;
      if (read_q && row_next < next_q) next_q <= row_next;
      if (route_valid_i && lowest(route_list_i, '0) < lowest_q) lowest_q <= lowest(route_list_i, '0);
      if (route_valid_i) routed_q <= routed_q + 1'b1;
      if (start_i) begin
        routed_q <= '0;
        lowest_q <= None;
        done_o <= 1'b0;
      end
      if (state_q == Idle) begin
        current_q <= lowest_q;
        token_first_q <= '0;
      end
      if (state_q == Found) current_q <= lowest(route.list, '0);
      if (state_q == Announce && state_d == Find) token_first_q <= token_first_q + 1'b1;
      if (state_q == WaitBank) begin
        next_q  <= None;
        count_q <= '0;
      end
      if (taken) begin
        current_q <= next_q;
        bank_q <= !bank_q;
      end
      if (state_q == Announce && state_d == Idle) done_o <= 1'b1;
    end
  end
endmodule
