// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_regs with the signals of its bench. Test only.
module unit_regs
  import m3vit_pkg::*;
(
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  register_t awaddr, araddr;
  logic awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
  logic [31:0] wdata, rdata;
  logic [3:0] wstrb;
  logic [$bits(run_t)-1:0] run;
  logic [$bits(counters_t)-1:0] counters;
  logic start, busy, done, error, ready, op_begin, irq;
  logic [7:0] error_code;
  op_index_t counter_op;
  /* verilator public_off */

  m3vit_regs u_dut (
      .clk_i,
      .rst_ni,
      .awaddr_i    (awaddr),
      .awvalid_i   (awvalid),
      .awready_o   (awready),
      .wdata_i     (wdata),
      .wstrb_i     (wstrb),
      .wvalid_i    (wvalid),
      .wready_o    (wready),
      .bvalid_o    (bvalid),
      .bready_i    (bready),
      .araddr_i    (araddr),
      .arvalid_i   (arvalid),
      .arready_o   (arready),
      .rdata_o     (rdata),
      .rvalid_o    (rvalid),
      .rready_i    (rready),
      .run_o       (run),
      .start_o     (start),
      .busy_i      (busy),
      .done_i      (done),
      .error_i     (error),
      .error_code_i(error_e'(error_code)),
      .ready_i     (ready),
      .op_begin_i  (op_begin),
      .counter_op_o(counter_op),
      .counters_i  (counters),
      .irq_o       (irq)
  );
endmodule
