// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_read_check with the signals of its bench. Test only.
module unit_read_check
  import m3vit_pkg::*;
(
    input logic clk_i
);
  /* verilator public_flat_rw_on */
  addr_t memory;
  logic [31:0] memory_bytes;
  logic [$bits(read_job_t)-1:0] job, passed_job;
  logic job_valid, job_ready, passed_valid, passed_ready, error;
  /* verilator public_off */

  logic unused_clk;
  assign unused_clk = clk_i;
  m3vit_read_check u_dut (
      .memory_i      (memory),
      .memory_bytes_i(memory_bytes),
      .job_i         (read_job_t'(job)),
      .valid_i       (job_valid),
      .ready_o       (job_ready),
      .job_o         (passed_job),
      .valid_o       (passed_valid),
      .ready_i       (passed_ready),
      .error_o       (error)
  );
endmodule
