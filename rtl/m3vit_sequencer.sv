// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Life of a run: fetches the program, lets loader and executor run it, ends. On any error it lets started AXI bursts
/// end, clears the core, and reports. A run in which nothing moves for Patience cycles ends with ErrorTimeout. If the
/// memory does not even end its bursts, the error is reported after Patience cycles without progress (those of a timeout
/// count), and the accelerator stays busy until the memory ends them or until reset.
module m3vit_sequencer
  import m3vit_pkg::*;
(
    input  logic      clk_i,
    input  logic      rst_ni,
    input  logic      start_i,          ///< only when !busy_o
    input  run_t      run_i,            ///< stable while busy_o
    output logic      busy_o,
    output logic      done_o,           ///< pulse: the program ran
    output logic      error_o,          ///< pulse: stopped, error_code_o is valid
    output error_e    error_code_o,
    output logic      ready_o,          ///< pulse: another run may begin
    output read_job_t job_o,            ///< fetch of the program
    output logic      job_valid_o,
    input  logic      job_ready_i,
    input  logic      program_complete_i,
    input  error_e    program_error_i,
    output logic      run_start_o,      ///< pulse: loader and executor begin
    input  logic      run_done_i,
    input  logic      progress_i,       ///< something moved in this cycle
    input  logic      address_error_i,
    input  logic      read_error_i,
    input  logic      write_error_i,
    input  logic      axi_idle_i,
    output logic      flush_o,          ///< start nothing new, drop what arrives
    output logic      clear_o           ///< reset the core and the DMAs; AXI is idle
);
  localparam int unsigned ClearCycles = 64;  // longer than the longest pipeline
  localparam int unsigned Patience = 1 << 16;

  typedef enum logic [2:0] {
    Idle,
    Range,
    Fetch,
    Receive,
    Run,
    Flush,
    Clear
  } state_e;

  state_e state_q, state_d;
  error_e error_q, error_d;
  logic [$clog2(ClearCycles)-1:0] clear_q;
  logic [$clog2(Patience):0] quiet_q;
  logic finished, running, silent, reported_q;

  assign busy_o = state_q != Idle;
  assign silent = quiet_q[$clog2(Patience)];
  assign running = state_q inside {Fetch, Receive, Run};
  assign run_start_o = state_q == Receive && state_d == Run;
  assign job_valid_o = state_q == Fetch;
  assign job_o = '{
          relative: 1'b1,
          addr: addr_t'(run_i.program_offset),
          words: words_t'(run_i.program_ops),
          dest: LoadOp,
          op: '0
      };
  assign flush_o = state_q inside {Flush, Clear};
  assign clear_o = state_q == Clear;
  assign finished = state_q == Clear && clear_q == '1;
  assign done_o = state_q == Run && state_d == Idle;
  assign ready_o = state_q != Idle && state_d == Idle;
  assign error_o = !reported_q && (finished || (state_q == Flush && silent));
  assign error_code_o = error_q;

  always_comb begin
    state_d = state_q;
    error_d = error_q;
    unique case (state_q)
      Idle: begin
        error_d = ErrorNone;
        if (start_i) state_d = Range;
      end
      Range: begin
        state_d = Fetch;
        if (run_i.program_ops == '0 || run_i.program_ops > 16'(MaxOps)) error_d = ErrorTask;
      end
      Fetch: if (job_ready_i) state_d = Receive;
      Receive: begin
        error_d = program_error_i;
        if (program_complete_i) state_d = Run;
      end
      Run: if (run_done_i) state_d = Idle;
      Flush: if (axi_idle_i) state_d = Clear;
      Clear: if (finished) state_d = Idle;
      default: state_d = Idle;
    endcase
    if (running) begin
      if (silent) error_d = ErrorTimeout;
      if (address_error_i) error_d = ErrorAddress;
      if (read_error_i) error_d = ErrorAxiRead;
      if (write_error_i) error_d = ErrorAxiWrite;
    end
    if (state_q != Idle && !flush_o && error_d != ErrorNone) state_d = Flush;
  end

  always_ff @(posedge clk_i) begin
    clear_q <= clear_o ? clear_q + 1'b1 : '0;
    if (progress_i || !(running || state_q == Flush)) quiet_q <= '0;
    else if (!silent) quiet_q <= quiet_q + 1'b1;
    if (!rst_ni) begin
      state_q <= Idle;
      error_q <= ErrorNone;
      reported_q <= 1'b0;
    end else begin
      state_q <= state_d;
      error_q <= error_d;
      reported_q <= state_q != Idle && (reported_q || error_o);
    end
  end
endmodule
