// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Input rows of the linear engine: the token buffer, directly or through the queue of an expert, and the hidden buffer.
/// A request is answered after exactly ActLatency = 3 cycles, one per cycle. The queue has two banks: one expert
/// computes while the queue of the next is built.
module m3vit_activations
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 64,
    parameter int unsigned MaxHidden = 256,
    localparam int unsigned TokenAddrW = $clog2(MaxTokens * MaxDim / WordBytes)
) (
    input  logic                             clk_i,
    input  logic                             token_write_i,        ///< load the token buffer
    input  logic     [       TokenAddrW-1:0] token_addr_i,         ///< word address
    input  word_t                            token_word_i,
    input  logic                             queue_write_i,        ///< fill a queue
    input  logic                             queue_bank_i,
    input  token_t                           queue_index_i,
    input  entry_t                           queue_entry_i,
    input  logic                             hidden_write_i,       ///< Lanes hidden values of one row
    input  token_t                           hidden_row_i,
    input  logic     [                  9:0] hidden_tile_i,
    input  logic     [                  7:0] hidden_pitch_i,       ///< 64-byte chunks per hidden row
    input  logic     [Lanes-1:0][       7:0] hidden_i,
    input  logic                             valid_i,
    input  act_req_t                         req_i,
    output word_t                            word_o
);
  localparam int unsigned QueueAddrW = $clog2(2 * MaxTokens);
  // Hidden rows are written Lanes bytes and read 64 bytes at a time.
  localparam int unsigned Granule = Lanes % 64 == 0 ? 64 : Lanes % 32 == 0 ? 32 : Lanes % 16 == 0 ? 16 : 8;
  localparam int unsigned Widest = Lanes > WordBytes ? Lanes : WordBytes;
  localparam int unsigned Banks = 1 << $clog2(Widest / Granule);
  localparam int unsigned HiddenDepth = (MaxTokens * MaxHidden / Granule + Banks - 1) / Banks;
  localparam int unsigned HiddenAddrW = $clog2(Banks * HiddenDepth);

  function automatic logic [QueueAddrW-1:0] queue_addr(logic bank, token_t index);
    return bank ? QueueAddrW'(MaxTokens) + QueueAddrW'(index) : QueueAddrW'(index);
  endfunction

  // Cycle 1: row to token. Cycle 2: address. Cycle 3: data.
  act_req_t req_q;
  entry_t entry;
  token_t row;
  logic [20:0] chunk_addr_q;
  source_e source_q, source_qq;
  m3vit_ram #(
      .Width($bits(entry_t)),
      .Depth(2 * MaxTokens)
  ) u_queue (
      .clk_i,
      .write_i     (queue_write_i),
      .write_addr_i(queue_addr(queue_bank_i, queue_index_i)),
      .write_data_i(queue_entry_i),
      .read_i      (valid_i),
      .read_addr_i (queue_addr(req_i.bank, req_i.row)),
      .read_data_o (entry)
  );
  assign row = req_q.source == SrcQueue ? entry.token : req_q.row;

  logic [1:0] valid_q;
  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[0], valid_i};
    if (valid_i) req_q <= req_i;
    if (valid_q[0]) begin
      chunk_addr_q <= 21'(row) * 21'(req_q.pitch) + 21'(req_q.chunk);
      source_q <= req_q.source;
    end
    if (valid_q[1]) source_qq <= source_q;
  end

  word_t token_word, hidden_word;
  m3vit_ram #(
      .Width(8 * WordBytes),
      .Depth(MaxTokens * MaxDim / WordBytes),
      .Style("ultra")
  ) u_tokens (
      .clk_i,
      .write_i     (token_write_i),
      .write_addr_i(token_addr_i),
      .write_data_i(token_word_i),
      .read_i      (valid_q[1] && source_q != SrcHidden),
      .read_addr_i (chunk_addr_q[TokenAddrW-1:0]),
      .read_data_o (token_word)
  );

  logic [HiddenAddrW-1:0] hidden_addr;
  assign hidden_addr = HiddenAddrW'(hidden_row_i) * HiddenAddrW'(hidden_pitch_i) * HiddenAddrW'(WordBytes / Granule)
      + HiddenAddrW'(hidden_tile_i) * HiddenAddrW'(Lanes / Granule);
  m3vit_bank_ram #(
      .GranuleBits  (8 * Granule),
      .Banks        (Banks),
      .Depth        (HiddenDepth),
      .ReadGranules (WordBytes / Granule),
      .WriteGranules(Lanes / Granule),
      .Style        ("ultra")
  ) u_hidden (
      .clk_i,
      .write_i     ({Lanes / Granule{hidden_write_i}}),
      .write_addr_i(hidden_addr),
      .write_data_i(hidden_i),
      .read_i      (valid_q[1] && source_q == SrcHidden),
      .read_addr_i (HiddenAddrW'(chunk_addr_q) * HiddenAddrW'(WordBytes / Granule)),
      .read_data_o (hidden_word)
  );
  assign word_o = source_qq == SrcHidden ? hidden_word : token_word;
endmodule
