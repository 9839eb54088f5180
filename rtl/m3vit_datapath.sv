// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Everything that touches data: weight stream, linear engine, buffers, residual, and the vector units around them.
module m3vit_datapath
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 128,
    parameter int unsigned MaxHidden = 128,
    parameter int unsigned MaxTopK = 8,
    parameter int unsigned MaxBlock = 80,
    parameter int unsigned StreamWords = 512,
    parameter int unsigned LendWords = 128,
    parameter int unsigned RouterLanes = 4
) (
    input  logic      clk_i,
    input  logic      rst_ni,
    input  word_t     word_i,            ///< read stream
    input  load_e     dest_i,
    input  logic      last_i,            ///< last word of its job
    input  logic      valid_i,
    output logic      ready_o,
    input  logic      image_start_i,     ///< pulse: an image will come, for image_op_i
    input  op_t       image_op_i,
    output logic      residual_loaded_o, ///< level: the residual stream of this run has come
    input  command_t  cmd_i,
    input  logic      cmd_valid_i,
    output logic      cmd_ready_o,
    input  norm_cmd_t norm_i,
    input  logic      norm_valid_i,
    output logic      norm_taken_o,
    output logic      norm_waiting_o,    ///< the engine waits for a norm to start
    output logic      norm_busy_o,
    output logic      idle_o,            ///< no command waits, nothing is under way
    output op_index_t op_o,              ///< operation of the engine's oldest command
    input  segment_t  segment_i,
    input  logic      segment_valid_i,
    output logic      segment_ready_o,
    input  logic      lend_i,            ///< the stream may use the upper part of the key-value buffer
    input  logic      cache_i,           ///< the stream buffer is a cache of experts
    input  words_t    cache_base_i,      ///< where the next job's words go
    input  logic      seek_valid_i,
    input  words_t    seek_base_i,
    output logic      stream_job_done_o,
    input  op_t       moe_op_i,
    input  logic      moe_start_i,
    input  logic      per_token_i,
    output logic      routed_o,
    input  expert_t   expert_i,
    output logic      expert_used_o,
    output logic      queue_valid_o,
    input  logic      queue_ready_i,
    output expert_t   queue_expert_o,
    output logic      queue_bank_o,
    output token_t    queue_rows_o,
    output logic      queues_done_o,
    input  logic      store_i,
    input  words_t    store_words_i,
    output word_t     store_word_o,
    output logic      store_valid_o,
    input  logic      store_ready_i,
    output events_t   events_o           ///< compute and stalls
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  typedef logic [8*Inputs-1:0] input_word_t;

  // Read stream by destination.
  logic stream_ready, patches_ready, to_residual;
  assign to_residual = valid_i && dest_i == LoadResidual;
  always_comb begin
    unique case (dest_i)
      LoadStream: ready_o = stream_ready;
      LoadImage: ready_o = patches_ready;
      default: ready_o = 1'b1;
    endcase
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) residual_loaded_o <= 1'b0;
    else if (to_residual && last_i) residual_loaded_o <= 1'b1;
  end

  input_word_t stream_word;
  logic stream_valid, stream_take, skip_valid, skip_ready;
  logic [2:0] stream_level;
  words_t skip_words;
  logic lend_write, lend_read;
  logic [$clog2(LendWords)-1:0] lend_write_addr, lend_read_addr;
  input_word_t lend_write_data, lend_read_data;
  m3vit_stream #(
      .Groups     (Groups),
      .StreamWords(StreamWords),
      .LendWords  (LendWords)
  ) u_stream (
      .clk_i,
      .rst_ni,
      .word_i,
      .valid_i     (valid_i && dest_i == LoadStream),
      .last_i,
      .ready_o     (stream_ready),
      .word_o      (stream_word),
      .valid_o     (stream_valid),
      .level_o     (stream_level),
      .ready_i     (stream_take),
      .skip_words_i(skip_words),
      .skip_valid_i(skip_valid),
      .skip_ready_o(skip_ready),
      .cache_i,
      .load_base_i (cache_base_i),
      .seek_valid_i,
      .seek_base_i,
      .job_done_o  (stream_job_done_o),
      .lend_i,
      .lend_write_o     (lend_write),
      .lend_write_addr_o(lend_write_addr),
      .lend_write_data_o(lend_write_data),
      .lend_read_o      (lend_read),
      .lend_read_addr_o (lend_read_addr),
      .lend_read_data_i (lend_read_data)
  );

  // Image to patches.
  localparam int unsigned KvWords = (2 * MaxDim + Inputs - 1) / Inputs;
  localparam int unsigned KvAddrW = $clog2(MaxTokens * KvWords);
  op_t image_op_q;
  logic image_start_q, patches_done, patch_write;
  logic [KvAddrW-1:0] patch_addr;
  input_word_t patch_data;
  logic [Inputs/8-1:0] patch_pieces;
  always_ff @(posedge clk_i) begin
    image_start_q <= image_start_i && rst_ni;
    if (image_start_i) image_op_q <= image_op_i;
  end
  logic [15:0] patch;
  logic [31:0] pixels;  // operands that passed m3vit_op_check have no more bits
  assign patch  = 16'(image_op_q.operands[0][7:0]);
  assign pixels = 32'(image_op_q.operands[1][15:0]) * 32'(image_op_q.operands[2][23:0]);
  m3vit_patches #(
      .Groups(Groups),
      .AddrW (KvAddrW)
  ) u_patches (
      .clk_i,
      .rst_ni,
      .start_i       (image_start_q),
      .row_pieces_i  (8'(((patch << 1) + patch) >> 3)),
      .patch_rows_i  (image_op_q.operands[0][7:0]),
      .columns_i     (image_op_q.operands[3][15:0]),
      .pitch_i       (words_of(image_op_q.in_features, Groups)),
      .words_i       (words_t'(((pixels << 1) + pixels) >> 6)),
      .word_i,
      .valid_i       (valid_i && dest_i == LoadImage),
      .ready_o       (patches_ready),
      .write_valid_o (patch_write),
      .write_addr_o  (patch_addr),
      .write_data_o  (patch_data),
      .write_pieces_o(patch_pieces),
      .done_o        (patches_done)
  );

  // Linear engine.
  logic act_valid, kv_valid, norm_wait, norm_busy, norm_loaded, norm_table_valid, norm_table_ready;
  logic gelu_table_valid, gelu_table_ready, gelu_loaded;
  act_req_t act_req;
  kv_req_t kv_req;
  logic [8*UnitBytes-1:0] kv_unit;
  input_word_t act_word, buffer_word, score_word;
  token_t norm_rows;
  logic score_valid, factor_valid, factor_ready, attention_idle;
  score_tag_t score_tag;
  sum_t score_sum[Groups][Lanes];
  factor_t factor;
  logic out_valid, out_ready, engine_idle, quiet, consumer_idle;
  tag_t tag;
  value_t [Lanes-1:0] value;
  m3vit_linear_engine #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens)
  ) u_engine (
      .clk_i,
      .rst_ni,
      .cmd_i,
      .cmd_valid_i,
      .cmd_ready_o,
      .word_i         (stream_word),
      .word_valid_i   (stream_valid),
      .word_level_i   (stream_level),
      .word_ready_o   (stream_take),
      .skip_words_o   (skip_words),
      .skip_valid_o   (skip_valid),
      .skip_ready_i   (skip_ready),
      .segment_i,
      .segment_valid_i,
      .segment_ready_o,
      .gelu_valid_o   (gelu_table_valid),
      .gelu_ready_i   (gelu_table_ready),
      .gelu_loaded_i  (gelu_loaded),
      .norm_valid_o   (norm_table_valid),
      .norm_ready_i   (norm_table_ready),
      .norm_idle_i    (!norm_busy),
      .kv_req_o       (kv_req),
      .kv_req_valid_o (kv_valid),
      .kv_unit_i      (kv_unit),
      .act_valid_o    (act_valid),
      .act_req_o      (act_req),
      .act_i          (act_word),
      .norm_wait_o    (norm_wait),
      .norm_start_i   (norm_taken_o),
      .norm_rows_i    (norm_rows),
      .norm_busy_i    (norm_busy),
      .patches_ready_i(patches_done),
      .score_valid_o  (score_valid),
      .score_tag_o    (score_tag),
      .score_sum_o    (score_sum),
      .factor_i       (factor),
      .factor_valid_i (factor_valid),
      .factor_ready_o (factor_ready),
      .valid_o        (out_valid),
      .ready_i        (out_ready),
      .tag_o          (tag),
      .value_o        (value),
      .consumer_idle_i(consumer_idle),
      .idle_o         (engine_idle),
      .quiet_o        (quiet),
      .op_o,
      .compute_o      (events_o.compute),
      .stall_weight_o (events_o.stall_weight),
      .stall_input_o  (events_o.stall_input),
      .stall_output_o (events_o.stall_output)
  );

  // Where the rows come from.
  logic from_scores;
  m3vit_delay #(
      .Stages(ActLatency),
      .data_t(logic)
  ) u_source_delay (
      .clk_i,
      .data_i(act_req.source == SrcScores),
      .data_o(from_scores)
  );
  assign act_word = from_scores ? score_word : buffer_word;

  m3vit_attention #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxBlock (MaxBlock),
      .MaxTokens(MaxTokens)
  ) u_attention (
      .clk_i,
      .rst_ni,
      .score_valid_i (score_valid),
      .score_tag_i   (score_tag),
      .score_sum_i   (score_sum),
      .req_valid_i   (act_valid && act_req.source == SrcScores),
      .req_i         (act_req),
      .act_o         (score_word),
      .factor_o      (factor),
      .factor_valid_o(factor_valid),
      .factor_ready_i(factor_ready),
      .idle_o        (attention_idle)
  );

  // Where the results go. Bytes for the buffers take one cycle, as the GELU table does.
  logic bytes_valid_q, unused_gelu_valid;
  tag_t bytes_tag_q;
  logic [Lanes-1:0][7:0] bytes_q, gelu_bytes, bytes;
  granule_t bytes_place;
  logic to_x, to_h, to_kv;
  always_ff @(posedge clk_i) begin
    bytes_valid_q <= rst_ni && out_valid && tag.dest inside {DstQkv, DstAttention, DstGelu};
    bytes_tag_q   <= tag;
    for (int l = 0; l < int'(Lanes); l++) bytes_q[l] <= value[l][7:0];
  end
  m3vit_gelu #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_gelu (
      .clk_i,
      .rst_ni,
      .table_i       (stream_word),
      .table_valid_i (gelu_table_valid),
      .table_ready_o (gelu_table_ready),
      .table_loaded_o(gelu_loaded),
      .valid_i       (out_valid && tag.dest == DstGelu),
      .value_i       (value),
      .valid_o       (unused_gelu_valid),
      .value_o       (gelu_bytes)
  );
  assign bytes = bytes_tag_q.dest == DstGelu ? gelu_bytes : bytes_q;
  assign bytes_place = '{
          row: bytes_tag_q.dest_row,
          word: bytes_tag_q.word,
          sub: bytes_tag_q.sub,
          pitch: bytes_tag_q.pitch
      };
  assign to_x = bytes_valid_q && bytes_tag_q.dest == DstAttention;
  assign to_kv = bytes_valid_q && bytes_tag_q.dest == DstQkv && bytes_tag_q.keys;
  assign to_h = bytes_valid_q && !to_x && !to_kv;

  // LayerNorm.
  logic norm_read, norm_write;
  granule_t norm_source, norm_place;
  value_t [Lanes-1:0] norm_data;
  logic [Lanes-1:0][7:0] norm_bytes;
  assign norm_taken_o = norm_valid_i && norm_wait && quiet && !norm_busy && norm_loaded;
  assign norm_waiting_o = norm_valid_i && norm_wait;
  assign norm_busy_o = norm_busy;
  m3vit_layer_norm #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim)
  ) u_layer_norm (
      .clk_i,
      .rst_ni,
      .cmd_i         (norm_i),
      .start_i       (norm_taken_o),
      .table_word_i  (stream_word),
      .table_valid_i (norm_table_valid),
      .table_ready_o (norm_table_ready),
      .table_words_i (norm_i.pitch),
      .table_loaded_o(norm_loaded),
      .read_valid_o  (norm_read),
      .read_o        (norm_source),
      .read_data_i   (norm_data),
      .write_valid_o (norm_write),
      .write_o       (norm_place),
      .write_data_o  (norm_bytes),
      .rows_o        (norm_rows),
      .busy_o        (norm_busy)
  );

  // Routing.
  logic router_ready, router_idle, queue_write, queue_bank, release_queue;
  token_t queue_index;
  entry_t queue_entry;
  m3vit_routing #(
      .Lanes      (Lanes),
      .MaxTokens  (MaxTokens),
      .MaxTopK    (MaxTopK),
      .RouterLanes(RouterLanes)
  ) u_routing (
      .clk_i,
      .rst_ni,
      .op_i         (moe_op_i),
      .start_i      (moe_start_i),
      .per_token_i,
      .valid_i      (out_valid && tag.dest == DstLogits),
      .ready_o      (router_ready),
      .tag_i        (tag),
      .logits_i     (value),
      .idle_o       (router_idle),
      .routed_o,
      .expert_i,
      .expert_used_o,
      .queue_write_o(queue_write),
      .queue_bank_o (queue_bank),
      .queue_index_o(queue_index),
      .queue_entry_o(queue_entry),
      .job_valid_o  (queue_valid_o),
      .job_ready_i  (queue_ready_i),
      .job_expert_o (queue_expert_o),
      .job_bank_o   (queue_bank_o),
      .job_rows_o   (queue_rows_o),
      .release_i    (release_queue),
      .done_o       (queues_done_o)
  );
  assign release_queue = out_valid && tag.dest == DstCombine && tag.last;

  m3vit_buffers #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .LendWords(LendWords)
  ) u_buffers (
      .clk_i,
      .x_write_i     (norm_write || to_x),
      .x_place_i     (norm_write ? norm_place : bytes_place),
      .x_data_i      (norm_write ? norm_bytes : bytes),
      .h_write_i     (to_h),
      .h_place_i     (bytes_place),
      .h_data_i      (bytes),
      .kv_write_i    (to_kv),
      .kv_place_i    (bytes_place),
      .kv_data_i     (bytes),
      .patch_write_i (patch_write),
      .patch_addr_i  (patch_addr),
      .patch_data_i  (patch_data),
      .patch_pieces_i(patch_pieces),
      .queue_write_i (queue_write),
      .queue_bank_i  (queue_bank),
      .queue_index_i (queue_index),
      .queue_entry_i (queue_entry),
      .req_valid_i   (act_valid),
      .req_i         (act_req),
      .act_o         (buffer_word),
      .kv_valid_i    (kv_valid),
      .kv_req_i      (kv_req),
      .kv_unit_o     (kv_unit),
      .lend_i,
      .lend_write_i     (lend_write),
      .lend_write_addr_i(lend_write_addr),
      .lend_write_data_i(lend_write_data),
      .lend_read_i      (lend_read),
      .lend_read_addr_i (lend_read_addr),
      .lend_read_data_o (lend_read_data)
  );

  logic residual_busy;
  m3vit_residual #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim)
  ) u_residual (
      .clk_i,
      .rst_ni,
      .load_valid_i     (to_residual),
      .load_word_i      (word_i),
      .queue_write_i    (queue_write),
      .queue_bank_i     (queue_bank),
      .queue_index_i    (queue_index),
      .queue_entry_i    (queue_entry),
      .valid_i          (out_valid && tag.dest inside {DstCombine, DstResidual, DstOutput}),
      .tag_i            (tag),
      .value_i          (value),
      .busy_o           (residual_busy),
      .norm_read_valid_i(norm_read),
      .norm_read_i      (norm_source),
      .norm_data_o      (norm_data),
      .store_i,
      .store_words_i,
      .store_word_o,
      .store_valid_o,
      .store_ready_i
  );

  assign out_ready = tag.dest != DstLogits || router_ready;
  assign consumer_idle = router_idle && !bytes_valid_q && !residual_busy && attention_idle;
  assign idle_o = engine_idle && quiet && !norm_busy && skip_ready;  // no word that nobody needs is on its way
  assign events_o.read_word = 1'b0;
  assign events_o.write_word = 1'b0;
  assign events_o.expert = queue_valid_o && queue_ready_i;
  assign events_o.load = 1'b0;
`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (rst_ni) a_one_writer : assert (!(norm_write && to_x)) else $error("norm and attention write x together");
`endif
endmodule
