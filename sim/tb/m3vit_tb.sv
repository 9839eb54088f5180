// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Whole-frame bench: the accelerator with the compiled DRAM behind its four ports, and a trace of loads and operations.
/// The host (cocotb) sees AXI4-Lite, the interrupt, and through a shared file the DRAM. Simulation only.
module m3vit_tb
  import m3vit_pkg::*;
#(
    parameter int unsigned LANES = 8,
    parameter int unsigned GROUPS = 2,
    parameter int unsigned MAX_TOKENS = 80,
    parameter int unsigned MAX_DIM = 128,
    parameter int unsigned MAX_HIDDEN = 128,
    parameter int unsigned MAX_TOP_K = 8,
    parameter int unsigned MAX_BLOCK = 80,
    parameter int unsigned STREAM_WORDS = 512,
    parameter int unsigned LEND_WORDS = 128,
    parameter int unsigned ROUTER_LANES = 4,
    parameter int unsigned PORTS = 4
) (
    input  logic        aclk,
    input  logic        aresetn,
    input  logic [13:0] s_axi_ctrl_awaddr,
    input  logic [ 2:0] s_axi_ctrl_awprot,
    input  logic        s_axi_ctrl_awvalid,
    output logic        s_axi_ctrl_awready,
    input  logic [31:0] s_axi_ctrl_wdata,
    input  logic [ 3:0] s_axi_ctrl_wstrb,
    input  logic        s_axi_ctrl_wvalid,
    output logic        s_axi_ctrl_wready,
    output logic [ 1:0] s_axi_ctrl_bresp,
    output logic        s_axi_ctrl_bvalid,
    input  logic        s_axi_ctrl_bready,
    input  logic [13:0] s_axi_ctrl_araddr,
    input  logic [ 2:0] s_axi_ctrl_arprot,
    input  logic        s_axi_ctrl_arvalid,
    output logic        s_axi_ctrl_arready,
    output logic [31:0] s_axi_ctrl_rdata,
    output logic [ 1:0] s_axi_ctrl_rresp,
    output logic        s_axi_ctrl_rvalid,
    input  logic        s_axi_ctrl_rready,
    output logic        irq_o,
    output logic [31:0] cycle_o                ///< cycles since reset
);
  axi_read_req_t [MaxPorts-1:0] read_req;
  axi_read_rsp_t [MaxPorts-1:0] read_rsp;
  axi_write_req_t [MaxPorts-1:0] write_req;
  axi_write_rsp_t [MaxPorts-1:0] write_rsp;

  m3vit_core #(
      .Lanes      (LANES),
      .Groups     (GROUPS),
      .MaxTokens  (MAX_TOKENS),
      .MaxDim     (MAX_DIM),
      .MaxHidden  (MAX_HIDDEN),
      .MaxTopK    (MAX_TOP_K),
      .MaxBlock   (MAX_BLOCK),
      .StreamWords(STREAM_WORDS),
      .LendWords  (LEND_WORDS),
      .RouterLanes(ROUTER_LANES),
      .Ports      (PORTS)
  ) u_core (
      .clk_i    (aclk),
      .rst_ni   (aresetn),
      .awaddr_i (s_axi_ctrl_awaddr),
      .awvalid_i(s_axi_ctrl_awvalid),
      .awready_o(s_axi_ctrl_awready),
      .wdata_i  (s_axi_ctrl_wdata),
      .wstrb_i  (s_axi_ctrl_wstrb),
      .wvalid_i (s_axi_ctrl_wvalid),
      .wready_o (s_axi_ctrl_wready),
      .bvalid_o (s_axi_ctrl_bvalid),
      .bready_i (s_axi_ctrl_bready),
      .araddr_i (s_axi_ctrl_araddr),
      .arvalid_i(s_axi_ctrl_arvalid),
      .arready_o(s_axi_ctrl_arready),
      .rdata_o  (s_axi_ctrl_rdata),
      .rvalid_o (s_axi_ctrl_rvalid),
      .rready_i (s_axi_ctrl_rready),
      .read_o   (read_req),
      .read_i   (read_rsp),
      .write_o  (write_req),
      .write_i  (write_rsp),
      .irq_o
  );
  assign s_axi_ctrl_bresp = 2'b00;
  assign s_axi_ctrl_rresp = 2'b00;
  if (PORTS < MaxPorts) begin : gen_idle_ports
    logic unused_ports;
    assign read_rsp[MaxPorts-1:PORTS] = '0;
    assign write_rsp[MaxPorts-1:PORTS] = '0;
    assign unused_ports = ^{read_req[MaxPorts-1:PORTS], write_req[MaxPorts-1:PORTS]};
  end

  logic unused_prot;
  assign unused_prot = ^{s_axi_ctrl_awprot, s_axi_ctrl_arprot};

  m3vit_dram #(
      .Ports(PORTS)
  ) u_dram (
      .clk_i  (aclk),
      .rst_ni (aresetn),
      .read_i (read_req[PORTS-1:0]),
      .read_o (read_rsp[PORTS-1:0]),
      .write_i(write_req[PORTS-1:0]),
      .write_o(write_rsp[PORTS-1:0])
  );

  always_ff @(posedge aclk) cycle_o <= aresetn ? cycle_o + 1'b1 : '0;

  // Trace of one line per event: cycle, event, number. `sim/timeline.py` reads it.
  int trace_file;
  string trace_path;
  logic load_first_q, running_q, norm_q;
  op_index_t op_q;
  initial begin
    trace_file = 0;
    if ($value$plusargs("trace_events=%s", trace_path) != 0) trace_file = $fopen(trace_path, "w");
  end
  always_ff @(posedge aclk)
    if (trace_file != 0) begin
      running_q <= u_core.busy;
      op_q      <= u_core.op_now;
      norm_q    <= u_core.norm_busy;
      if (u_core.start) begin
        $fdisplay(trace_file, "%0d start 0", cycle_o);
        load_first_q <= 1'b1;
      end
      if (u_core.load)
        $fdisplay(trace_file, "%0d expert %0d", cycle_o, u_core.per_token ? u_core.demand_expert : u_core.segment.expert);
      if (u_core.read_valid && u_core.read_ready && u_core.read_dest != LoadOp) begin
        load_first_q <= u_core.read_last;
        if (load_first_q) $fdisplay(trace_file, "%0d load_begin %0d", cycle_o, u_core.read_op);
        if (u_core.read_last) $fdisplay(trace_file, "%0d load_end %0d", cycle_o, u_core.read_dest);
      end
      if (u_core.busy && (!running_q || u_core.op_now != op_q)) $fdisplay(trace_file, "%0d op %0d", cycle_o, u_core.op_now);
      if (u_core.norm_busy && !norm_q) $fdisplay(trace_file, "%0d norm_begin %0d", cycle_o, u_core.norm_op_q);
      if (!u_core.norm_busy && norm_q) $fdisplay(trace_file, "%0d norm_end 0", cycle_o);
      if (u_core.store_start) $fdisplay(trace_file, "%0d store 0", cycle_o);
      if (u_core.done || u_core.failed) begin
        $fdisplay(trace_file, "%0d end 0", cycle_o);
        $fflush(trace_file);
      end
    end
  final if (trace_file != 0) $fclose(trace_file);

  // A run that has ended well has left nothing under way: the next one begins with a cleared core.
  logic read_waits;
  assign read_waits = u_core.load_valid || u_core.u_dma_read.active_q || u_core.u_dma_read.order_valid;
  always_ff @(posedge aclk)
    if (u_core.done) begin
      a_read_idle : assert (u_core.read_idle && !read_waits) else $error("DONE while words are being read");
      a_write_idle : assert (u_core.write_idle) else $error("DONE while words are being written");
    end

  // Whatever registers contain at first, the core is in reset at the first edge.
  logic clocked_q;
  initial clocked_q = 1'b0;
  always_ff @(posedge aclk) begin
    clocked_q <= 1'b1;
    a_reset : assert (clocked_q || !u_core.core_rst_n) else $error("the core starts without reset");
  end
endmodule
