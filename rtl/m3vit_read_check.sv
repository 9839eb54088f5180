// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Guards the memory image: a relative read job must be aligned to words and end inside the image; its address then
/// becomes absolute. A job that does not is never passed on and raises error_o.
module m3vit_read_check
  import m3vit_pkg::*;
(
    input  addr_t            memory_i,
    input  logic      [31:0] memory_bytes_i,
    input  read_job_t        job_i,
    input  logic             valid_i,
    output logic             ready_o,
    output read_job_t        job_o,
    output logic             valid_o,
    input  logic             ready_i,
    output logic             error_o
);
  addr_t last;
  logic is_inside;
  assign last = job_i.addr + addr_t'(job_i.words) * addr_t'(WordBytes);
  assign is_inside = !job_i.relative
      || (job_i.addr[5:0] == '0 && job_i.words != '0 && last <= addr_t'(memory_bytes_i));
  always_comb begin
    job_o = job_i;
    if (job_i.relative) job_o.addr = memory_i + job_i.addr;
  end
  assign valid_o = valid_i && is_inside;
  assign ready_o = ready_i && is_inside;
  assign error_o = valid_i && !is_inside;
endmodule
