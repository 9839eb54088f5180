// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The accelerator without its pin names: registers, sequencer, MoE layer, DMAs. One clock, synchronous reset.
module m3vit_core
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
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  logic                [11:0] awaddr_i,   ///< AXI4-Lite
    input  logic                       awvalid_i,
    output logic                       awready_o,
    input  logic                [31:0] wdata_i,
    input  logic                [ 3:0] wstrb_i,
    input  logic                       wvalid_i,
    output logic                       wready_o,
    output logic                       bvalid_o,
    input  logic                       bready_i,
    input  logic                [11:0] araddr_i,
    input  logic                       arvalid_i,
    output logic                       arready_o,
    output logic                [31:0] rdata_o,
    output logic                       rvalid_o,
    input  logic                       rready_i,
    output axi_read_req_t  [Ports-1:0] read_o,     ///< AXI4
    input  axi_read_rsp_t  [Ports-1:0] read_i,
    output axi_write_req_t [Ports-1:0] write_o,
    input  axi_write_rsp_t [Ports-1:0] write_i,
    output logic                       irq_o
);
  run_t run;
  op_t op;
  error_e error_code, op_error;
  events_t moe_events, events;
  counters_t counters;
  read_job_t fetch_job, moe_job, asked_job, checked_job;
  word_t read_word, store_word;
  load_e read_dest;
  words_t store_words;
  logic [15:0] op_index;
  logic [5:0] counter_op;
  logic start, busy, done, failed, op_start, op_done, op_running, flush, clear, core_rst_n;
  logic fetch_valid, fetch_ready, moe_valid, moe_ready, asked_valid, asked_ready, checked_valid, checked_ready;
  logic unused_read_last, read_valid, read_ready, moe_read_ready, store_start, store_valid, store_ready, stored;
  logic address_error, read_error, write_error, read_idle, write_idle;

  // The core and the DMAs are cleared after an error, when AXI is quiet.
  always_ff @(posedge clk_i) core_rst_n <= rst_ni && !clear;

  m3vit_regs #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .MaxTopK  (MaxTopK)
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
      .op_done_i   (op_done),
      .counter_op_o(counter_op),
      .counters_i  (counters),
      .irq_o
  );

  m3vit_sequencer u_sequencer (
      .clk_i,
      .rst_ni,
      .start_i        (start),
      .run_i          (run),
      .busy_o         (busy),
      .done_o         (done),
      .error_o        (failed),
      .error_code_o   (error_code),
      .job_o          (fetch_job),
      .job_valid_o    (fetch_valid),
      .job_ready_i    (fetch_ready),
      .word_i         (read_word),
      .word_valid_i   (read_valid && read_dest == LoadOp),
      .op_o           (op),
      .op_error_i     (op_error),
      .op_start_o     (op_start),
      .op_done_i      (op_done),
      .op_index_o     (op_index),
      .op_running_o   (op_running),
      .address_error_i(address_error),
      .read_error_i   (read_error),
      .write_error_i  (write_error),
      .axi_idle_i     (read_idle && write_idle),
      .flush_o        (flush),
      .clear_o        (clear)
  );
  m3vit_op_check #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim),
      .MaxHidden(MaxHidden),
      .MaxTopK  (MaxTopK)
  ) u_op_check (
      .op_i   (op),
      .error_o(op_error)
  );
  m3vit_counters u_counters (
      .clk_i,
      .running_i  (op_running),
      .done_i     (op_done),
      .slot_i     (op_index[5:0]),
      .events_i   (events),
      .read_slot_i(counter_op),
      .read_o     (counters)
  );
  always_comb begin
    events = moe_events;
    events.read_word = read_valid && read_ready;
    events.write_word = store_valid && store_ready;
  end

  // The sequencer and the MoE layer never read at the same time.
  assign asked_job   = fetch_valid ? fetch_job : moe_job;
  assign asked_valid = (fetch_valid || moe_valid) && !flush;
  assign fetch_ready = fetch_valid && asked_ready;
  assign moe_ready   = !fetch_valid && asked_ready;
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
  m3vit_dma_read u_dma_read (
      .clk_i,
      .rst_ni     (core_rst_n),
      .flush_i    (flush),
      .job_i      (checked_job),
      .job_valid_i(checked_valid),
      .job_ready_o(checked_ready),
      .word_o     (read_word),
      .dest_o     (read_dest),
      .last_o     (unused_read_last),
      .valid_o    (read_valid),
      .ready_i    (read_ready),
      .error_o    (read_error),
      .idle_o     (read_idle),
      .axi_o      (read_o),
      .axi_i      (read_i)
  );
  assign read_ready = read_dest == LoadOp ? 1'b1 : moe_read_ready;

  m3vit_moe #(
      .Lanes          (Lanes),
      .MaxTokens      (MaxTokens),
      .MaxDim         (MaxDim),
      .MaxHidden      (MaxHidden),
      .MaxTopK        (MaxTopK),
      .WeightFifoWords(WeightFifoWords),
      .RouterLanes    (RouterLanes)
  ) u_moe (
      .clk_i,
      .rst_ni       (core_rst_n),
      .start_i      (op_start),
      .op_i         (op),
      .source_i     (run.source),
      .done_o       (op_done),
      .job_o        (moe_job),
      .job_valid_o  (moe_valid),
      .job_ready_i  (moe_ready),
      .word_i       (read_word),
      .dest_i       (read_dest),
      .valid_i      (read_valid && read_dest != LoadOp),
      .ready_o      (moe_read_ready),
      .store_start_o(store_start),
      .store_words_o(store_words),
      .store_word_o (store_word),
      .store_valid_o(store_valid),
      .store_ready_i(store_ready),
      .stored_i     (stored),
      .events_o     (moe_events)
  );
  m3vit_dma_write u_dma_write (
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
      .axi_o  (write_o),
      .axi_i  (write_i)
  );
endmodule
