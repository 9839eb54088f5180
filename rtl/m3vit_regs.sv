// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// AXI4-Lite registers of sim/regmap.py. One write and one read at a time; unknown addresses read zero and ignore writes.
/// CONTROL to IRQ_STATUS behave like those of Vitis HLS (UG1399): START reads 1 from its write to the end of the run, DONE
/// and READY are cleared by reading, an event sets IRQ_STATUS only where it is enabled, and a 1 written there toggles.
/// While START reads 1, writes of START and to anything that a run uses are ignored. Read data follows the address after
/// two cycles, for which the counters have one.
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
    input  register_t        awaddr_i,
    input  logic             awvalid_i,
    output logic             awready_o,
    input  logic      [31:0] wdata_i,
    input  logic      [ 3:0] wstrb_i,
    input  logic             wvalid_i,
    output logic             wready_o,
    output logic             bvalid_o,
    input  logic             bready_i,
    input  register_t        araddr_i,
    input  logic             arvalid_i,
    output logic             arready_o,
    output logic      [31:0] rdata_o,
    output logic             rvalid_o,
    input  logic             rready_i,
    output run_t             run_o,
    output logic             start_o,
    input  logic             busy_i,
    input  logic             done_i,        ///< pulse: the run has ended well
    input  logic             error_i,       ///< pulse: the run has failed, error_code_i says why
    input  error_e           error_code_i,
    input  logic             ready_i,       ///< pulse: the last cycle of busy_i
    input  logic             op_begin_i,    ///< pulse: an operation begins
    output op_index_t        counter_op_o,  ///< operation whose counters follow in the next cycle
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
  logic irq_on_q, done_q, ready_q;
  logic [1:0] irq_enable_q, irq_status_q;
  error_e code_q;
  register_t araddr_q;
  logic read_q;  // the register at araddr_q is being read

  // Writes: address and data may come in any order.
  logic write, start, task_write, locked;
  logic [31:0] data;
  assign write = awvalid_i && wvalid_i && !bvalid_o;
  assign awready_o = write;
  assign wready_o = write;
  always_comb for (int b = 0; b < 4; b++) data[8*b+:8] = wstrb_i[b] ? wdata_i[8*b+:8] : 8'd0;
  assign task_write = write && awaddr_i >= RegTaskTable && awaddr_i < RegTaskTable + register_t'(8 * TaskSlots);
  assign locked = busy_i || start_o;  // a run keeps what it was started with
  assign start = write && awaddr_i == RegControl && data[0] && !locked;

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
      irq_on_q <= 1'b0;
      irq_enable_q <= '0;
    end else if (write && awaddr_i == RegGlobalIrq) begin
      irq_on_q <= data[0];
    end else if (write && awaddr_i == RegIrqEnable) begin
      irq_enable_q <= data[1:0];
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

  // The run, and what it tells. An event wins over a read or a toggle in the same cycle.
  logic control_read, ended;
  logic [1:0] toggle;
  assign control_read = read_q && araddr_q == RegControl;
  assign ended = done_i || error_i;
  assign toggle = write && awaddr_i == RegIrqStatus ? data[1:0] : '0;
  always_ff @(posedge clk_i) begin
    start_o <= start;
    if (!rst_ni) begin
      done_q <= 1'b0;
      ready_q <= 1'b0;
      irq_status_q <= '0;
      code_q <= ErrorNone;
      run_cycles_q <= '0;
      ops_done_q <= '0;
      start_o <= 1'b0;
      bvalid_o <= 1'b0;
    end else begin
      bvalid_o <= write || (bvalid_o && !bready_i);
      done_q <= ended || (done_q && !control_read);
      ready_q <= ready_i || (ready_q && !control_read);
      irq_status_q <= (irq_status_q ^ toggle) | (irq_enable_q & {ready_i, ended});
      if (start) begin
        code_q <= ErrorNone;
        run_cycles_q <= '0;
        ops_done_q <= '0;
      end else begin
        if (error_i) code_q <= error_code_i;
        if (locked) run_cycles_q <= run_cycles_q + 1'b1;
        if (op_begin_i) ops_done_q <= ops_done_q + 1'b1;
      end
    end
  end

  assign irq_o = irq_on_q && irq_status_q != '0;
  assign run_o = '{
          memory: memory_q,
          memory_bytes: memory_bytes_q,
          source: source_q,
          result: result_q,
          program_offset: program_offset_q[task_q[TaskW-1:0]],
          program_ops: task_q[TaskW] ? '0 : program_ops_q[task_q[TaskW-1:0]],
          mode: mode_q
      };

  // Reads. Counters arrive while read_q is set.
  logic [SlotWords-1:0][31:0] slot;
  logic [31:0] value;
  assign slot = $bits(slot)'(counters_i);
  assign counter_op_o = araddr_i[$clog2(4*SlotWords)+:$bits(op_index_t)];
  always_comb begin
    value = '0;
    unique case (araddr_q)
      RegControl: value = {22'd0, irq_o, 5'd0, ready_q, !locked, done_q, locked};
      RegGlobalIrq: value = 32'(irq_on_q);
      RegIrqEnable: value = 32'(irq_enable_q);
      RegIrqStatus: value = 32'(irq_status_q);
      RegTask: value = 32'(task_q);
      RegMode: value = 32'(mode_q);
      RegMemoryLo: value = memory_q[31:0];
      RegMemoryHi: value = 32'(memory_q[39:32]);
      RegMemoryBytes: value = memory_bytes_q;
      RegSourceLo: value = source_q[31:0];
      RegSourceHi: value = 32'(source_q[39:32]);
      RegResultLo: value = result_q[31:0];
      RegResultHi: value = 32'(result_q[39:32]);
      RegId: value = IdValue;
      RegVersion: value = {8'd0, 8'(BackendRtl), 8'(ProgramVersion), 8'(HardwareVersion)};
      RegCapacity0: value = {16'(MaxTokens), 8'(Groups), 8'(Lanes)};
      RegCapacity1: value = {16'(MaxHidden), 16'(MaxDim)};
      RegCapacity2: value = {16'(MaxBlock), 16'(MaxTopK)};
      RegErrorCode: value = 32'(code_q);
      RegOpsDone: value = ops_done_q;
      RegRunCycles: value = run_cycles_q;
      default:
      if (araddr_q >= RegCounters) value = slot[araddr_q[2+:$clog2(SlotWords)]];
      else if (araddr_q >= RegTaskTable && araddr_q < RegTaskTable + register_t'(8 * TaskSlots))
        value = araddr_q[2] ? 32'(program_ops_q[araddr_q[3+:TaskW]]) : program_offset_q[araddr_q[3+:TaskW]];
    endcase
  end
  assign arready_o = !read_q && !rvalid_o;
  always_ff @(posedge clk_i) begin
    if (arvalid_i && arready_o) araddr_q <= araddr_i;
    if (read_q) rdata_o <= value;
    if (!rst_ni) begin
      read_q   <= 1'b0;
      rvalid_o <= 1'b0;
    end else begin
      read_q   <= arvalid_i && arready_o;
      rvalid_o <= read_q || (rvalid_o && !rready_i);
    end
  end
endmodule
