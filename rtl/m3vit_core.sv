// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The accelerator without its pin names: registers, control, DMAs, data path. One clock, synchronous reset.
module m3vit_core
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
    parameter int unsigned RouterLanes = 4,
    parameter int unsigned Ports = 4
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  register_t                  awaddr_i,   ///< AXI4-Lite
    input  logic                       awvalid_i,
    output logic                       awready_o,
    input  logic                [31:0] wdata_i,
    input  logic                [ 3:0] wstrb_i,
    input  logic                       wvalid_i,
    output logic                       wready_o,
    output logic                       bvalid_o,
    input  logic                       bready_i,
    input  register_t                  araddr_i,
    input  logic                       arvalid_i,
    output logic                       arready_o,
    output logic                [31:0] rdata_o,
    output logic                       rvalid_o,
    input  logic                       rready_i,
    output axi_read_req_t  [MaxPorts-1:0] read_o,     ///< AXI4
    input  axi_read_rsp_t  [MaxPorts-1:0] read_i,
    output axi_write_req_t [MaxPorts-1:0] write_o,
    input  axi_write_rsp_t [MaxPorts-1:0] write_i,
    output logic                       irq_o
);
  run_t run;
  error_e error_code, program_error;
  logic start, busy, done, failed, ready, flush, clear, core_rst_n, run_start, run_done;
  logic read_error, write_error, address_error, read_idle, write_idle, progress;

  // Every run begins with a cleared core; after an error it and the DMAs are cleared when AXI is quiet.
  initial core_rst_n = 1'b0;  // in reset from configuration on
  always_ff @(posedge clk_i) core_rst_n <= rst_ni && !clear && !start;

  // Registers and counters.
  op_index_t loader_index, counter_op, op_now, norm_op_q, norm_op, engine_op, executor_index, read_op;
  counters_t counters;
  events_t events, data_events;
  logic op_begin, norm_waiting, norm_busy, storing, load;
  m3vit_regs #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .MaxTopK  (MaxTopK),
      .MaxBlock (MaxBlock)
  ) u_regs (
      .clk_i,
      .rst_ni,
      .awaddr_i,
      .awvalid_i,
      .awready_o,
      .wdata_i,
      .wstrb_i,
      .wvalid_i,
      .wready_o,
      .bvalid_o,
      .bready_i,
      .araddr_i,
      .arvalid_i,
      .arready_o,
      .rdata_o,
      .rvalid_o,
      .rready_i,
      .run_o       (run),
      .start_o     (start),
      .busy_i      (busy),
      .done_i      (done),
      .error_i     (failed),
      .error_code_i(error_code),
      .ready_i     (ready),
      .op_begin_i  (op_begin),
      .counter_op_o(counter_op),
      .counters_i  (counters),
      .irq_o
  );
  m3vit_counters u_counters (
      .clk_i,
      .rst_ni,
      .start_i    (start),
      .running_i  (busy),
      .op_i       (op_now),
      .events_i   (events),
      .word_op_i  (read_op),
      .load_op_i  (loader_index),
      .read_op_i  (counter_op),
      .read_o     (counters)
  );

  // Program and its two readers.
  op_t loader_op, image_op, executor_op, op;
  logic program_complete, executor_active, lend;
  logic fetch_valid, fetch_ready, load_valid, load_ready, asked_valid, asked_ready, checked_valid, checked_ready;
  read_job_t fetch_job, load_job, asked_job, checked_job;
  word_t read_word;
  load_e read_dest;
  logic read_last, read_valid, read_ready, data_ready;
  m3vit_sequencer u_sequencer (
      .clk_i,
      .rst_ni,
      .start_i           (start),
      .run_i             (run),
      .busy_o            (busy),
      .done_o            (done),
      .error_o           (failed),
      .error_code_o      (error_code),
      .ready_o           (ready),
      .job_o             (fetch_job),
      .job_valid_o       (fetch_valid),
      .job_ready_i       (fetch_ready),
      .program_complete_i(program_complete),
      .program_error_i   (program_error),
      .run_start_o       (run_start),
      .run_done_i        (run_done),
      .progress_i        (progress),
      .address_error_i   (address_error),
      .read_error_i      (read_error),
      .write_error_i     (write_error),
      .axi_idle_i        (read_idle && write_idle),
      .flush_o           (flush),
      .clear_o           (clear)
  );
  m3vit_program #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .MaxTopK  (MaxTopK),
      .MaxBlock (MaxBlock),
      .LendWords(LendWords)
  ) u_program (
      .clk_i,
      .rst_ni       (core_rst_n),
      .count_i      (run.program_ops),
      .word_i       (read_word),
      .word_valid_i (read_valid && read_dest == LoadOp),
      .complete_o   (program_complete),
      .error_o      (program_error),
      .lend_o       (lend),
      .loader_i     (loader_index),
      .loader_op_o  (loader_op),
      .executor_i   (executor_index),
      .executor_op_o(executor_op)
  );

  logic per_token, routed, expert_used, segment_valid, segment_ready, list_valid, list_ready;
  logic demand_valid, demand_ready, cache_load_valid, cache_load_ready, stream_job_done, seek_valid, moe_start;
  expert_t expert, demand_expert, queue_expert;
  segment_t segment, listed;
  words_t expert_words, cache_base, seek_base, store_words;
  assign per_token = (run.mode & 4'(ModeTokenOrder)) != '0;
  m3vit_loader #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_loader (
      .clk_i,
      .rst_ni          (core_rst_n),
      .start_i         (run_start),
      .wait_i          ((run.mode & 4'(ModeNoPrefetch | ModeTokenOrder)) != '0),
      .on_demand_i     (per_token),
      .demand_valid_i  (cache_load_valid),
      .demand_expert_i (demand_expert),
      .demand_ready_o  (cache_load_ready),
      .source_i        (run.source),
      .index_o         (loader_index),
      .op_i            (loader_op),
      .op_o            (image_op),
      .executor_i      (executor_index),
      .executor_valid_i(executor_active),
      .routed_i        (routed),
      .expert_o        (expert),
      .expert_used_i   (expert_used),
      .segment_o       (segment),
      .segment_valid_o (segment_valid),
      .segment_ready_i (segment_ready),
      .job_o           (load_job),
      .job_valid_o     (load_valid),
      .job_ready_i     (load_ready),
      .load_o          (load)
  );
  m3vit_fifo #(
      .Depth (16),
      .data_t(segment_t)
  ) u_segments (
      .clk_i,
      .rst_ni (core_rst_n),
      .data_i (segment),
      .valid_i(segment_valid),
      .ready_o(segment_ready),
      .data_o (listed),
      .valid_o(list_valid),
      .ready_i(list_ready)
  );
  m3vit_expert_cache #(
      .StreamWords(StreamWords)
  ) u_expert_cache (
      .clk_i,
      .rst_ni        (core_rst_n),
      .clear_i       (moe_start),
      .expert_words_i(expert_words),
      .valid_i       (demand_valid),
      .expert_i      (demand_expert),
      .ready_o       (demand_ready),
      .load_valid_o  (cache_load_valid),
      .load_ready_i  (cache_load_ready),
      .load_base_o   (cache_base),
      .loaded_i      (stream_job_done),
      .seek_valid_o  (seek_valid),
      .seek_base_o   (seek_base)
  );

  command_t cmd;
  norm_cmd_t norm;
  logic cmd_valid, cmd_ready, data_idle, norm_valid, norm_taken, residual_loaded, queue_valid, queue_ready, queue_bank;
  logic queues_done, store_start, stored, store_valid, store_ready;
  token_t queue_rows;
  word_t store_word;
  m3vit_executor #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_executor (
      .clk_i,
      .rst_ni         (core_rst_n),
      .start_i        (run_start),
      .mode_i         (run.mode),
      .loader_i       (loader_index),
      .index_o        (executor_index),
      .op_i           (executor_op),
      .op_o           (op),
      .begin_o        (op_begin),
      .active_o       (executor_active),
      .loaded_i       (residual_loaded),
      .done_o         (run_done),
      .cmd_o          (cmd),
      .cmd_valid_o    (cmd_valid),
      .cmd_ready_i    (cmd_ready),
      .idle_i         (data_idle),
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
      .store_o        (storing),
      .store_start_o  (store_start),
      .store_words_o  (store_words),
      .stored_i       (stored)
  );

  // DRAM.
  assign asked_job   = fetch_valid ? fetch_job : load_job;
  assign asked_valid = (fetch_valid || load_valid) && !flush;
  assign fetch_ready = fetch_valid && asked_ready;
  assign load_ready  = !fetch_valid && asked_ready && !flush;
  m3vit_read_check u_read_check (
      .memory_i      (run.memory),
      .memory_bytes_i(run.memory_bytes),
      .job_i         (asked_job),
      .valid_i       (asked_valid),
      .ready_o       (asked_ready),
      .job_o         (checked_job),
      .valid_o       (checked_valid),
      .ready_i       (checked_ready),
      .error_o       (address_error)
  );
  m3vit_dma_read #(
      .Ports(Ports)
  ) u_dma_read (
      .clk_i,
      .rst_ni     (core_rst_n),
      .flush_i    (flush),
      .job_i      (checked_job),
      .job_valid_i(checked_valid),
      .job_ready_o(checked_ready),
      .word_o     (read_word),
      .dest_o     (read_dest),
      .op_o       (read_op),
      .last_o     (read_last),
      .valid_o    (read_valid),
      .ready_i    (read_ready),
      .error_o    (read_error),
      .idle_o     (read_idle),
      .axi_o      (read_o[Ports-1:0]),
      .axi_i      (read_i[Ports-1:0])
  );
  if (Ports < MaxPorts) begin : gen_idle_ports
    logic unused_ports;
    assign read_o[MaxPorts-1:Ports] = '0;
    assign write_o[MaxPorts-1:Ports] = '0;
    assign unused_ports = ^{read_i[MaxPorts-1:Ports], write_i[MaxPorts-1:Ports]};
  end
  assign read_ready = read_dest == LoadOp || data_ready;
  m3vit_dma_write #(
      .Ports(Ports)
  ) u_dma_write (
      .clk_i,
      .rst_ni (core_rst_n),
      .flush_i(flush),
      .addr_i (run.result),
      .words_i(store_words),
      .start_i(store_start),
      .word_i (store_word),
      .valid_i(store_valid),
      .ready_o(store_ready),
      .done_o (stored),
      .error_o(write_error),
      .idle_o (write_idle),
      .axi_o  (write_o[Ports-1:0]),
      .axi_i  (write_i[Ports-1:0])
  );

  // In ModeTokenOrder the stream is a cache from a layer's first queue to its end.
  logic cache_q;
  always_ff @(posedge clk_i) begin
    if (!core_rst_n || op_begin) cache_q <= 1'b0;
    else if (demand_valid) cache_q <= 1'b1;
  end
  m3vit_datapath #(
      .Lanes      (Lanes),
      .Groups     (Groups),
      .MaxTokens  (MaxTokens),
      .MaxDim     (MaxDim),
      .MaxHidden  (MaxHidden),
      .MaxTopK    (MaxTopK),
      .MaxBlock   (MaxBlock),
      .StreamWords(StreamWords),
      .LendWords  (LendWords),
      .RouterLanes(RouterLanes)
  ) u_datapath (
      .clk_i,
      .rst_ni           (core_rst_n),
      .word_i           (read_word),
      .dest_i           (read_dest),
      .last_i           (read_last),
      .valid_i          (read_valid && read_dest != LoadOp),
      .ready_o          (data_ready),
      .image_start_i    (load_valid && load_ready && load_job.dest == LoadImage),
      .image_op_i       (image_op),
      .residual_loaded_o(residual_loaded),
      .cmd_i            (cmd),
      .cmd_valid_i      (cmd_valid),
      .cmd_ready_o      (cmd_ready),
      .norm_i           (norm),
      .norm_valid_i     (norm_valid),
      .norm_taken_o     (norm_taken),
      .norm_waiting_o   (norm_waiting),
      .norm_busy_o      (norm_busy),
      .idle_o           (data_idle),
      .op_o             (engine_op),
      .segment_i        (listed),
      .segment_valid_i  (list_valid),
      .segment_ready_o  (list_ready),
      .lend_i           (lend),
      .cache_i          (cache_q),
      .cache_base_i     (cache_base),
      .seek_valid_i     (seek_valid),
      .seek_base_i      (seek_base),
      .stream_job_done_o(stream_job_done),
      .moe_op_i         (op),
      .moe_start_i      (moe_start),
      .per_token_i      (per_token),
      .routed_o         (routed),
      .expert_i         (expert),
      .expert_used_o    (expert_used),
      .queue_valid_o    (queue_valid),
      .queue_ready_i    (queue_ready),
      .queue_expert_o   (queue_expert),
      .queue_bank_o     (queue_bank),
      .queue_rows_o     (queue_rows),
      .queues_done_o    (queues_done),
      .store_i          (storing),
      .store_words_i    (store_words),
      .store_word_o     (store_word),
      .store_valid_o    (store_valid),
      .store_ready_i    (store_ready),
      .events_o         (data_events)
  );

  // What happens in a cycle, and to which operation it belongs.
  always_ff @(posedge clk_i) if (norm_taken) norm_op_q <= norm_op;
  always_comb begin
    events = data_events;
    events.read_word = read_valid && read_ready && read_dest != LoadOp;
    events.write_word = store_valid && store_ready;
    events.load = load;
    op_now = engine_op;
    if (norm_waiting) op_now = norm_op;
    if (norm_busy) op_now = norm_op_q;
    if (storing) op_now = executor_index;
  end
  assign progress = (read_valid && read_ready) || (store_valid && store_ready) || data_events.compute || norm_busy
      || (cmd_valid && cmd_ready);
endmodule
