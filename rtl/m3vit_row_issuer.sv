// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Loop nest of the linear engine: for each output tile, for each input chunk, for each row. One row per cycle. A pass
/// over the rows starts when its weight tile is in the shadow registers; rows of a last chunk also need a credit,
/// that is, a place in the engine's output queue. A fenced command reads what the command before it computed: its first
/// pass over the last chunk waits until all earlier results have arrived. The chunks before are older than the pipeline
/// is long, because the tiles that made the last chunk came after them. Does not touch data.
module m3vit_row_issuer
  import m3vit_pkg::*;
(
    input  logic     clk_i,
    input  logic     rst_ni,
    input  command_t cmd_i,
    input  logic     cmd_valid_i,
    output logic     cmd_ready_o,
    input  logic     quiet_i,          ///< all earlier results have reached their buffers
    input  token_t   rows_loaded_i,    ///< rows that the token buffer holds so far
    input  logic     tile_soon_i,      ///< the next tile is in the shadow registers when the row arrives
    input  logic     credit_i,         ///< the output queue has room
    output logic     valid_o,          ///< a row is issued
    output act_req_t req_o,
    output tag_t     tag_o,
    output logic     first_row_o,      ///< first row of a pass: the array swaps weights
    output logic     first_chunk_o,    ///< accumulators start from the bias
    output logic     last_chunk_o,     ///< accumulators are complete
    output logic     stall_weight_o,   ///< waits for weights
    output logic     stall_input_o,    ///< has no command, or waits for the fence or for tokens
    output logic     stall_output_o    ///< waits for a credit
);
  token_t row_q, row_d;
  logic [7:0] chunk_q, chunk_d;
  logic [9:0] tile_q, tile_d;
  logic passed_q, passed_d;  // the fence of this command is passed
  logic swapped_q;  // a swap is under way; the shadow still shows the old tile
  logic last_row, last_tile, go, tile_ok, open, loaded;

  assign last_row = row_q == cmd_i.rows - 1'b1;
  assign last_chunk_o = chunk_q == cmd_i.k_chunks - 1'b1;
  assign last_tile = tile_q == cmd_i.m_tiles - 1'b1;
  assign first_row_o = row_q == '0;
  assign first_chunk_o = chunk_q == '0;
  assign loaded = cmd_i.source != SrcTokens || row_q < rows_loaded_i;
  assign open = cmd_valid_i && loaded && (passed_q || !cmd_i.fence || !last_chunk_o || quiet_i);
  assign tile_ok = !first_row_o || (tile_soon_i && !swapped_q);
  assign go = open && tile_ok && (!last_chunk_o || credit_i);
  assign stall_input_o = !open;
  assign stall_weight_o = open && !tile_ok;
  assign stall_output_o = open && tile_ok && !go;

  assign valid_o = go;
  assign cmd_ready_o = go && last_row && last_chunk_o && last_tile;
  assign req_o = '{
          source: cmd_i.source,
          bank: cmd_i.bank,
          row: row_q,
          chunk: chunk_q,
          pitch: cmd_i.k_chunks
      };
  assign tag_o = '{
          row: row_q,
          m_tile: tile_q,
          dest: cmd_i.dest,
          bank: cmd_i.bank,
          last: last_row && last_tile
      };

  always_comb begin
    row_d = row_q;
    chunk_d = chunk_q;
    tile_d = tile_q;
    passed_d = passed_q;
    if (go) begin
      if (last_chunk_o) passed_d = !cmd_ready_o;
      row_d = last_row ? '0 : row_q + 1'b1;
      if (last_row) chunk_d = last_chunk_o ? '0 : chunk_q + 1'b1;
      if (last_row && last_chunk_o) tile_d = last_tile ? '0 : tile_q + 1'b1;
    end
  end

  // The array swaps ActLatency cycles after the issue; until then tile_soon_i speaks of the tile being taken.
  logic [ActLatency:0] swap_pending_q;
  assign swapped_q = |swap_pending_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      chunk_q <= '0;
      tile_q <= '0;
      passed_q <= 1'b0;
      swap_pending_q <= '0;
    end else begin
      row_q <= row_d;
      chunk_q <= chunk_d;
      tile_q <= tile_d;
      passed_q <= passed_d;
      swap_pending_q <= {swap_pending_q[ActLatency-1:0], go && first_row_o};
    end
  end
endmodule
