// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_stream as a queue: words leave in the order in which they came, none is lost or repeated, a skip drops exactly
/// as many as it says, those that have not come yet as well, and level_o promises nothing that does not hold.
/// By induction; any gaps, stalls and skips, with and without the lent words.
module formal_stream
  import m3vit_pkg::*;
#(
    parameter int unsigned StreamWords = 4,
    parameter int unsigned LendWords = 2
) (
    input logic clk_i,
    input logic rst_ni,
    input logic valid_i,
    input logic last_i,
    input logic ready_i,
    input logic [3:0] skip_words_i,
    input logic skip_valid_i,
    input logic lend_i  ///< stable
);
  logic [7:0] in_q, out_q;  // words are numbered
  logic ready, valid, skip_ready, job_done, lend_write, lend_read;
  word_t word, lend_write_data, lend_read_data;
  logic [2:0] level;
  logic [$clog2(LendWords)-1:0] lend_write_addr, lend_read_addr;
  m3vit_stream #(
      .Groups     (2),
      .StreamWords(StreamWords),
      .LendWords  (LendWords)
  ) dut (
      .clk_i,
      .rst_ni,
      .word_i           (word_t'(in_q)),
      .valid_i,
      .last_i,
      .ready_o          (ready),
      .word_o           (word),
      .valid_o          (valid),
      .level_o          (level),
      .ready_i,
      .skip_words_i     (words_t'(skip_words_i)),
      .skip_valid_i,
      .skip_ready_o     (skip_ready),
      .cache_i          (1'b0),
      .load_base_i      ('0),
      .seek_valid_i     (1'b0),
      .seek_base_i      ('0),
      .job_done_o       (job_done),
      .lend_i,
      .lend_write_o     (lend_write),
      .lend_write_addr_o(lend_write_addr),
      .lend_write_data_o(lend_write_data),
      .lend_read_o      (lend_read),
      .lend_read_addr_o (lend_read_addr),
      .lend_read_data_i (lend_read_data)
  );
  m3vit_ram #(
      .Width($bits(word_t)),
      .Depth(LendWords)
  ) lent (
      .clk_i,
      .write_i     (lend_write),
      .write_addr_i(lend_write_addr),
      .write_data_i(lend_write_data),
      .read_i      (lend_read),
      .read_addr_i (lend_read_addr),
      .read_data_o (lend_read_data)
  );

  localparam int unsigned Prefetch = 8;  // of m3vit_stream
  logic started_q = 1'b0, pop, skip, skip_q, lend_q;
  logic [2:0] promise_q;
  logic [7:0] held;
  assign pop  = valid && ready_i;
  assign skip = skip_valid_i && skip_ready;
  assign held = in_q - out_q;  // negative while a skip waits for words
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    lend_q <= lend_i;
    skip_q <= skip || !rst_ni;
    promise_q <= level - 3'(pop);
    if (!rst_ni) begin
      in_q  <= '0;
      out_q <= '0;
    end else begin
      if (valid_i && ready) in_q <= in_q + 8'd1;
      out_q <= out_q + 8'(pop) + (skip ? 8'(skip_words_i) : '0);
    end
  end

  /// Address in a ring: `at` is less than twice its size.
  function automatic logic [3:0] wrap(logic [3:0] at, logic [3:0] size);
    return at >= size ? at - size : at;
  endfunction

  // For the invariants: what the RAM, the word on its way and the prefetch queue hold.
  logic [7:0] stored[8];
  logic [3:0] depth, ram_level;
  int unsigned ahead, queued;
  logic ram_agrees, queue_agrees;
  always_comb begin
    for (int a = 0; a < 8; a++)
    stored[a] = a < int'(StreamWords) ? dut.u_ultra.gen_whole.mem_q[a%int'(StreamWords)][7:0]
        : lent.gen_whole.mem_q[a%int'(LendWords)][7:0];
    depth = 4'(StreamWords) + (lend_i ? 4'(LendWords) : '0);
    ram_level = 4'(dut.level_q);
    ahead = 32'(dut.ahead_q);
    queued = 32'(dut.u_prefetch.count_q);
    ram_agrees = 1'b1;
    for (int i = 1; i <= int'(StreamWords + LendWords); i++)
    if (i <= int'(ram_level) && stored[3'(wrap(4'(dut.write_q) + depth - 4'(i), depth))] != in_q - 8'(i)) ram_agrees = 1'b0;
    queue_agrees = !dut.fetched_q || dut.fetched[7:0] == out_q + 8'(queued);
    for (int i = 0; i < int'(Prefetch); i++)
    if (i < int'(queued) && dut.u_prefetch.mem_q[(32'(dut.u_prefetch.head_q)+i)%Prefetch][7:0] != out_q + 8'(i))
      queue_agrees = 1'b0;

    assume (rst_ni == started_q);
    if (started_q) begin
      assume (lend_i == lend_q);
      if (skip_valid_i) assume (!ready_i);  // the feeder does one thing at a time
      if (valid) a_order : assert (word[7:0] == out_q);
      if (valid) a_came : assert (held != '0 && !held[7]);
      if (level != '0) a_level : assert (valid);
      if (!skip_q) a_promise : assert (level >= promise_q);
      if (!held[7]) a_room : assert (32'(held) <= StreamWords + (lend_i ? LendWords : 0));
      if (dut.fetched_q) a_place : assert (dut.u_prefetch.ready_o);
      // Invariants for the induction.
      i_level : assert (8'(ram_level) - 8'(dut.debt_q) == held && ram_level <= depth && dut.debt_q < 16);
      i_ahead : assert (ahead == queued + 32'(dut.fetched_q) && ahead <= 32'(ram_level) && ahead <= Prefetch);
      i_debt : assert (dut.debt_q == '0 || ahead == 0);
      i_address : assert (4'(dut.write_q) < depth && 4'(dut.fetch_q) < depth
          && wrap(4'(dut.fetch_q) + ram_level - 4'(ahead), depth) == 4'(dut.write_q));
      i_ram : assert (ram_agrees);
      i_queue : assert (queue_agrees);
      i_pointers : assert (32'(dut.u_prefetch.tail_q) == (32'(dut.u_prefetch.head_q) + queued) % Prefetch
          && 32'(dut.u_prefetch.head_q) < Prefetch);
      i_mode : assert (!dut.cache_q && dut.Prefetch == Prefetch);
    end
  end
endmodule
