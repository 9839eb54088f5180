// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The weight stream: DRAM words become words of the linear engine and wait in a deep ring. Full throughput; a word is
/// visible three cycles after it has come. Words that nobody needs are skipped by a jump, those that have not come yet
/// as well: no word is valid from the cycle after a skip is taken until the word behind it is there. The ring grows by
/// LendWords of somebody else's RAM while lend_i is set.
/// With cache_i the same RAM is addressed: each job is written from load_base_i on, and the output reads from seek_base_i
/// on, without consuming. cache_i may only change when nothing is under way.
module m3vit_stream
  import m3vit_pkg::*;
#(
    parameter  int unsigned Groups = 2,
    parameter  int unsigned StreamWords = 512,
    parameter  int unsigned LendWords = 128,
    parameter  int unsigned BlockWords = StreamWords > 4096 ? StreamWords / 2 : 0,  ///< of them in block RAM
    localparam int unsigned Inputs = UnitBytes * Groups,
    localparam int unsigned LendAddrW = $clog2(LendWords)
) (
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  word_t                word_i,
    input  logic                 valid_i,
    input  logic                 last_i,        ///< last word of a job
    output logic                 ready_o,
    output logic  [8*Inputs-1:0] word_o,
    output logic                 valid_o,
    output logic  [         2:0] level_o,       ///< words that can be taken in successive cycles, up to 7
    input  logic                 ready_i,
    input  words_t               skip_words_i,  ///< drop this many words from the present one on; never with ready_i
    input  logic                 skip_valid_i,
    output logic                 skip_ready_o,
    input  logic                 cache_i,
    input  words_t               load_base_i,
    input  logic                 seek_valid_i,
    input  words_t               seek_base_i,
    output logic                 job_done_o,    ///< pulse: all words of a job are in the RAM
    input  logic                 lend_i,        ///< stable while anything is under way
    output logic                 lend_write_o,
    output logic [LendAddrW-1:0] lend_write_addr_o,
    output logic  [8*Inputs-1:0] lend_write_data_o,
    output logic                 lend_read_o,
    output logic [LendAddrW-1:0] lend_read_addr_o,
    input  logic  [8*Inputs-1:0] lend_read_data_i  ///< one cycle later
);
  localparam int unsigned Prefetch = 8;
  localparam int unsigned CountW = $clog2(StreamWords + LendWords + 1);
  typedef logic [CountW-1:0] count_t;
  typedef logic [8*Inputs-1:0] data_t;

  count_t depth;
  assign depth = count_t'(StreamWords) + (lend_i ? count_t'(LendWords) : '0);
  function automatic count_t wrap(logic [CountW:0] address, count_t size);
    return address >= (CountW + 1)'(size) ? count_t'(address - (CountW + 1)'(size)) : count_t'(address);
  endfunction

  // Write side.
  data_t in_word;
  logic in_valid, in_ready, push, first_q, cache_q, turn;
  count_t write_q, write_addr;
  m3vit_gearbox #(
      .Groups(Groups)
  ) u_gearbox (
      .clk_i,
      .rst_ni,
      .word_i,
      .valid_i,
      .last_i,
      .ready_o,
      .word_o (in_word),
      .valid_o(in_valid),
      .ready_i(in_ready)
  );

  // level_q words from the output position on are in the RAM; ahead_q of them are on the way to the output.
  count_t level_q, fetch_q, drop;
  words_t debt_q;  // words still to be skipped
  logic [3:0] ahead_q, visible;
  logic fetch, fetched_q, pop, skip, seeking_q, restart;
  assign turn = cache_i != cache_q;
  assign in_ready = cache_i || level_q != depth;
  assign push = in_valid && in_ready;
  assign write_addr = cache_i && first_q ? count_t'(load_base_i) : write_q;
  assign skip_ready_o = debt_q == '0;
  assign skip = skip_valid_i && skip_ready_o;
  assign drop = debt_q < words_t'(level_q) ? count_t'(debt_q) : level_q;
  assign fetch = debt_q == '0 && !skip && !seek_valid_i && ahead_q != 4'(Prefetch)
      && (cache_i ? seeking_q : count_t'(ahead_q) != level_q);
  assign pop = valid_o && ready_i;
  assign restart = skip || seek_valid_i || turn;
  assign visible = ahead_q - 4'(fetched_q);
  assign level_o = visible[3] ? 3'd7 : visible[2:0];

  always_ff @(posedge clk_i) begin
    cache_q <= cache_i;
    job_done_o <= valid_i && ready_o && last_i && rst_ni;
    if (!rst_ni || turn) begin
      write_q <= '0;
      fetch_q <= '0;
      level_q <= '0;
      debt_q <= '0;
      ahead_q <= '0;
      fetched_q <= 1'b0;
      first_q <= 1'b1;
      seeking_q <= 1'b0;
    end else begin
      if (valid_i && ready_o) first_q <= last_i || (first_q && !push);
      if (push) write_q <= wrap((CountW + 1)'(write_addr) + 1'b1, depth);
      level_q <= level_q + count_t'(push) - count_t'(pop) - drop;
      fetched_q <= fetch;
      ahead_q <= ahead_q + 4'(fetch) - 4'(pop);
      fetch_q <= wrap((CountW + 1)'(fetch_q) + (CountW + 1)'(drop) + (CountW + 1)'(fetch), depth);
      debt_q <= debt_q - words_t'(drop);
      if (skip) begin  // back to the output position, then forward
        fetch_q <= wrap((CountW + 1)'(fetch_q) + (CountW + 1)'(depth) - (CountW + 1)'(ahead_q), depth);
        debt_q <= skip_words_i;
      end
      if (seek_valid_i) begin
        fetch_q   <= count_t'(seek_base_i);
        seeking_q <= 1'b1;
      end
      if (restart) begin
        ahead_q   <= '0;
        fetched_q <= 1'b0;
      end
      if (cache_i) level_q <= '0;
    end
  end

  // RAM in up to three parts.
  localparam int unsigned UltraWords = StreamWords - BlockWords;
  localparam int unsigned UltraW = $clog2(UltraWords);
  data_t ultra_data, block_data, fetched;
  logic in_ultra, from_ultra, from_ultra_q, in_lent, from_lent, from_lent_q;
  assign in_ultra = write_addr < count_t'(UltraWords);
  assign in_lent = write_addr >= count_t'(StreamWords);
  assign from_ultra = fetch_q < count_t'(UltraWords);
  assign from_lent = fetch_q >= count_t'(StreamWords);
  always_ff @(posedge clk_i) begin
    from_ultra_q <= from_ultra;
    from_lent_q  <= from_lent;
  end
  m3vit_ram #(
      .Width(8 * Inputs),
      .Depth(UltraWords),
      .Style("ultra")
  ) u_ultra (
      .clk_i,
      .write_i     (push && in_ultra),
      .write_addr_i(UltraW'(write_addr)),
      .write_data_i(in_word),
      .read_i      (fetch && from_ultra),
      .read_addr_i (UltraW'(fetch_q)),
      .read_data_o (ultra_data)
  );
  if (BlockWords != 0) begin : gen_block
    localparam int unsigned BlockW = $clog2(BlockWords);
    m3vit_ram #(
        .Width(8 * Inputs),
        .Depth(BlockWords),
        .Style("block")
    ) u_block (
        .clk_i,
        .write_i     (push && !in_ultra && !in_lent),
        .write_addr_i(BlockW'(write_addr - count_t'(UltraWords))),
        .write_data_i(in_word),
        .read_i      (fetch && !from_ultra && !from_lent),
        .read_addr_i (BlockW'(fetch_q - count_t'(UltraWords))),
        .read_data_o (block_data)
    );
  end else begin : gen_no_block
    assign block_data = '0;
  end
  assign lend_write_o = push && in_lent;
  assign lend_write_addr_o = LendAddrW'(write_addr - count_t'(StreamWords));
  assign lend_write_data_o = in_word;
  assign lend_read_o = fetch && from_lent;
  assign lend_read_addr_o = LendAddrW'(fetch_q - count_t'(StreamWords));
  assign fetched = from_ultra_q ? ultra_data : from_lent_q ? lend_read_data_i : block_data;

  logic unused_ready;
  m3vit_fifo #(
      .Depth (Prefetch),
      .data_t(data_t)
  ) u_prefetch (
      .clk_i,
      .rst_ni (rst_ni && !restart),
      .data_i (fetched),
      .valid_i(fetched_q),
      .ready_o(unused_ready),  // ahead_q keeps it from overflowing
      .data_o (word_o),
      .valid_o(valid_o),
      .ready_i
  );
endmodule
