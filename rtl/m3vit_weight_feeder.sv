// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Cuts the weight stream into channel records and weight tiles: the records of an output tile go to `channels_o`, each
/// tile of Lanes words into the shadow registers of the MAC array. Runs ahead of the computation, across commands.
/// Stream order: sim/layout.py. One word per cycle; a tile takes Lanes cycles after the previous one was taken. Rows may be issued
/// as soon as the rest of their tile is certain to be in place when they reach the array.
module m3vit_weight_feeder
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8
) (
    input  logic                               clk_i,
    input  logic                               rst_ni,
    input  command_t                           cmd_i,             ///< the commands, in order
    input  logic                               cmd_valid_i,
    output logic                               cmd_ready_o,
    input  word_t                              word_i,            ///< weight stream
    input  logic                               word_valid_i,
    output logic                               word_ready_o,
    input  logic          [               2:0] level_i,           ///< words that are certain to follow each other
    output logic                               load_o,            ///< word_i goes to the shadow of lane_o
    output logic          [ $clog2(Lanes)-1:0] lane_o,
    output logic                               tile_soon_o,       ///< the shadow is complete in ActLatency cycles
    input  logic                               tile_taken_i,      ///< the array takes the shadow now
    output channel_t [Lanes-1:0]               channels_o,        ///< records of an output tile
    output logic                               channels_valid_o,
    input  logic                               channels_ready_i
);
  localparam int unsigned RecordWords = Lanes / 8;
  localparam int unsigned CountW = $clog2(Lanes);

  typedef enum logic [1:0] {
    Idle,
    Records,
    Push,
    Tile
  } state_e;

  state_e state_q, state_d;
  logic [CountW-1:0] count_q, count_d;
  logic [7:0] chunk_q, chunk_d;
  logic [9:0] tile_q, tile_d;
  logic full_q, full_d;
  channel_t [Lanes-1:0] channels_q;
  logic last_chunk, last_tile, take_record;
  logic [31:0] missing;  // words of the tile

  assign last_chunk = chunk_q == cmd_i.k_chunks - 1'b1;
  assign last_tile = tile_q == cmd_i.m_tiles - 1'b1;
  assign lane_o = count_q;
  assign missing = Lanes - 32'(count_q);
  assign tile_soon_o = full_q || (state_q == Tile && missing <= ActLatency && missing <= 32'(level_i));
  assign channels_o = channels_q;

  always_comb begin
    state_d = state_q;
    count_d = count_q;
    chunk_d = chunk_q;
    tile_d = tile_q;
    full_d = full_q && !tile_taken_i;
    cmd_ready_o = 1'b0;
    word_ready_o = 1'b0;
    load_o = 1'b0;
    take_record = 1'b0;
    channels_valid_o = 1'b0;
    unique case (state_q)
      Idle: begin
        count_d = '0;
        chunk_d = '0;
        tile_d  = '0;
        if (cmd_valid_i) state_d = Records;
      end
      Records: begin
        word_ready_o = 1'b1;
        take_record  = word_valid_i;
        if (word_valid_i) begin
          count_d = count_q + 1'b1;
          if (count_q == CountW'(RecordWords - 1)) begin
            count_d = '0;
            state_d = Push;
          end
        end
      end
      Push: begin
        channels_valid_o = 1'b1;
        if (channels_ready_i) state_d = Tile;
      end
      Tile: begin
        word_ready_o = !full_q;
        load_o = word_valid_i && !full_q;
        if (load_o) begin
          count_d = count_q + 1'b1;
          if (count_q == CountW'(Lanes - 1)) begin
            count_d = '0;
            full_d  = 1'b1;
            chunk_d = last_chunk ? '0 : chunk_q + 1'b1;
            if (last_chunk) begin
              tile_d = tile_q + 1'b1;
              state_d = last_tile ? Idle : Records;
              cmd_ready_o = last_tile;
            end
          end
        end
      end
      default: state_d = Idle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (take_record)
      for (int i = 0; i < int'(RecordWords); i++)
        if (count_q == CountW'(i)) channels_q[8*i+:8] <= word_i;
    count_q <= count_d;
    chunk_q <= chunk_d;
    tile_q  <= tile_d;
    if (!rst_ni) begin
      state_q <= Idle;
      full_q  <= 1'b0;
    end else begin
      state_q <= state_d;
      full_q  <= full_d;
    end
  end
endmodule
