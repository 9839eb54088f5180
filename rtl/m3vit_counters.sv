// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Counters of the operations of a run. Every cycle of the run belongs to the operation that is the linear engine's
/// oldest; a word that is read ahead and a load that is asked for belong to the operation they are for. Operations come
/// in order at the engine, on the read bus and at the loader, so one set of counters is live at each of the three.
/// Operations without a cycle read as zero. Read latency one cycle.
module m3vit_counters
  import m3vit_pkg::*;
(
    input  logic      clk_i,
    input  logic      rst_ni,
    input  logic      start_i,     ///< pulse: a run begins
    input  logic      running_i,
    input  op_index_t op_i,        ///< operation of this cycle
    input  events_t   events_i,    ///< of this cycle
    input  op_index_t word_op_i,   ///< operation of events_i.read_word
    input  op_index_t load_op_i,   ///< operation of events_i.load
    input  op_index_t read_op_i,
    output counters_t read_o
);
  typedef struct packed {
    logic [31:0] experts;
    logic [31:0] stall_output;
    logic [31:0] stall_input;
    logic [31:0] stall_weight;
    logic [31:0] write_words;
    logic [31:0] compute;
    logic [31:0] cycles;
  } work_t;

  work_t work_q, work_read;
  logic [31:0] words_q, words_read, loads_q, loads_read;
  op_index_t op_q, word_op_q, load_op_q;
  logic [MaxOps-1:0] work_valid_q, words_valid_q, loads_valid_q;
  logic work_hit_q, words_hit_q, loads_hit_q;

  function automatic work_t add_work(work_t w, events_t e);
    return '{
        cycles: w.cycles + 1'b1,
        compute: w.compute + 32'(e.compute),
        write_words: w.write_words + 32'(e.write_word),
        stall_weight: w.stall_weight + 32'(e.stall_weight),
        stall_input: w.stall_input + 32'(e.stall_input),
        stall_output: w.stall_output + 32'(e.stall_output),
        experts: w.experts + 32'(e.expert)
    };
  endfunction

  always_ff @(posedge clk_i) begin
    work_hit_q  <= work_valid_q[read_op_i];
    words_hit_q <= words_valid_q[read_op_i];
    loads_hit_q <= loads_valid_q[read_op_i];
    if (!rst_ni || start_i) begin
      work_q <= '0;
      words_q <= '0;
      loads_q <= '0;
      op_q <= '0;
      word_op_q <= '0;
      load_op_q <= '0;
      work_valid_q <= '0;
      words_valid_q <= '0;
      loads_valid_q <= '0;
    end else if (running_i) begin
      op_q   <= op_i;
      work_q <= add_work(op_i == op_q ? work_q : '0, events_i);
      work_valid_q[op_i] <= 1'b1;
      if (events_i.read_word) begin
        word_op_q <= word_op_i;
        words_q   <= (word_op_i == word_op_q ? words_q : '0) + 1'b1;
        words_valid_q[word_op_i] <= 1'b1;
      end
      if (events_i.load) begin
        load_op_q <= load_op_i;
        loads_q   <= (load_op_i == load_op_q ? loads_q : '0) + 1'b1;
        loads_valid_q[load_op_i] <= 1'b1;
      end
    end
  end

  m3vit_ram #(
      .Width($bits(work_t)),
      .Depth(MaxOps),
      .Style("distributed")
  ) u_work (
      .clk_i,
      .write_i     (1'b1),
      .write_addr_i(op_q),
      .write_data_i(work_q),
      .read_i      (1'b1),
      .read_addr_i (read_op_i),
      .read_data_o (work_read)
  );
  m3vit_ram #(
      .Width(32),
      .Depth(MaxOps),
      .Style("distributed")
  ) u_words (
      .clk_i,
      .write_i     (1'b1),
      .write_addr_i(word_op_q),
      .write_data_i(words_q),
      .read_i      (1'b1),
      .read_addr_i (read_op_i),
      .read_data_o (words_read)
  );
  m3vit_ram #(
      .Width(32),
      .Depth(MaxOps),
      .Style("distributed")
  ) u_loads (
      .clk_i,
      .write_i     (1'b1),
      .write_addr_i(load_op_q),
      .write_data_i(loads_q),
      .read_i      (1'b1),
      .read_addr_i (read_op_i),
      .read_data_o (loads_read)
  );

  work_t work;
  assign work = work_hit_q ? work_read : '0;
  assign read_o = '{
          cycles: work.cycles,
          compute: work.compute,
          write_words: work.write_words,
          stall_weight: work.stall_weight,
          stall_input: work.stall_input,
          stall_output: work.stall_output,
          experts: work.experts,
          read_words: words_hit_q ? words_read : '0,
          loads: loads_hit_q ? loads_read : '0
      };
endmodule
