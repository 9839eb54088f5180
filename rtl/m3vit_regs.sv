// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// AXI4-Lite registers of sim/regmap.py. One access at a time; unknown addresses read zero and ignore writes.
/// While STATUS.BUSY is set, START and writes to anything that a run uses are ignored.
module m3vit_regs
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 128,
    parameter int unsigned MaxHidden = 128,
    parameter int unsigned MaxTopK = 8,
    parameter int unsigned MaxBlock = 80
) (
    input  logic             clk_i,
    input  logic             rst_ni,
    input  logic      [11:0] awaddr_i,
    input  logic             awvalid_i,
    output logic             awready_o,
    input  logic      [31:0] wdata_i,
    input  logic      [ 3:0] wstrb_i,
    input  logic             wvalid_i,
    output logic             wready_o,
    output logic             bvalid_o,
    input  logic             bready_i,
    input  logic      [11:0] araddr_i,
    input  logic             arvalid_i,
    output logic             arready_o,
    output logic      [31:0] rdata_o,
    output logic             rvalid_o,
    input  logic             rready_i,
    output run_t             run_o,
    output logic             start_o,
    input  logic             busy_i,
    input  logic             done_i,
    input  logic             error_i,
    input  error_e           error_code_i,
    input  logic             op_begin_i,    ///< pulse: an operation begins
    output op_index_t        counter_op_o,
    input  counters_t        counters_i,
    output logic             irq_o
);
  localparam int unsigned TaskW = $clog2(TaskSlots);

  logic [31:0] program_offset_q[TaskSlots];
  logic [15:0] program_ops_q[TaskSlots];
  logic [TaskW:0] task_q;  // TaskSlots stands for every task that does not exist
  logic [3:0] mode_q;
  logic [31:0] memory_bytes_q, run_cycles_q, ops_done_q;
  addr_t memory_q, source_q, result_q;
  op_index_t counter_op_q;
  logic irq_enable_q, done_q, error_q;
  error_e code_q;

  // Writes: address and data may come in any order.
  logic write, start, clear, task_write, locked;
  logic [31:0] data;
  assign write = awvalid_i && wvalid_i && !bvalid_o;
  assign awready_o = write;
  assign wready_o = write;
  always_comb for (int b = 0; b < 4; b++) data[8*b+:8] = wstrb_i[b] ? wdata_i[8*b+:8] : 8'd0;
  assign task_write = write && awaddr_i >= RegTaskTable && awaddr_i < RegTaskTable + 12'(8 * TaskSlots);
  assign start = write && awaddr_i == RegControl && data[0] && !busy_i;
  assign clear = write && awaddr_i == RegControl && data[1];
  assign locked = busy_i || start_o;  // a run keeps what it was started with

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      for (int t = 0; t < int'(TaskSlots); t++) begin
        program_offset_q[t] <= '0;
        program_ops_q[t] <= '0;
      end
      task_q <= '0;
      mode_q <= '0;
      memory_q <= '0;
      memory_bytes_q <= '0;
      source_q <= '0;
      result_q <= '0;
      counter_op_q <= '0;
      irq_enable_q <= 1'b0;
    end else if (write && awaddr_i == RegIrqEnable) begin
      irq_enable_q <= data[0];
    end else if (write && awaddr_i == RegCounterOp) begin
      counter_op_q <= op_index_t'(data);
    end else if (task_write && !locked) begin
      if (awaddr_i[2]) program_ops_q[awaddr_i[3+:TaskW]] <= data[15:0];
      else program_offset_q[awaddr_i[3+:TaskW]] <= data;
    end else if (write && !locked) begin
      unique case (awaddr_i)
        RegTask: task_q <= data < 32'(TaskSlots) ? (TaskW + 1)'(data) : (TaskW + 1)'(TaskSlots);
        RegMode: mode_q <= data[3:0];
        RegMemoryLo: memory_q[31:0] <= data;
        RegMemoryHi: memory_q[39:32] <= data[7:0];
        RegMemoryBytes: memory_bytes_q <= data;
        RegSourceLo: source_q[31:0] <= data;
        RegSourceHi: source_q[39:32] <= data[7:0];
        RegResultLo: result_q[31:0] <= data;
        RegResultHi: result_q[39:32] <= data[7:0];
        default: ;
      endcase
    end
  end

  // Status of the run.
  always_ff @(posedge clk_i) begin
    start_o <= start;
    if (!rst_ni) begin
      done_q <= 1'b0;
      error_q <= 1'b0;
      code_q <= ErrorNone;
      run_cycles_q <= '0;
      ops_done_q <= '0;
      start_o <= 1'b0;
      bvalid_o <= 1'b0;
    end else begin
      bvalid_o <= write || (bvalid_o && !bready_i);
      if (clear || start) begin
        done_q  <= 1'b0;
        error_q <= 1'b0;
        code_q  <= ErrorNone;
      end
      if (start) begin
        run_cycles_q <= '0;
        ops_done_q   <= '0;
      end else begin
        if (busy_i || start_o) run_cycles_q <= run_cycles_q + 1'b1;
        if (op_begin_i) ops_done_q <= ops_done_q + 1'b1;
      end
      if (done_i) done_q <= 1'b1;
      if (error_i) begin
        error_q <= 1'b1;
        code_q  <= error_code_i;
      end
    end
  end

  assign irq_o = irq_enable_q && (done_q || error_q);
  assign counter_op_o = counter_op_q;
  assign run_o = '{
          memory: memory_q,
          memory_bytes: memory_bytes_q,
          source: source_q,
          result: result_q,
          program_offset: program_offset_q[task_q[TaskW-1:0]],
          program_ops: task_q[TaskW] ? '0 : program_ops_q[task_q[TaskW-1:0]],
          mode: mode_q
      };

  // Reads.
  logic [31:0] value;
  always_comb begin
    value = '0;
    unique case (araddr_i)
      RegId: value = IdValue;
      RegVersion: value = {16'd0, 8'(ProgramVersion), 8'(HardwareVersion)};
      RegCapacity0: value = {16'(MaxTokens), 8'(Groups), 8'(Lanes)};
      RegCapacity1: value = {16'(MaxHidden), 16'(MaxDim)};
      RegCapacity2: value = {16'(MaxBlock), 16'(MaxTopK)};
      RegStatus: value = {29'd0, error_q, done_q, busy_i || start_o};
      RegErrorCode: value = 32'(code_q);
      RegIrqEnable: value = 32'(irq_enable_q);
      RegTask: value = 32'(task_q);
      RegMode: value = 32'(mode_q);
      RegMemoryLo: value = memory_q[31:0];
      RegMemoryHi: value = 32'(memory_q[39:32]);
      RegMemoryBytes: value = memory_bytes_q;
      RegSourceLo: value = source_q[31:0];
      RegSourceHi: value = 32'(source_q[39:32]);
      RegResultLo: value = result_q[31:0];
      RegResultHi: value = 32'(result_q[39:32]);
      RegRunCycles: value = run_cycles_q;
      RegOpsDone: value = ops_done_q;
      RegCounterOp: value = 32'(counter_op_q);
      RegOpCycles: value = counters_i.cycles;
      RegOpCompute: value = counters_i.compute;
      RegOpReadWords: value = counters_i.read_words;
      RegOpWriteWords: value = counters_i.write_words;
      RegOpStallWeight: value = counters_i.stall_weight;
      RegOpStallInput: value = counters_i.stall_input;
      RegOpStallOutput: value = counters_i.stall_output;
      RegOpExperts: value = counters_i.experts;
      RegOpLoads: value = counters_i.loads;
      default:
      if (araddr_i >= RegTaskTable && araddr_i < RegTaskTable + 12'(8 * TaskSlots))
        value = araddr_i[2] ? 32'(program_ops_q[araddr_i[3+:TaskW]]) : program_offset_q[araddr_i[3+:TaskW]];
    endcase
  end
  assign arready_o = !rvalid_o;
  always_ff @(posedge clk_i) begin
    if (arvalid_i && arready_o) rdata_o <= value;
    if (!rst_ni) rvalid_o <= 1'b0;
    else rvalid_o <= (arvalid_i && arready_o) || (rvalid_o && !rready_i);
  end
endmodule
