// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Fills the shadow registers of the MAC array, tile after tile, ahead of the computation and across commands: from the
/// weight stream (order: sim/layout.py), or from keys or values in the key-value buffer. Channel records of a stream tile
/// go to `channels_o` before it; those of a value tile, which hold 128 times the sum of each channel's values, behind its
/// last word. Hands tables in the stream to their units and skips experts that nobody uses. Of 4-bit weights a word of
/// the stream holds two lanes and stays for both.
/// A stream tile takes Lanes cycles after the previous one was taken, a tile of keys one cycle per unit and a tile of
/// values one cycle per key, and a few more. Rows may be issued as soon as the rest of a stream tile is certain to be in
/// place when they reach the array.
module m3vit_weight_feeder
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                                clk_i,
    input  logic                                rst_ni,
    input  command_t                            cmd_i,             ///< the commands, in order
    input  logic                                cmd_valid_i,
    output logic                                cmd_ready_o,
    input  logic                                arrived_i,         ///< all commands before have arrived
    input  logic                                gelu_free_i,       ///< no command before still needs the GELU table
    input  logic                                norm_free_i,       ///< the norm table may be overwritten
    input  logic     [     8*Inputs-1:0]        word_i,            ///< weight stream
    input  logic                                word_valid_i,
    output logic                                word_ready_o,
    input  logic     [              2:0]        level_i,           ///< words that are certain to follow each other
    output words_t                              skip_words_o,
    output logic                                skip_valid_o,
    input  logic                                skip_ready_i,
    input  segment_t                            segment_i,         ///< experts in the stream
    input  logic                                segment_valid_i,
    output logic                                segment_ready_o,
    output logic                                gelu_valid_o,      ///< word_i is for the GELU table
    input  logic                                gelu_ready_i,
    output logic                                norm_valid_o,      ///< word_i is for the norm table
    input  logic                                norm_ready_i,
    output kv_req_t                             kv_req_o,
    output logic                                kv_req_valid_o,
    input  logic     [    8*UnitBytes-1:0]      kv_unit_i,         ///< KvLatency cycles later
    output logic     [       Groups-1:0]        load_o,            ///< groups of weight_o for the shadow of lane_o
    output logic     [ $clog2(Lanes)-1:0]       lane_o,
    output logic     [     8*Inputs-1:0]        weight_o,
    output logic                                fill_o,            ///< weights_o for the shadows of input input_o
    output logic     [              6:0]        input_o,
    output logic     [   Lanes-1:0][7:0]        weights_o,
    output logic                                tile_soon_o,       ///< the shadow is complete in ActLatency cycles
    input  logic                                tile_taken_i,      ///< the array takes the shadow now
    output channel_t [Lanes-1:0]                channels_o,        ///< records of an output tile
    output logic                                channels_valid_o,
    input  logic                                channels_ready_i
);
  localparam int unsigned RecordWords = (8 * Lanes + Inputs - 1) / Inputs;
  localparam int unsigned LaneW = $clog2(Lanes);
  localparam int unsigned UnitTiles = UnitBytes / Lanes;  // tiles of channels in a unit

  typedef enum logic [3:0] {
    Idle,
    Wait,
    Seek,
    Skip,
    Table,
    Records,
    Push,
    Tile,
    Fetch,
    Land,
    PushSums
  } state_e;

  /// A unit on its way from the key-value buffer.
  typedef struct packed {
    logic valid;
    logic is_value;
    logic exists;
    logic last;
    logic [6:0] position;  // values: input; keys: lane
    logic [1:0] group;
    logic [$clog2(UnitTiles+1)-1:0] part;
  } landing_t;

  state_e state_q, state_d;
  logic [7:0] count_q, count_d;  // records, lanes, table words, lanes or keys of a fetched tile
  logic [1:0] group_q, group_d, last_group;
  logic [7:0] chunk_q, chunk_d;
  logic [9:0] tile_q, tile_d;
  logic full_q, full_d;
  token_t key_q, key_d;
  channel_t [Lanes-1:0] records_q;
  logic last_chunk, last_tile, take_record, stream_load, finish_tile, allowed;
  logic [31:0] missing;  // lanes of the tile
  landing_t leaving, landing;

  assign last_chunk = chunk_q == cmd_i.k_chunks - 1'b1;
  assign last_tile = tile_q == cmd_i.m_tiles - 1'b1;
  assign missing = Lanes - 32'(count_q);
  assign tile_soon_o = full_q || (state_q == Tile && missing <= ActLatency
      && (cmd_i.nibbles ? (missing + 1) >> 1 : missing) <= 32'(level_i));
  always_comb begin
    unique case (cmd_i.kind)
      CmdGelu: allowed = gelu_free_i;
      CmdNorm: allowed = norm_free_i;
      default: allowed = cmd_i.fence != FenceFeed || arrived_i;
    endcase
  end

  // Keys and values. Keys that do not exist are read from the last row, and ignored by the attention unit.
  logic is_value, last_fetch;
  logic [7:0] value_unit;
  token_t key_row;
  assign is_value = cmd_i.kind == CmdValues;
  assign last_group = cmd_i.units == 3'd1 ? 2'(Groups - 1) : 2'(cmd_i.units - 1'b1);
  assign last_fetch = is_value ? count_q == 8'(Inputs - 1) : count_q == 8'(Lanes - 1) && group_q == last_group;
  assign value_unit = cmd_i.key_unit + 8'(tile_q / 10'(UnitTiles));
  assign key_row = key_q < cmd_i.keys ? key_q : cmd_i.keys - 1'b1;
  assign kv_req_valid_o = state_q == Fetch && !full_q;
  assign kv_req_o = '{
          row: key_row,
          unit: is_value ? value_unit : cmd_i.units == 3'd1 ? cmd_i.key_unit : cmd_i.key_unit + 8'(group_q),
          pitch: cmd_i.split_pitch
      };
  assign leaving = '{
          valid: kv_req_valid_o && rst_ni,
          is_value: is_value,
          exists: key_q < cmd_i.keys,
          last: last_fetch,
          position: 7'(count_q),
          group: group_q,
          part: $bits(leaving.part)'(tile_q % 10'(UnitTiles))
      };
  m3vit_delay #(
      .Stages(KvLatency),
      .data_t(landing_t)
  ) u_landing (
      .clk_i,
      .data_i(leaving),
      .data_o(landing)
  );

  logic [UnitTiles-1:0][Lanes-1:0][7:0] unit_parts;
  logic signed [AccBits-1:0] value_sum_q[Lanes];
  assign unit_parts = kv_unit_i;
  assign fill_o = landing.valid && landing.is_value;
  assign input_o = landing.position;
  assign weights_o = landing.exists ? unit_parts[landing.part] : '0;
  always_comb begin
    load_o = stream_load ? '1 : '0;
    for (int g = 0; g < int'(Groups); g++)
      if (landing.valid && !landing.is_value && landing.group == 2'(g)) load_o[g] = 1'b1;
  end
  assign lane_o = landing.valid ? landing.position[LaneW-1:0] : count_q[LaneW-1:0];
  logic [8*Inputs-1:0] lane_word;
  always_comb begin
    lane_word = word_i;
    if (cmd_i.nibbles)
      for (int b = 0; b < int'(Inputs); b++) lane_word[8*b+:8] = 8'(signed'(word_i[8*b+4*32'(count_q[0])+:4]));
  end
  assign weight_o = landing.valid ? {Groups{kv_unit_i}} : lane_word;
  always_comb begin
    channels_o = records_q;
    if (state_q == PushSums)
      for (int l = 0; l < int'(Lanes); l++) begin
        channels_o[l] = '0;
        channels_o[l].bias = 32'(value_sum_q[l]) <<< 7;
      end
  end

  always_comb begin
    state_d = state_q;
    count_d = count_q;
    group_d = group_q;
    chunk_d = chunk_q;
    tile_d = tile_q;
    key_d = key_q;
    full_d = full_q && !tile_taken_i;
    cmd_ready_o = 1'b0;
    word_ready_o = 1'b0;
    stream_load = 1'b0;
    take_record = 1'b0;
    channels_valid_o = 1'b0;
    gelu_valid_o = 1'b0;
    norm_valid_o = 1'b0;
    skip_valid_o = 1'b0;
    segment_ready_o = 1'b0;
    finish_tile = 1'b0;  // the command is given back with its last tile; a value tile's sums follow
    unique case (state_q)
      Idle: begin
        count_d = '0;
        group_d = '0;
        chunk_d = '0;
        tile_d  = '0;
        key_d   = '0;
        if (cmd_valid_i) state_d = Wait;
      end
      Wait:
      if (allowed)
        unique case (cmd_i.kind)
          CmdGelu, CmdNorm: state_d = Table;
          CmdDrop: state_d = Seek;
          CmdScores, CmdValues: state_d = Fetch;
          default: state_d = cmd_i.seek ? Seek : Records;
        endcase
      Seek:
      if (segment_valid_i) begin
        if (segment_i.is_end || (cmd_i.kind == CmdLinear && segment_i.expert == cmd_i.expert)) begin
          segment_ready_o = 1'b1;
          state_d = cmd_i.kind == CmdDrop ? Idle : Records;
          cmd_ready_o = cmd_i.kind == CmdDrop;
        end else state_d = Skip;
      end
      Skip: begin
        skip_valid_o = 1'b1;
        segment_ready_o = skip_ready_i;
        if (skip_ready_i) state_d = Seek;
      end
      Table: begin
        gelu_valid_o = word_valid_i && cmd_i.kind == CmdGelu;
        norm_valid_o = word_valid_i && cmd_i.kind == CmdNorm;
        word_ready_o = cmd_i.kind == CmdGelu ? gelu_ready_i : norm_ready_i;
        if (word_valid_i && word_ready_o) begin
          count_d = count_q + 1'b1;
          if (count_q == cmd_i.k_chunks - 1'b1) begin
            state_d = Idle;
            cmd_ready_o = 1'b1;
          end
        end
      end
      Records: begin
        word_ready_o = 1'b1;
        take_record  = word_valid_i;
        if (word_valid_i) begin
          count_d = count_q + 1'b1;
          if (count_q == 8'(RecordWords - 1)) begin
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
        word_ready_o = !full_q && (!cmd_i.nibbles || count_q[0]);
        stream_load  = word_valid_i && !full_q;
        if (stream_load) begin
          count_d = count_q + 1'b1;
          if (count_q == 8'(Lanes - 1)) begin
            count_d = '0;
            full_d = 1'b1;
            finish_tile = 1'b1;
            if (last_chunk) state_d = last_tile ? Idle : Records;
          end
        end
      end
      Fetch:
      if (!full_q) begin
        key_d = key_q + 1'b1;
        count_d = count_q + 1'b1;
        if (!is_value && count_q == 8'(Lanes - 1)) begin
          count_d = '0;
          group_d = group_q + 1'b1;
          // With several units per head the same keys come again.
          if (cmd_i.units != 3'd1 && group_q != last_group) key_d = key_q - token_t'(Lanes - 1);
        end
        if (last_fetch) begin
          count_d = '0;
          group_d = '0;
          state_d = Land;
        end
      end
      Land:
      if (landing.valid && landing.last) begin
        full_d = 1'b1;
        finish_tile = 1'b1;
        if (is_value && last_chunk) key_d = '0;
        state_d = is_value && last_chunk ? PushSums : last_chunk && last_tile ? Idle : Fetch;
      end
      PushSums: begin
        channels_valid_o = 1'b1;
        if (channels_ready_i) state_d = tile_q == '0 ? Idle : Fetch;
      end
      default: state_d = Idle;
    endcase
    if (finish_tile) begin
      chunk_d = last_chunk ? '0 : chunk_q + 1'b1;
      if (last_chunk) tile_d = last_tile ? '0 : tile_q + 1'b1;
      cmd_ready_o = last_chunk && last_tile;
    end
  end
  assign skip_words_o = cmd_i.expert_words;

  always_ff @(posedge clk_i) begin
    if (take_record)
      for (int i = 0; i < int'(RecordWords); i++)
        if (count_q == 8'(i))
          for (int c = 0; c < int'(Inputs / 8); c++)
            if (i * int'(Inputs / 8) + c < int'(Lanes)) records_q[i*int'(Inputs/8)+c] <= word_i[64*c+:64];
    for (int l = 0; l < int'(Lanes); l++)
      if (state_q inside {Idle, PushSums}) value_sum_q[l] <= state_d == PushSums ? value_sum_q[l] : '0;
      else if (fill_o) value_sum_q[l] <= value_sum_q[l] + AccBits'(signed'(weights_o[l]));
    count_q <= count_d;
    group_q <= group_d;
    chunk_q <= chunk_d;
    tile_q  <= tile_d;
    key_q   <= key_d;
    if (!rst_ni) begin
      state_q <= Idle;
      full_q  <= 1'b0;
    end else begin
      state_q <= state_d;
      full_q  <= full_d;
    end
  end
endmodule
