// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Runs a range of a program: fetches each operation, has it checked, starts it and waits for its end. On any error
/// it lets started AXI bursts end, clears the core, and reports; it never waits for anything that may not come,
/// except for the memory to answer.
module m3vit_sequencer
  import m3vit_pkg::*;
(
    input  logic             clk_i,
    input  logic             rst_ni,
    input  logic             start_i,          ///< only when !busy_o
    input  run_t             run_i,            ///< stable while busy_o
    output logic             busy_o,
    output logic             done_o,           ///< pulse: all operations ran
    output logic             error_o,          ///< pulse: stopped, error_code_o is valid
    output error_e           error_code_o,
    output read_job_t        job_o,            ///< fetch of an operation
    output logic             job_valid_o,
    input  logic             job_ready_i,
    input  word_t            word_i,
    input  logic             word_valid_i,     ///< an operation arrives
    output op_t              op_o,
    input  error_e           op_error_i,       ///< verdict on op_o
    output logic             op_start_o,
    input  logic             op_done_i,
    output logic      [15:0] op_index_o,
    output logic             op_running_o,     ///< from fetch to end
    input  logic             address_error_i,
    input  logic             read_error_i,
    input  logic             write_error_i,
    input  logic             axi_idle_i,
    output logic             flush_o,          ///< start nothing new, drop what arrives
    output logic             clear_o           ///< reset the core and the DMAs; AXI is idle
);
  localparam int unsigned ClearCycles = 32;  // longer than the longest pipeline

  typedef enum logic [2:0] {
    Idle,
    Range,
    Fetch,
    Wait,
    Check,
    Run,
    Flush,
    Clear
  } state_e;

  state_e state_q, state_d;
  error_e error_q, error_d;
  logic [16:0] index_q, end_q;
  op_t op_q;
  logic [5:0] clear_q;
  logic finished;

  assign busy_o = state_q != Idle;
  assign op_o = op_q;
  assign op_index_o = index_q[15:0];
  assign op_running_o = state_q inside {Fetch, Wait, Check, Run};
  assign op_start_o = state_q == Check && op_error_i == ErrorNone;
  assign job_valid_o = state_q == Fetch;
  assign job_o = '{
          relative: 1'b1,
          addr: addr_t'(run_i.program_offset) + addr_t'(index_q) * addr_t'(WordBytes),
          words: words_t'(1),
          dest: LoadOp
      };
  assign flush_o = state_q inside {Flush, Clear};
  assign clear_o = state_q == Clear;
  assign finished = state_q == Clear && clear_q == 6'(ClearCycles - 1);
  assign done_o = state_q == Run && op_done_i && index_q + 1'b1 == end_q && error_d == ErrorNone;
  assign error_o = finished;
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
        if (index_q >= end_q || end_q > 17'(run_i.program_ops)) error_d = ErrorTask;
      end
      Fetch: if (job_ready_i) state_d = Wait;
      Wait: if (word_valid_i) state_d = Check;
      Check: begin
        state_d = Run;
        error_d = op_error_i;
      end
      Run: if (op_done_i) state_d = index_q + 1'b1 == end_q ? Idle : Fetch;
      Flush: if (axi_idle_i) state_d = Clear;
      Clear: if (finished) state_d = Idle;
      default: state_d = Idle;
    endcase
    if (op_running_o) begin
      if (address_error_i) error_d = ErrorAddress;
      if (read_error_i) error_d = ErrorAxiRead;
      if (write_error_i) error_d = ErrorAxiWrite;
    end
    if (state_q != Idle && !flush_o && error_d != ErrorNone) state_d = Flush;
  end

  always_ff @(posedge clk_i) begin
    if (word_valid_i && state_q == Wait) op_q <= op_t'(word_i);
    clear_q <= clear_o ? clear_q + 1'b1 : '0;
    if (state_q == Idle && start_i) begin
      index_q <= 17'(run_i.first_op);
      end_q   <= run_i.op_count == '0 ? 17'(run_i.program_ops) : 17'(run_i.first_op) + 17'(run_i.op_count);
    end else if (state_q == Run && op_done_i) index_q <= index_q + 1'b1;
    if (!rst_ni) begin
      state_q <= Idle;
      error_q <= ErrorNone;
    end else begin
      state_q <= state_d;
      error_q <= error_d;
    end
  end
endmodule
