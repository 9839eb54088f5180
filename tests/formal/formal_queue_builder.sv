// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_queue_builder: each pair of a token and one of its experts gets into that expert's queue exactly once, and
/// nothing else does; tokens and experts come in ascending order; a queue in use is not written. By induction, for any
/// route table, any number of experts and any stalls, with up to MaxTokens tokens. token_i and expert_i are any pair.
module formal_queue_builder
  import m3vit_pkg::*;
#(
    parameter int unsigned MaxTokens = 6,
    parameter int unsigned MaxTopK = 2
) (
    input logic clk_i,
    input logic route_valid_i,
    input candidate_t [MaxTopK-1:0] list_i,
    input logic table_ready_i,
    input logic [MaxTopK*$bits(candidate_t)-1:0] other_i,  ///< what somebody else reads from the table
    input logic job_ready_i,
    input logic release_i,
    input token_t rows_i,
    input logic [4:0] top_k_i,
    input token_t token_i,
    input expert_t expert_i
);
  localparam int unsigned AddrW = $clog2(MaxTokens);
  localparam int unsigned Pipeline = 24;  // cycles of reset, as long as the longest pipeline
  localparam int unsigned Stages = 18;  // of the delay line of hits
  typedef candidate_t [MaxTopK-1:0] list_t;

  logic [5:0] reset_q = 6'd0;
  logic started, begun_q, rst_n;
  assign started = reset_q == 6'(Pipeline);
  assign rst_n   = started;

  // Router and route table.
  list_t table_q[MaxTokens], data_q;
  token_t routed_q;
  logic table_read;
  logic [AddrW-1:0] table_addr;

  logic routed, write, bank, job_valid, job_bank, done;
  token_t index, job_rows;
  entry_t entry;
  expert_t job_expert;
  m3vit_queue_builder #(
      .MaxTokens(MaxTokens),
      .MaxTopK  (MaxTopK)
  ) dut (
      .clk_i,
      .rst_ni       (rst_n),
      .route_valid_i(route_valid_i),
      .route_list_i (list_i),
      .top_k_i,
      .rows_i,
      .start_i      (started && !begun_q),
      .per_token_i  (1'b0),
      .routed_o     (routed),
      .table_read_o (table_read),
      .table_ready_i,
      .table_addr_o (table_addr),
      .table_data_i ({data_q, exp_sum_t'(0)}),
      .queue_write_o(write),
      .queue_bank_o (bank),
      .queue_index_o(index),
      .queue_entry_o(entry),
      .job_valid_o  (job_valid),
      .job_ready_i,
      .job_expert_o (job_expert),
      .job_bank_o   (job_bank),
      .job_rows_o   (job_rows),
      .release_i,
      .done_o       (done)
  );

  /// The list names the expert.
  function automatic logic names(list_t list, logic [10:0] expert, logic [4:0] top_k);
    names = 1'b0;
    for (int i = 0; i < int'(MaxTopK); i++)
    if (5'(i) < top_k && list[i].valid && 11'(list[i].expert) == expert) names = 1'b1;
  endfunction

  // What the queues hold.
  logic taken, jobs_q, bank_q;
  logic [2:0] found_q, hits_q;  // writes of token_i in the present queue; in the queues of expert_i
  logic [1:0] in_use_q;
  token_t written_q, last_token_q, token_was_q, rows_was_q;
  expert_t last_expert_q, expert_was_q;
  logic [4:0] top_k_was_q;
  assign taken = job_valid && job_ready_i;
  always_ff @(posedge clk_i) begin
    if (!started) reset_q <= reset_q + 1'b1;
    token_was_q <= token_i;
    expert_was_q <= expert_i;
    rows_was_q <= rows_i;
    top_k_was_q <= top_k_i;
    data_q <= table_read && table_ready_i ? table_q[table_addr] : other_i;
    if (!rst_n) begin
      begun_q <= 1'b0;
      routed_q <= '0;
      jobs_q <= 1'b0;
      bank_q <= 1'b0;
      found_q <= '0;
      hits_q <= '0;
      in_use_q <= '0;
      written_q <= '0;
    end else begin
      begun_q <= 1'b1;
      if (route_valid_i) begin
        table_q[routed_q[AddrW-1:0]] <= list_i;
        routed_q <= routed_q + 1'b1;
      end
      if (write) begin
        written_q <= written_q + 1'b1;
        last_token_q <= entry.token;
        if (entry.token == token_i) found_q <= found_q + 1'b1;
      end
      if (taken) begin
        written_q <= '0;
        found_q <= '0;
        jobs_q <= 1'b1;
        bank_q <= !bank_q;
        last_expert_q <= job_expert;
        if (job_expert == expert_i) hits_q <= hits_q + found_q;
      end
      in_use_q <= in_use_q + 2'(taken) - 2'(release_i);
    end
  end

  // For the invariants: the pair is in the table; the scan has passed its token; how often it is on the way.
  logic idle, announce, waiting, scan, drain, job, has, has_now, passed, ordered, drains, flushed;
  logic [5:0] inflight;
  logic [Stages-1:0] hit;
  token_t hit_token[Stages];
  always_comb begin
    idle = dut.state_q == 0;
    announce = dut.state_q == 3;
    waiting = dut.state_q == 4;
    scan = dut.state_q == 5;
    drain = dut.state_q == 6;
    job = dut.state_q == 7;
    has = token_i < routed_q && names(table_q[token_i[AddrW-1:0]], 11'(expert_i), top_k_i);
    has_now = token_i < routed_q && names(table_q[token_i[AddrW-1:0]], dut.current_q, top_k_i);
    passed = scan ? dut.row_q > token_i : drain || job;
    inflight = 6'(dut.read_q && dut.row_qq == token_i && dut.match) + 6'(dut.match_q && dut.token_q == token_i);
    drains = (!dut.read_q || scan || (drain && dut.drain_q == 5'(Stages + 2)))
        && (!dut.match_q || scan || (drain && dut.drain_q >= 5'(Stages + 1)));
    flushed = reset_q == '0 || started || (!dut.match_q && dut.done_o);
    ordered = 1'b1;
    for (int i = 0; i < int'(Stages); i++) begin
      hit[i] = dut.u_hit_delay.gen_stages.stage_q[i].valid;
      hit_token[i] = dut.u_hit_delay.gen_stages.stage_q[i].token;
      if (hit[i]) begin
        inflight += 6'(hit_token[i] == token_i);
        if (!(scan || (drain && dut.drain_q >= 5'(Stages - i)))) drains = 1'b0;
        if (reset_q >= 6'(i + 2) && !started) flushed = 1'b0;
        if (dut.read_q && hit_token[i] >= dut.row_qq) ordered = 1'b0;
        if (dut.match_q && hit_token[i] >= dut.token_q) ordered = 1'b0;
        if (scan && hit_token[i] >= dut.row_q) ordered = 1'b0;
        if (hit_token[i] >= rows_i) ordered = 1'b0;
        if (written_q != '0 && hit_token[i] <= last_token_q) ordered = 1'b0;
        for (int j = 0; j < i; j++) if (hit[j] && hit_token[j] <= hit_token[i]) ordered = 1'b0;
      end
    end
    if (dut.match_q && (dut.token_q >= rows_i || (written_q != '0 && dut.token_q <= last_token_q))) ordered = 1'b0;
    if (dut.match_q && ((scan && dut.token_q >= dut.row_q) || (dut.read_q && dut.token_q >= dut.row_qq)))
      ordered = 1'b0;
    if (dut.read_q && (dut.row_qq >= rows_i || dut.row_q != dut.row_qq + 1'b1)) ordered = 1'b0;
    if (dut.read_q && written_q != '0 && dut.row_qq <= last_token_q) ordered = 1'b0;
    if (scan && written_q != '0 && dut.row_q <= last_token_q) ordered = 1'b0;

    if (reset_q != '0) begin
      assume (token_i == token_was_q && expert_i == expert_was_q);
      assume (rows_i == rows_was_q && top_k_i == top_k_was_q);
    end
    assume (rows_i >= 13'd1 && rows_i <= 13'(MaxTokens) && token_i < rows_i && top_k_i <= 5'(MaxTopK));
    if (route_valid_i) assume (started && begun_q && routed_q < rows_i);
    if (release_i) assume (started && in_use_q != '0);

    if (started && begun_q) begin
      if (write) begin
        a_place : assert (index == written_q && bank == bank_q);
        a_free : assert (in_use_q < 2'd2);
        a_row : assert (entry.token < rows_i);
        if (written_q != '0) a_ascending : assert (entry.token > last_token_q);
      end
      if (job_valid) begin
        a_job : assert (job_rows == written_q && job_bank == bank_q);
        a_members : assert (found_q == 3'(has_now));
        if (jobs_q) a_experts_ascend : assert (job_expert > last_expert_q);
      end
      a_once : assert (hits_q <= 3'd1);
      if (done) a_all : assert (hits_q == 3'(has) && routed);
      // Invariants for the induction.
      i_state : assert (idle || announce || waiting || scan || drain || job);
      i_routed : assert (dut.routed_q == routed_q && routed_q <= rows_i);
      i_banks : assert (dut.banks_used_q == in_use_q && in_use_q <= 2'd2 && dut.bank_q == bank_q);
      i_free : assert (in_use_q < 2'd2 || !(scan || drain || job));
      i_done : assert (!done || idle);
      i_all_routed : assert (routed || done == 1'b0 && (idle || (dut.current_q == '0 && !drain && !job)));
      i_row : assert (!scan || dut.row_q < rows_i);
      i_row_start : assert (!(idle || announce || waiting || job) || dut.row_q == '0 || job || announce || waiting);
      i_data : assert (!dut.read_q || (data_q == table_q[dut.row_qq[AddrW-1:0]] && dut.row_qq < routed_q));
      i_row_routed : assert (!scan || dut.row_q <= routed_q);
      i_drain : assert (drains && (drain ? dut.drain_q <= 5'(Stages + 2)
          : dut.drain_q == 5'(Stages + 2) || (job && dut.drain_q == '1)));
      i_ordered : assert (ordered);
      i_written : assert (scan || drain || job ? dut.count_q == written_q : written_q == '0 && found_q == '0);
      i_found : assert (6'(found_q) + inflight == 6'(passed && has_now));
      i_hits : assert (hits_q == 3'(idle ? done && has : has && 11'(expert_i) < dut.current_q));
      i_lowest : assert (!has || done || dut.lowest_q <= 11'(expert_i));
      i_next : assert (!(scan || drain || job) || dut.next_q > dut.current_q);
      i_not_missed : assert (!passed || !has || 11'(expert_i) <= dut.current_q || dut.next_q <= 11'(expert_i)
          || (dut.read_q && dut.row_qq == token_i));
      i_expert : assert (idle || announce || !dut.current_q[10]);
      i_none : assert (dut.current_q <= 11'd1024 && dut.next_q <= 11'd1024 && dut.lowest_q <= 11'd1024);
      i_last_expert : assert (!jobs_q || 11'(last_expert_q) < dut.current_q || idle);
      i_first : assert (!idle || done || !jobs_q);
      i_job : assert (!job || (inflight == '0 && !dut.read_q && !dut.match_q));
    end else begin
      i_reset : assert (flushed);
      if (started) i_clear : assert (idle && hit == '0 && !dut.match_q && !dut.read_q && dut.routed_q == '0
          && routed_q == '0 && dut.banks_used_q == '0 && in_use_q == '0 && dut.bank_q == bank_q && hits_q == '0
          && found_q == '0 && written_q == '0 && !jobs_q);
    end
  end
endmodule
