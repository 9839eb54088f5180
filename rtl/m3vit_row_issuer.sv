// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Loop nest of the linear engine: for each output tile, for each input word, for each row. One row per cycle. A pass
/// over the rows starts when its weight tile is in the shadow registers; rows of a last chunk also need a credit,
/// that is, a place in the engine's output queue. Commands may have to wait for what others write (fence_e, norm_e). A
/// command fenced at its last chunk reads what the command before it computed from as many rows: its last chunk waits for
/// all of that; a chunk before it only until no more results are under way than the last chunk is made of.
/// Does not touch data.
module m3vit_row_issuer
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2
) (
    input  logic       clk_i,
    input  logic       rst_ni,
    input  command_t   cmd_i,
    input  logic       cmd_valid_i,
    output logic       cmd_ready_o,
    input  logic       quiet_i,          ///< all earlier results have reached their buffers
    input  logic [6:0] pending_i,        ///< results between issue and the engine's output
    input  logic       gelu_loaded_i,
    input  logic       patches_ready_i,
    output logic       norm_wait_o,      ///< the command waits for its norm to start
    input  logic       norm_start_i,
    input  token_t     norm_rows_i,      ///< rows that the norm has written
    input  logic       norm_busy_i,
    input  logic       tile_soon_i,      ///< the next tile is in the shadow registers when the row arrives
    input  logic       credit_i,         ///< the output queue has room
    output logic       valid_o,          ///< a row is issued
    output act_req_t   req_o,
    output tag_t       tag_o,
    output score_tag_t score_tag_o,
    output logic       first_row_o,      ///< first row of a pass: the array swaps weights
    output logic       first_chunk_o,
    output logic       last_chunk_o,     ///< accumulators are complete
    output logic       stall_weight_o,   ///< waits for weights
    output logic       stall_input_o,    ///< has no command, or waits for a fence, a norm, a table or the image
    output logic       stall_output_o    ///< waits for a credit
);
  localparam int unsigned WordGranules = UnitBytes * Groups / Lanes;
  localparam int unsigned UnitGranules = UnitBytes / Lanes;

  localparam int unsigned SettleCycles = 8;  // from the engine's output into a buffer, at most

  token_t row_q, row_d;
  logic [7:0] chunk_q, chunk_d;
  logic [9:0] tile_q, tile_d;
  logic passed_q, passed_d;  // the fence of this command is passed
  logic started_q;  // the norm of this command has started
  logic swapped_q;  // a swap is under way; the shadow still shows the old tile
  logic [3:0] settled_q;  // cycles in which only results of the last chunk were under way
  logic last_row, last_tile, go, tile_ok, open, fence_ok, norm_ok, source_ok, first_pass, end_tile;

  // Where the present tile goes.
  logic fresh_q, keys_q, keys;
  logic [7:0] word_q, word;
  logic [3:0] sub_q, sub, head_q, head, last_sub;
  assign word = fresh_q ? cmd_i.dest_word : word_q;
  assign sub = fresh_q ? cmd_i.dest_sub : sub_q;
  assign head = fresh_q ? '0 : head_q;
  assign keys = !fresh_q && keys_q;
  assign last_sub = cmd_i.dest inside {DstCombine, DstResidual, DstOutput} ? 4'(UnitGranules - 1)
      : 4'(WordGranules - 1);

  assign last_row = row_q == cmd_i.rows - 1'b1;
  assign last_chunk_o = chunk_q == cmd_i.k_chunks - 1'b1;
  assign last_tile = tile_q == cmd_i.m_tiles - 1'b1;
  assign first_row_o = row_q == '0;
  assign first_chunk_o = chunk_q == '0;
  assign first_pass = first_chunk_o && tile_q == '0;

  always_comb begin
    unique case (cmd_i.fence)
      FenceLast: fence_ok = passed_q || (last_chunk_o ? quiet_i : settled_q == 4'(SettleCycles));
      FenceAll: fence_ok = passed_q || quiet_i;
      default: fence_ok = 1'b1;
    endcase
    unique case (cmd_i.norm)
      NormRows: norm_ok = started_q && (!first_pass || row_q + cmd_i.first < norm_rows_i);
      NormAll: norm_ok = started_q && !norm_busy_i;
      default: norm_ok = 1'b1;
    endcase
    source_ok = (cmd_i.source != SrcPatches || patches_ready_i) && (cmd_i.dest != DstGelu || gelu_loaded_i);
  end
  assign norm_wait_o = cmd_valid_i && cmd_i.norm != NormNone && !started_q;
  assign open = cmd_valid_i && fence_ok && norm_ok && source_ok;
  assign tile_ok = !first_row_o || (tile_soon_i && !swapped_q);
  assign go = open && tile_ok && (!last_chunk_o || credit_i || cmd_i.dest == DstScores);
  assign stall_input_o = !open;
  assign stall_weight_o = open && !tile_ok;
  assign stall_output_o = open && tile_ok && !go;

  assign valid_o = go;
  assign end_tile = go && last_row && last_chunk_o;
  assign cmd_ready_o = end_tile && last_tile;
  assign req_o = '{
          source: cmd_i.source,
          bank: cmd_i.bank,
          row: cmd_i.first + row_q,
          word: cmd_i.source == SrcQuery ? cmd_i.word : chunk_q,
          pitch: cmd_i.source == SrcScores ? cmd_i.k_chunks : cmd_i.pitch,
          sub: cmd_i.sub,
          units: cmd_i.units,
          keys: cmd_i.keys,
          last: last_chunk_o,
          multiplier: cmd_i.multiplier,
          shift: cmd_i.shift
      };
  assign tag_o = '{
          op: cmd_i.op,
          row: row_q,
          dest_row: cmd_i.dest_first + row_q,
          m_tile: tile_q,
          word: word,
          sub: sub,
          pitch: keys ? cmd_i.split_pitch : cmd_i.dest_pitch,
          dest: cmd_i.dest,
          keys: keys,
          bank: cmd_i.bank,
          last: last_row && last_tile
      };
  assign score_tag_o = '{
          row: row_q,
          tile: tile_q,
          units: cmd_i.units,
          shift: cmd_i.score_shift,
          keys: cmd_i.keys
      };

  always_comb begin
    row_d = row_q;
    chunk_d = chunk_q;
    tile_d = tile_q;
    passed_d = passed_q;
    if (go) begin
      if (last_chunk_o || cmd_i.fence == FenceAll) passed_d = 1'b1;
      row_d = last_row ? '0 : row_q + 1'b1;
      if (last_row) chunk_d = last_chunk_o ? '0 : chunk_q + 1'b1;
      if (end_tile) tile_d = last_tile ? '0 : tile_q + 1'b1;
      if (cmd_ready_o) passed_d = 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (32'(pending_i) > 32'(cmd_i.rows) * (WordGranules - 1)) settled_q <= '0;
    else if (settled_q != 4'(SettleCycles)) settled_q <= settled_q + 1'b1;
    if (end_tile) begin
      word_q <= sub == last_sub ? word + 1'b1 : word;
      sub_q  <= sub == last_sub ? '0 : sub + 1'b1;
      head_q <= head + 1'b1;
      keys_q <= keys;
      if (cmd_i.dest == DstQkv && cmd_i.head_tiles != '0 && !keys && head + 1'b1 == cmd_i.head_tiles) begin
        word_q <= word + 1'b1;
        sub_q  <= '0;
        head_q <= '0;
      end
      if (cmd_i.dest == DstQkv && tile_q + 1'b1 == cmd_i.split) begin
        keys_q <= 1'b1;
        word_q <= '0;
        sub_q  <= '0;
      end
    end
  end

  // The array swaps ActLatency cycles after the issue; until then tile_soon_i speaks of the tile being taken.
  // A row may return to the accumulator or to the scores only after four cycles: a pass of fewer rows, one of which may
  // have waited while the next tile came, keeps the next pass waiting as well.
  logic [ActLatency:0] swap_pending_q;
  logic short;
  assign short = cmd_i.rows < token_t'(4);
  assign swapped_q = |swap_pending_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      chunk_q <= '0;
      tile_q <= '0;
      passed_q <= 1'b0;
      started_q <= 1'b0;
      fresh_q <= 1'b1;
      swap_pending_q <= '0;
    end else begin
      row_q <= row_d;
      chunk_q <= chunk_d;
      tile_q <= tile_d;
      passed_q <= passed_d;
      started_q <= (started_q || norm_start_i) && !cmd_ready_o;
      fresh_q <= cmd_ready_o || (fresh_q && !end_tile);
      swap_pending_q <= {swap_pending_q[ActLatency-1:0], go && (first_row_o || short)};
    end
  end
endmodule
