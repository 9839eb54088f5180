// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Counters of the operations: counts events while an operation runs and keeps the totals of the last
/// CounterSlots operations for the registers. Read latency one cycle.
module m3vit_counters
  import m3vit_pkg::*;
(
    input  logic                                   clk_i,
    input  logic                                   running_i,   ///< an operation runs
    input  logic                                   done_i,      ///< it ends in this cycle
    input  logic      [$clog2(CounterSlots)-1:0]   slot_i,      ///< of the running operation
    input  events_t                                events_i,
    input  logic      [$clog2(CounterSlots)-1:0]   read_slot_i,
    output counters_t                              read_o
);
  counters_t count_q;
  always_ff @(posedge clk_i) begin
    if (!running_i || done_i) count_q <= '0;
    else begin
      count_q.cycles <= count_q.cycles + 1'b1;
      count_q.compute <= count_q.compute + 32'(events_i.compute);
      count_q.read_words <= count_q.read_words + 32'(events_i.read_word);
      count_q.write_words <= count_q.write_words + 32'(events_i.write_word);
      count_q.stall_weight <= count_q.stall_weight + 32'(events_i.stall_weight);
      count_q.stall_input <= count_q.stall_input + 32'(events_i.stall_input);
      count_q.stall_output <= count_q.stall_output + 32'(events_i.stall_output);
      count_q.experts <= count_q.experts + 32'(events_i.expert);
    end
  end

  m3vit_ram #(
      .Width($bits(counters_t)),
      .Depth(CounterSlots),
      .Style("distributed")
  ) u_slots (
      .clk_i,
      .write_i     (done_i),
      .write_addr_i(slot_i),
      .write_data_i(count_q),
      .read_i      (1'b1),
      .read_addr_i (read_slot_i),
      .read_data_o (read_o)
  );
endmodule
