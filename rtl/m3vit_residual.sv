// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Residual stream on chip, int16, in units of 32 channels: adds results of the linear engine, saturating, after their
/// gate if a queue stands behind the row, Lanes values of one token per cycle; or is overwritten by them. Is loaded from
/// DRAM words in order, read by the LayerNorm unit, and streamed out. Rows of one command belong to different tokens and
/// commands follow each other by Lanes cycles or more, so the read-modify-write pipeline (four cycles) needs no
/// forwarding. Golden: sim/golden/moe.py combine, sim/golden/embed.py linear_residual.
module m3vit_residual
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 128
) (
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  logic                 load_valid_i,       ///< residual words in order, from unit 0 after a reset
    input  word_t                load_word_i,
    input  logic                 queue_write_i,
    input  logic                 queue_bank_i,
    input  token_t               queue_index_i,
    input  entry_t               queue_entry_i,
    input  logic                 valid_i,            ///< a row of results
    input  tag_t                 tag_i,
    input  value_t [  Lanes-1:0] value_i,
    output logic                 busy_o,             ///< a row is under way
    input  logic                 norm_read_valid_i,  ///< never together with rows or the store
    input  granule_t             norm_read_i,
    output value_t [  Lanes-1:0] norm_data_o,        ///< two cycles later
    input  logic                 store_i,            ///< stream out store_words_i units; hold until the last is taken
    input  words_t               store_words_i,
    output word_t                store_word_o,
    output logic                 store_valid_o,
    input  logic                 store_ready_i
);
  localparam int unsigned UnitChannels = WordBytes / 2;
  localparam int unsigned Granules = UnitChannels / Lanes;
  localparam int unsigned Depth = MaxTokens * ((MaxDim + UnitChannels - 1) / UnitChannels);
  localparam int unsigned AddrW = $clog2(Depth);
  localparam int unsigned QueueAddrW = $clog2(2 * MaxTokens);
  if (Granules * Lanes != UnitChannels) begin : gen_check
    $fatal(1, "Lanes must divide 32");
  end
  typedef logic [AddrW-1:0] unit_addr_t;
  typedef value_t [Lanes-1:0] row_t;

  function automatic logic [QueueAddrW-1:0] queue_addr(logic bank, token_t index);
    return bank ? QueueAddrW'(MaxTokens) + QueueAddrW'(index) : QueueAddrW'(index);
  endfunction
  function automatic unit_addr_t unit_addr(token_t row, logic [7:0] pitch, logic [7:0] unit);
    return unit_addr_t'(row) * unit_addr_t'(pitch) + unit_addr_t'(unit);
  endfunction

  // Stage 1: queue entry. Stage 2: product and address. Stage 3: residual. Stage 4: write.
  logic [3:0] valid_q;
  tag_t tag_q;
  row_t value_q;
  entry_t entry;
  unit_addr_t addr_q, addr_qq, addr_qqq;
  logic [3:0] sub_q, sub_qq, sub_qqq;
  logic gated, fresh_q, fresh_qq;
  row_t contribution_q, contribution_qq, sum_q, present;
  row_t [Granules-1:0] read_unit;

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

  logic norm_q;  // LayerNorm reads
  unit_addr_t norm_addr_q;
  logic [3:0] norm_sub_q;
  assign gated = tag_q.dest == DstCombine;
  assign present = read_unit[sub_qq[$clog2(Granules+1)-1:0]];
  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[2:0], valid_i} : '0;
    if (valid_i) begin
      tag_q   <= tag_i;
      value_q <= value_i;
    end
    if (valid_q[0]) begin
      addr_q  <= unit_addr(gated ? entry.token : tag_q.dest_row, tag_q.pitch, tag_q.word);
      sub_q   <= tag_q.sub;
      fresh_q <= tag_q.dest == DstOutput;
      for (int l = 0; l < int'(Lanes); l++)
        contribution_q[l] <= scale(value_q[l], gated ? entry.gate : gate_t'(1 << GateFractionBits));
    end
    if (valid_q[1]) begin
      addr_qq <= addr_q;
      fresh_qq <= fresh_q;
      contribution_qq <= contribution_q;
    end
    if (valid_q[1] || norm_q) sub_qq <= valid_q[1] ? sub_q : norm_sub_q;
    if (valid_q[2]) begin
      addr_qqq <= addr_qq;
      sub_qqq  <= sub_qq;
      for (int l = 0; l < int'(Lanes); l++) sum_q[l] <= add(fresh_qq ? '0 : present[l], contribution_qq[l]);
    end
  end
  assign busy_o = |valid_q;

  // LayerNorm reads: address, then data.
  always_ff @(posedge clk_i) begin
    norm_q <= norm_read_valid_i;
    norm_addr_q <= unit_addr(norm_read_i.row, norm_read_i.pitch, norm_read_i.word);
    norm_sub_q <= norm_read_i.sub;
  end
  assign norm_data_o = present;

  // Loading and storing.
  unit_addr_t load_addr_q;
  words_t store_count_q;
  logic storing, fetched_q, out_ready;
  logic [2:0] ahead_q;  // words fetched and not yet taken
  assign storing = store_i && store_count_q != store_words_i && ahead_q != 3'd4;
  for (genvar g = 0; g < int'(Granules); g++) begin : gen_granule
    m3vit_ram #(
        .Width(16 * Lanes),
        .Depth(Depth),
        .Style("ultra")
    ) u_ram (
        .clk_i,
        .write_i     (load_valid_i || (valid_q[3] && sub_qqq == 4'(g))),
        .write_addr_i(load_valid_i ? load_addr_q : addr_qqq),
        .write_data_i(load_valid_i ? load_word_i[16*Lanes*g+:16*Lanes] : sum_q),
        .read_i      (valid_q[1] || norm_q || storing),
        .read_addr_i (storing ? unit_addr_t'(store_count_q) : norm_q ? norm_addr_q : addr_q),
        .read_data_o (read_unit[g])
    );
  end

  logic unused_ready;
  m3vit_fifo #(
      .Depth (4),
      .data_t(word_t)
  ) u_out (
      .clk_i,
      .rst_ni,
      .data_i (read_unit),
      .valid_i(fetched_q),
      .ready_o(unused_ready),  // ahead_q keeps it from overflowing
      .data_o (store_word_o),
      .valid_o(store_valid_o),
      .ready_i(store_ready_i)
  );
  assign out_ready = store_valid_o && store_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      load_addr_q <= '0;
      store_count_q <= '0;
      fetched_q <= 1'b0;
      ahead_q <= '0;
    end else begin
      fetched_q <= storing;
      ahead_q   <= ahead_q + 3'(storing) - 3'(out_ready);
      if (load_valid_i) load_addr_q <= load_addr_q + 1'b1;
      if (!store_i) store_count_q <= '0;
      else if (storing) store_count_q <= store_count_q + 1'b1;
    end
  end
endmodule
