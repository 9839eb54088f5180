// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_loader with the signals of its bench; `used` holds a bit for each expert. Test only.
module unit_loader
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic clear, start, wait_for, on_demand;
  logic demand_valid, demand_ready;
  expert_t demand_expert;
  addr_t source;
  op_index_t index, executor;
  logic [$bits(op_t)-1:0] op, asked_op;
  logic executor_valid, routed;
  logic [MaxExperts-1:0] used;
  logic [$bits(segment_t)-1:0] segment;
  logic segment_valid, segment_ready;
  logic [$bits(read_job_t)-1:0] job;
  logic job_valid, job_ready, load;
  /* verilator public_off */

  expert_t expert;
  m3vit_loader #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_dut (
      .clk_i,
      .rst_ni          (rst_ni && !clear),
      .start_i         (start),
      .wait_i          (wait_for),
      .on_demand_i     (on_demand),
      .demand_valid_i  (demand_valid),
      .demand_expert_i (demand_expert),
      .demand_ready_o  (demand_ready),
      .source_i        (source),
      .index_o         (index),
      .op_i            (op),
      .op_o            (asked_op),
      .executor_i      (executor),
      .executor_valid_i(executor_valid),
      .routed_i        (routed),
      .expert_o        (expert),
      .expert_used_i   (used[expert]),
      .segment_o       (segment),
      .segment_valid_o (segment_valid),
      .segment_ready_i (segment_ready),
      .job_o           (job),
      .job_valid_o     (job_valid),
      .job_ready_i     (job_ready),
      .load_o          (load)
  );
endmodule
