// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The int8 buffers that the linear engine reads: x (input of a layer), h (queries, hidden rows) and kv (keys and
/// values, before that patches). Words of 32 x Groups bytes, written by granules of Lanes bytes. Rows are read directly
/// or through a token queue, one per cycle; the queue has two banks: one expert computes while the queue of the next is
/// built. The upper part of kv may be lent to the weight stream when a model does not need it.
module m3vit_buffers
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxTokens = 80,
    parameter  int unsigned MaxDim = 128,
    parameter  int unsigned MaxHidden = 128,
    parameter  int unsigned LendWords = 128,                                          ///< power of two
    localparam int unsigned Inputs = UnitBytes * Groups,
    localparam int unsigned KvDepth = MaxTokens * ((2 * MaxDim + Inputs - 1) / Inputs),
    localparam int unsigned KvAddrW = $clog2(KvDepth),
    localparam int unsigned LendAddrW = $clog2(LendWords)
) (
    input  logic                      clk_i,
    input  logic                      x_write_i,
    input  granule_t                  x_place_i,
    input  logic     [Lanes-1:0][7:0] x_data_i,
    input  logic                      h_write_i,
    input  granule_t                  h_place_i,
    input  logic     [Lanes-1:0][7:0] h_data_i,
    input  logic                      kv_write_i,
    input  granule_t                  kv_place_i,
    input  logic     [Lanes-1:0][7:0] kv_data_i,
    input  logic                      patch_write_i,
    input  logic     [   KvAddrW-1:0] patch_addr_i,
    input  logic     [  8*Inputs-1:0] patch_data_i,
    input  logic     [  Inputs/8-1:0] patch_pieces_i,    ///< which groups of eight bytes
    input  logic                      queue_write_i,
    input  logic                      queue_bank_i,
    input  token_t                    queue_index_i,
    input  entry_t                    queue_entry_i,
    input  logic                      req_valid_i,
    input  act_req_t                  req_i,
    output logic     [  8*Inputs-1:0] act_o,             ///< ActLatency cycles after the request
    input  logic                      kv_valid_i,
    input  kv_req_t                   kv_req_i,
    output logic     [8*UnitBytes-1:0] kv_unit_o,        ///< KvLatency cycles after the request
    input  logic                      lend_i,            ///< the upper LendWords of kv belong to the stream
    input  logic                      lend_write_i,
    input  logic     [ LendAddrW-1:0] lend_write_addr_i,
    input  logic     [  8*Inputs-1:0] lend_write_data_i,
    input  logic                      lend_read_i,
    input  logic     [ LendAddrW-1:0] lend_read_addr_i,
    output logic     [  8*Inputs-1:0] lend_read_data_o
);
  localparam int unsigned Granules = Inputs / Lanes;
  localparam int unsigned XDepth = MaxTokens * ((MaxDim + Inputs - 1) / Inputs);
  localparam int unsigned HDepth = MaxTokens * ((MaxHidden + Inputs - 1) / Inputs);
  localparam int unsigned XAddrW = $clog2(XDepth);
  localparam int unsigned HAddrW = $clog2(HDepth);
  localparam int unsigned Widest = 2 * MaxDim > MaxHidden ? 2 * MaxDim : MaxHidden;
  localparam int unsigned PitchW = $clog2((Widest + Inputs - 1) / Inputs + 1);
  localparam int unsigned QueueAddrW = $clog2(2 * MaxTokens);
  typedef logic [20:0] word_addr_t;
  typedef logic [8*Inputs-1:0] data_t;
  typedef logic [8*UnitBytes-1:0] unit_t;

  function automatic logic [QueueAddrW-1:0] queue_addr(logic bank, token_t index);
    return bank ? QueueAddrW'(MaxTokens) + QueueAddrW'(index) : QueueAddrW'(index);
  endfunction
  /// row x pitch + word; the pitch has so few bits that no multiplier is needed.
  function automatic word_addr_t word_addr(token_t row, logic [7:0] pitch, logic [7:0] word);
    word_addr = word_addr_t'(word);
    for (int i = 0; i < int'(PitchW); i++) if (pitch[i]) word_addr += word_addr_t'(row) << i;
  endfunction

  // Requests. Cycle 1: queue. Cycle 2: address. Cycle 3: read. Cycle 4: select. Cycle 5: output register.
  act_req_t req_q, req_qq, req_qqq;
  logic [2:0] valid_q;
  entry_t entry;
  word_addr_t addr_q;
  m3vit_ram #(
      .Width($bits(entry_t)),
      .Depth(2 * MaxTokens)
  ) u_queue (
      .clk_i,
      .write_i     (queue_write_i),
      .write_addr_i(queue_addr(queue_bank_i, queue_index_i)),
      .write_data_i(queue_entry_i),
      .read_i      (req_valid_i),
      .read_addr_i (queue_addr(req_i.bank, req_i.row)),
      .read_data_o (entry)
  );
  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[1:0], req_valid_i};
    req_q   <= req_i;
    req_qq  <= req_q;
    req_qqq <= req_qq;
    addr_q  <= word_addr(req_q.source == SrcQueue ? entry.token : req_q.row, req_q.pitch, req_q.word);
  end

  // Key-value units. Cycle 1: address. Cycle 2: read. Cycle 3: select.
  logic kv_valid_q, kv_reads;
  logic [1:0] kv_part, kv_part_q, kv_part_qq;
  logic [7:0] kv_word;
  word_addr_t kv_addr_q;
  logic [15:0] kv_times171;  // / 512 is / 3, and needs no multiplier
  assign kv_times171 = (16'(kv_req_i.unit) << 7) + (16'(kv_req_i.unit) << 5) + (16'(kv_req_i.unit) << 3)
      + (16'(kv_req_i.unit) << 1) + 16'(kv_req_i.unit);
  assign kv_word = Groups == 3 ? 8'(kv_times171 >> 9) : kv_req_i.unit >> (Groups / 2);  // unit / Groups
  assign kv_part = 2'(kv_req_i.unit - kv_word * 8'(Groups));
  always_ff @(posedge clk_i) begin
    kv_valid_q <= kv_valid_i;
    kv_addr_q  <= word_addr(kv_req_i.row, kv_req_i.pitch, kv_word);
    kv_part_q  <= kv_part;
    kv_part_qq <= kv_part_q;
  end

  data_t x_word, h_word, kv_data;
  for (genvar g = 0; g < int'(Granules); g++) begin : gen_granule
    m3vit_ram #(
        .Width(8 * Lanes),
        .Depth(XDepth),
        .Style("ultra")
    ) u_x (
        .clk_i,
        .write_i     (x_write_i && x_place_i.sub == 4'(g)),
        .write_addr_i(XAddrW'(word_addr(x_place_i.row, x_place_i.pitch, x_place_i.word))),
        .write_data_i(x_data_i),
        .read_i      (valid_q[1] && req_qq.source inside {SrcX, SrcQueue}),
        .read_addr_i (XAddrW'(addr_q)),
        .read_data_o (x_word[8*Lanes*g+:8*Lanes])
    );
    m3vit_ram #(
        .Width(8 * Lanes),
        .Depth(HDepth),
        .Style("ultra")
    ) u_h (
        .clk_i,
        .write_i     (h_write_i && h_place_i.sub == 4'(g)),
        .write_addr_i(HAddrW'(word_addr(h_place_i.row, h_place_i.pitch, h_place_i.word))),
        .write_data_i(h_data_i),
        .read_i      (valid_q[1] && req_qq.source inside {SrcHidden, SrcQuery}),
        .read_addr_i (HAddrW'(addr_q)),
        .read_data_o (h_word[8*Lanes*g+:8*Lanes])
    );
  end

  // Writes of a granule repeat it over the word; the pieces select.
  logic [Inputs/8-1:0] pieces, lower_pieces, upper_pieces;
  data_t write_data, upper_write_data, lower_data, upper_data;
  logic [KvAddrW-1:0] write_addr, read_addr;
  logic upper_write, upper_read, upper_read_q;
  localparam int unsigned LowerDepth = KvDepth - LendWords;
  localparam int unsigned LowerW = $clog2(LowerDepth);
  always_comb begin
    pieces = '0;
    for (int p = 0; p < int'(Inputs / 8); p++)
      pieces[p] = patch_write_i ? patch_pieces_i[p] : kv_write_i && kv_place_i.sub == 4'(8 * p / int'(Lanes));
  end
  assign write_data = patch_write_i ? patch_data_i : {Granules{kv_data_i}};
  assign write_addr = patch_write_i ? patch_addr_i
      : KvAddrW'(word_addr(kv_place_i.row, kv_place_i.pitch, kv_place_i.word));
  assign kv_reads = kv_valid_q || (valid_q[1] && req_qq.source == SrcPatches);
  assign read_addr = kv_valid_q ? KvAddrW'(kv_addr_q) : KvAddrW'(addr_q);
  assign upper_write = write_addr >= KvAddrW'(LowerDepth);
  assign upper_read = read_addr >= KvAddrW'(LowerDepth);
  assign lower_pieces = upper_write ? '0 : pieces;
  assign upper_pieces = lend_i ? {Inputs / 8{lend_write_i}} : upper_write ? pieces : '0;
  assign upper_write_data = lend_i ? lend_write_data_i : write_data;
  for (genvar p = 0; p < int'(Inputs / 8); p++) begin : gen_piece
    m3vit_ram #(
        .Width(64),
        .Depth(LowerDepth),
        .Style("ultra")
    ) u_lower (
        .clk_i,
        .write_i     (lower_pieces[p]),
        .write_addr_i(LowerW'(write_addr)),
        .write_data_i(write_data[64*p+:64]),
        .read_i      (kv_reads && !upper_read),
        .read_addr_i (LowerW'(read_addr)),
        .read_data_o (lower_data[64*p+:64])
    );
    m3vit_ram #(
        .Width(64),
        .Depth(LendWords),
        .Style("ultra")
    ) u_upper (
        .clk_i,
        .write_i     (upper_pieces[p]),
        .write_addr_i(lend_i ? lend_write_addr_i : LendAddrW'(write_addr - KvAddrW'(LowerDepth))),
        .write_data_i(upper_write_data[64*p+:64]),
        .read_i      (lend_i ? lend_read_i : kv_reads && upper_read),
        .read_addr_i (lend_i ? lend_read_addr_i : LendAddrW'(read_addr - KvAddrW'(LowerDepth))),
        .read_data_o (upper_data[64*p+:64])
    );
  end
  always_ff @(posedge clk_i) if (kv_reads) upper_read_q <= upper_read;
  assign kv_data = upper_read_q ? upper_data : lower_data;
  assign lend_read_data_o = upper_data;

  unit_t [Groups-1:0] kv_units, h_units, query;
  assign kv_units = kv_data;
  assign h_units = h_word;
  always_comb
    for (int g = 0; g < int'(Groups); g++)
      query[g] = req_qqq.units == 3'd1 ? h_units[req_qqq.sub] : 3'(g) < req_qqq.units ? h_units[g] : '0;
  data_t word_q, word_d;
  always_comb begin
    unique case (req_qqq.source)
      SrcHidden: word_d = h_word;
      SrcQuery: word_d = query;
      SrcPatches: word_d = kv_data;
      default: word_d = x_word;
    endcase
  end
  always_ff @(posedge clk_i) begin
    if (valid_q[2]) word_q <= word_d;
    act_o <= word_q;
    kv_unit_o <= kv_units[kv_part_qq];
  end
endmodule
