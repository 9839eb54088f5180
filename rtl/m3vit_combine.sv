// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Residual stream on chip: adds gated expert outputs, saturating, Lanes values of one token per cycle. Also loads the
/// residual from DRAM words and streams the result back. Rows of one expert belong to different tokens, so the
/// read-modify-write pipeline needs no forwarding. Golden: sim/golden/moe.py combine.
module m3vit_combine
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 64
) (
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  logic   [        7:0] pitch_i,        ///< 64-element chunks per row
    input  logic                 load_valid_i,   ///< residual words in order
    input  word_t                load_word_i,
    input  logic                 queue_write_i,
    input  logic                 queue_bank_i,
    input  token_t               queue_index_i,
    input  entry_t               queue_entry_i,
    input  logic                 valid_i,        ///< a row of expert outputs
    input  tag_t                 tag_i,
    input  value_t [  Lanes-1:0] value_i,
    output logic                 busy_o,         ///< a row is under way
    input  logic                 store_i,        ///< stream out store_words_i words; hold until the last is taken
    input  words_t               store_words_i,
    output word_t                store_word_o,
    output logic                 store_valid_o,
    input  logic                 store_ready_i
);
  localparam int unsigned WordElements = WordBytes / 2;
  localparam int unsigned Granule = Lanes % 32 == 0 ? 32 : Lanes % 16 == 0 ? 16 : 8;
  localparam int unsigned LaneGranules = Lanes / Granule;
  localparam int unsigned WordGranules = WordElements / Granule;
  localparam int unsigned Widest = LaneGranules > WordGranules ? LaneGranules : WordGranules;
  localparam int unsigned Banks = 1 << $clog2(Widest);
  localparam int unsigned Depth = (MaxTokens * MaxDim / Granule + Banks - 1) / Banks;
  localparam int unsigned AddrW = $clog2(Banks * Depth);
  localparam int unsigned QueueAddrW = $clog2(2 * MaxTokens);
  typedef logic [AddrW-1:0] addr_w_t;
  typedef value_t [Lanes-1:0] row_t;
  typedef logic [Widest-1:0][16*Granule-1:0] access_t;

  function automatic logic [QueueAddrW-1:0] queue_addr(logic bank, token_t index);
    return bank ? QueueAddrW'(MaxTokens) + QueueAddrW'(index) : QueueAddrW'(index);
  endfunction

  // Stage 1: queue entry. Stage 2: product and address. Stage 3: residual. Stage 4: write.
  logic [3:0] valid_q;
  tag_t tag_q;
  row_t value_q;
  entry_t entry;
  addr_w_t addr_q, addr_qq, addr_qqq;
  row_t contribution_q, contribution_qq, sum_q;
  access_t read_data, write_data;

  m3vit_ram #(
      .Width($bits(entry_t)),
      .Depth(2 * MaxTokens)
  ) u_queue (
      .clk_i,
      .write_i     (queue_write_i),
      .write_addr_i(queue_addr(queue_bank_i, queue_index_i)),
      .write_data_i(queue_entry_i),
      .read_i      (valid_i),
      .read_addr_i (queue_addr(tag_i.bank, tag_i.row)),
      .read_data_o (entry)
  );

  function automatic value_t scale(value_t value, gate_t gate);
    automatic logic signed [33:0] product = 34'(value) * 34'(signed'({1'b0, gate}));
    return value_t'((product + 34'sd1 * (34'sd1 <<< (GateFractionBits - 1))) >>> GateFractionBits);
  endfunction

  function automatic value_t add(value_t a, value_t b);
    automatic logic signed [16:0] sum = 17'(a) + 17'(b);
    return sum > 17'sd32767 ? 16'sd32767 : sum < -17'sd32768 ? -16'sd32768 : value_t'(sum);
  endfunction

  row_t present;
  assign present = row_t'(read_data[LaneGranules-1:0]);
  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[2:0], valid_i} : '0;
    if (valid_i) begin
      tag_q   <= tag_i;
      value_q <= value_i;
    end
    if (valid_q[0]) begin
      addr_q <= addr_w_t'(entry.token) * addr_w_t'(pitch_i) * addr_w_t'(WordBytes / Granule)
          + addr_w_t'(tag_q.m_tile) * addr_w_t'(LaneGranules);
      for (int l = 0; l < int'(Lanes); l++) contribution_q[l] <= scale(value_q[l], entry.gate);
    end
    if (valid_q[1]) begin
      addr_qq <= addr_q;
      contribution_qq <= contribution_q;
    end
    if (valid_q[2]) begin
      addr_qqq <= addr_qq;
      for (int l = 0; l < int'(Lanes); l++) sum_q[l] <= add(present[l], contribution_qq[l]);
    end
  end
  assign busy_o = |valid_q;

  // Loading and storing use the same ports, before and after the experts.
  words_t load_count_q, store_count_q;
  logic storing, fetched_q, out_ready;
  logic [2:0] ahead_q;  // words fetched and not yet taken
  logic [Widest-1:0] write_mask;
  addr_w_t write_addr;
  always_comb begin
    write_data = access_t'(sum_q);
    write_addr = addr_qqq;
    write_mask = valid_q[3] ? Widest'((1 << LaneGranules) - 1) : '0;
    if (load_valid_i) begin
      write_data = access_t'(load_word_i);
      write_addr = addr_w_t'(load_count_q) * addr_w_t'(WordGranules);
      write_mask = Widest'((1 << WordGranules) - 1);
    end
  end
  assign storing = store_i && store_count_q != store_words_i && ahead_q != 3'd4;
  m3vit_bank_ram #(
      .GranuleBits  (16 * Granule),
      .Banks        (Banks),
      .Depth        (Depth),
      .ReadGranules (Widest),
      .WriteGranules(Widest),
      .Style        ("ultra")
  ) u_residual (
      .clk_i,
      .write_i     (write_mask),
      .write_addr_i(write_addr),
      .write_data_i(write_data),
      .read_i      (valid_q[1] || storing),
      .read_addr_i (storing ? addr_w_t'(store_count_q) * addr_w_t'(WordGranules) : addr_q),
      .read_data_o (read_data)
  );

  logic unused_ready;
  m3vit_fifo #(
      .Depth (4),
      .data_t(word_t)
  ) u_out (
      .clk_i,
      .rst_ni,
      .data_i (word_t'(read_data[WordGranules-1:0])),
      .valid_i(fetched_q),
      .ready_o(unused_ready),  // ahead_q keeps it from overflowing
      .data_o (store_word_o),
      .valid_o(store_valid_o),
      .ready_i(store_ready_i)
  );
  assign out_ready = store_valid_o && store_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      load_count_q <= '0;
      store_count_q <= '0;
      fetched_q <= 1'b0;
      ahead_q <= '0;
    end else begin
      fetched_q <= storing;
      ahead_q   <= ahead_q + 3'(storing) - 3'(out_ready);
      if (load_valid_i) load_count_q <= load_count_q + 1'b1;
      if (storing) store_count_q <= store_count_q + 1'b1;
      if (!store_i && store_count_q != '0) begin
        load_count_q  <= '0;
        store_count_q <= '0;
      end
    end
  end
endmodule
