// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The MoE layer: router, exact top-k, token queues, expert passes on the linear engine with the weights streaming
/// ahead, weighted combination into the residual. On-chip storage does not depend on the number of experts.
/// Golden: sim/golden/moe.py moe.
module m3vit_moe
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 64,
    parameter int unsigned MaxHidden = 256,
    parameter int unsigned MaxTopK = 8,
    parameter int unsigned WeightFifoWords = 512,
    parameter int unsigned RouterLanes = 4
) (
    input  logic      clk_i,
    input  logic      rst_ni,
    input  logic      start_i,
    input  op_t       op_i,           ///< checked operation, stable until done_o
    input  addr_t     source_i,
    output logic      done_o,
    output read_job_t job_o,          ///< DRAM reads
    output logic      job_valid_o,
    input  logic      job_ready_i,
    input  word_t     word_i,         ///< their words
    input  load_e     dest_i,
    input  logic      valid_i,
    output logic      ready_o,
    output logic      store_start_o,  ///< result to the write DMA
    output words_t    store_words_o,
    output word_t     store_word_o,
    output logic      store_valid_o,
    input  logic      store_ready_i,
    input  logic      stored_i,
    output events_t   events_o        ///< read_word and write_word are zero
);
  localparam int unsigned TableAddrW = $clog2(MaxTokens);
  localparam int unsigned RouteBits = MaxTopK * $bits(candidate_t) + $bits(exp_sum_t);
  localparam int unsigned TokenAddrW = $clog2(MaxTokens * MaxDim / WordBytes);

  // The read stream by destination.
  logic weights_ready, table_ready, to_tokens, to_residual;
  always_comb begin
    unique case (dest_i)
      LoadWeights: ready_o = weights_ready;
      LoadTable: ready_o = table_ready;
      default: ready_o = 1'b1;
    endcase
  end
  assign to_tokens   = valid_i && dest_i == LoadTokens;
  assign to_residual = valid_i && dest_i == LoadResidual;

  logic [TokenAddrW-1:0] token_addr_q;
  logic [7:0] token_chunk_q;
  token_t rows_loaded_q;
  logic row_complete;
  assign row_complete = token_chunk_q == 8'(op_i.in_features / 16'(WordBytes)) - 1'b1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      token_addr_q  <= '0;
      token_chunk_q <= '0;
      rows_loaded_q <= '0;
    end else if (to_tokens) begin
      token_addr_q  <= token_addr_q + 1'b1;
      token_chunk_q <= row_complete ? '0 : token_chunk_q + 1'b1;
      rows_loaded_q <= rows_loaded_q + token_t'(row_complete);
    end
  end

  word_t weight;
  logic weight_valid, weight_ready;
  logic [2:0] weight_level;
  m3vit_ram_fifo #(
      .Width(8 * WordBytes),
      .Depth(WeightFifoWords),
      .Style("ultra")
  ) u_weights (
      .clk_i,
      .rst_ni,
      .data_i (word_i),
      .valid_i(valid_i && dest_i == LoadWeights),
      .ready_o(weights_ready),
      .data_o (weight),
      .valid_o(weight_valid),
      .ready_i(weight_ready),
      .level_o(weight_level)
  );

  // Linear engine.
  command_t cmd;
  act_req_t act_req;
  word_t act_word;
  tag_t tag;
  value_t [Lanes-1:0] value;
  logic cmd_valid, cmd_ready, act_valid, out_valid, out_ready, engine_idle, consumer_idle;
  m3vit_linear_engine #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens)
  ) u_engine (
      .clk_i,
      .rst_ni,
      .cmd_i          (cmd),
      .cmd_valid_i    (cmd_valid),
      .cmd_ready_o    (cmd_ready),
      .weight_i       (weight),
      .weight_valid_i (weight_valid),
      .weight_ready_o (weight_ready),
      .weight_level_i (weight_level),
      .rows_loaded_i  (rows_loaded_q),
      .act_valid_o    (act_valid),
      .act_req_o      (act_req),
      .act_i          (act_word),
      .valid_o        (out_valid),
      .ready_i        (out_ready),
      .tag_o          (tag),
      .value_o        (value),
      .consumer_idle_i(consumer_idle),
      .idle_o         (engine_idle),
      .compute_o      (events_o.compute),
      .stall_weight_o (events_o.stall_weight),
      .stall_input_o  (events_o.stall_input),
      .stall_output_o (events_o.stall_output)
  );

  // Router and queues.
  logic router_ready, router_idle, router_reads, builder_asks, route_valid, route_last, queue_write, queue_bank;
  logic [TableAddrW-1:0] router_addr, builder_addr;
  logic [RouteBits-1:0] route_data;
  token_t route_token, queue_index, job_rows;
  candidate_t [MaxTopK-1:0] route_list;
  exp_sum_t route_sum;
  entry_t queue_entry;
  logic load_valid, load_ready, job_valid, job_ready, job_bank, release_bank, queues_done;
  expert_t load_expert, unused_job_expert;
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
      .valid_i      (out_valid && tag.dest == DstLogits),
      .ready_o      (router_ready),
      .token_i      (tag.row),
      .tile_i       (tag.m_tile),
      .logits_i     (value),
      .idle_o       (router_idle),
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
  ) u_route_table (
      .clk_i,
      .write_i     (route_valid),
      .write_addr_i(route_token[TableAddrW-1:0]),
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
      .top_k_i      (op_i.top_k[4:0]),
      .rows_i       (token_t'(op_i.rows)),
      .start_i,
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
      .job_expert_o (unused_job_expert),
      .job_bank_o   (job_bank),
      .job_rows_o   (job_rows),
      .release_i    (release_bank),
      .done_o       (queues_done)
  );

  // GELU into the hidden buffer.
  logic gelu_valid, gelu_ready;
  logic [Lanes-1:0][7:0] hidden;
  tag_t hidden_tag_q;
  always_ff @(posedge clk_i) hidden_tag_q <= tag;
  m3vit_gelu #(
      .Lanes(Lanes)
  ) u_gelu (
      .clk_i,
      .rst_ni,
      .table_i      (word_i),
      .table_valid_i(valid_i && dest_i == LoadTable),
      .table_ready_o(table_ready),
      .new_table_i  (start_i),
      .ready_o      (gelu_ready),
      .valid_i      (out_valid && out_ready && tag.dest == DstGelu),
      .value_i      (value),
      .valid_o      (gelu_valid),
      .value_o      (hidden)
  );
  m3vit_activations #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden)
  ) u_activations (
      .clk_i,
      .token_write_i (to_tokens),
      .token_addr_i  (token_addr_q),
      .token_word_i  (word_i),
      .queue_write_i (queue_write),
      .queue_bank_i  (queue_bank),
      .queue_index_i (queue_index),
      .queue_entry_i (queue_entry),
      .hidden_write_i(gelu_valid),
      .hidden_row_i  (hidden_tag_q.row),
      .hidden_tile_i (hidden_tag_q.m_tile),
      .hidden_pitch_i(8'(op_i.out_features / 16'(WordBytes))),
      .hidden_i      (hidden),
      .valid_i       (act_valid),
      .req_i         (act_req),
      .word_o        (act_word)
  );

  // Combination into the residual.
  logic store, combine_busy;
  m3vit_combine #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim)
  ) u_combine (
      .clk_i,
      .rst_ni,
      .pitch_i      (8'(op_i.in_features / 16'(WordBytes))),
      .load_valid_i (to_residual),
      .load_word_i  (word_i),
      .queue_write_i(queue_write),
      .queue_bank_i (queue_bank),
      .queue_index_i(queue_index),
      .queue_entry_i(queue_entry),
      .valid_i      (out_valid && tag.dest == DstCombine),
      .tag_i        (tag),
      .value_i      (value),
      .busy_o       (combine_busy),
      .store_i      (store),
      .store_words_i(store_words_o),
      .store_word_o,
      .store_valid_o,
      .store_ready_i
  );

  always_comb begin
    unique case (tag.dest)
      DstLogits: out_ready = router_ready;
      DstGelu: out_ready = gelu_ready;
      default: out_ready = 1'b1;
    endcase
  end
  assign consumer_idle = router_idle && !gelu_valid && !combine_busy;
  assign release_bank = out_valid && tag.dest == DstCombine && tag.last;
  assign events_o.read_word = 1'b0;
  assign events_o.write_word = 1'b0;
  assign events_o.expert = job_valid && job_ready;

  m3vit_moe_control #(
      .Lanes(Lanes)
  ) u_control (
      .clk_i,
      .rst_ni,
      .start_i,
      .op_i,
      .source_i,
      .done_o,
      .job_o,
      .job_valid_o,
      .job_ready_i,
      .cmd_o          (cmd),
      .cmd_valid_o    (cmd_valid),
      .cmd_ready_i    (cmd_ready),
      .load_valid_i   (load_valid),
      .load_ready_o   (load_ready),
      .load_expert_i  (load_expert),
      .queue_valid_i  (job_valid),
      .queue_ready_o  (job_ready),
      .queue_bank_i   (job_bank),
      .queue_rows_i   (job_rows),
      .queues_done_i  (queues_done),
      .quiet_i        (engine_idle && consumer_idle),
      .store_o        (store),
      .store_start_o,
      .store_words_o,
      .stored_i
  );
endmodule
