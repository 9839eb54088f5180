// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// LayerNorm of the residual stream into the x buffer, Lanes channels per cycle: while a row is read and its sums are
/// formed, the rows before are normalised from a row buffer of four banks. A row takes dim / Lanes cycles. The coarse
/// bytes of the channels come before, as words of the weight stream. Golden: sim/golden/norm.py layer_norm.
module m3vit_layer_norm
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxDim = 128,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                        clk_i,
    input  logic                        rst_ni,
    input  norm_cmd_t                   cmd_i,
    input  logic                        start_i,         ///< only when !busy_o && table_loaded_o
    input  logic     [    8*Inputs-1:0] table_word_i,
    input  logic                        table_valid_i,
    output logic                        table_ready_o,
    input  logic     [             7:0] table_words_i,
    output logic                        table_loaded_o,
    output logic                        read_valid_o,
    output granule_t                    read_o,          ///< of the residual
    input  value_t   [       Lanes-1:0] read_data_i,     ///< two cycles later
    output logic                        write_valid_o,
    output granule_t                    write_o,         ///< of the x buffer
    output logic     [  Lanes-1:0][7:0] write_data_o,
    output token_t                      rows_o,          ///< rows written since the start
    output logic                        busy_o
);
  localparam int unsigned Banks = 4;
  localparam int unsigned WordGranules = Inputs / Lanes;
  localparam int unsigned UnitGranules = UnitBytes / Lanes;
  localparam int unsigned MaxTiles = MaxDim / Lanes;
  localparam int unsigned TableWords = (MaxDim + Inputs - 1) / Inputs;
  localparam int unsigned FactorBits = 16;
  localparam int unsigned RsqrtIndexBits = 12;
  localparam int unsigned RsqrtShift = 5;  // 21 fraction bits of the mantissa less 16
  typedef logic [$clog2(Banks)-1:0] bank_t;
  typedef logic [7:0] tile_t;

  norm_cmd_t cmd_q;

  // Coarse bytes.
  logic [1:0] coarse_q[TableWords*Inputs];
  logic [7:0] table_count_q;
  logic last_write;
  assign table_ready_o = !table_loaded_o;
  always_ff @(posedge clk_i) begin
    if (table_valid_i && table_ready_o)
      for (int w = 0; w < int'(TableWords); w++)
        if (table_count_q == 8'(w))
          for (int i = 0; i < int'(Inputs); i++) coarse_q[w*int'(Inputs)+i] <= table_word_i[8*i+:2];
    if (!rst_ni || last_write) begin
      table_count_q  <= '0;
      table_loaded_o <= 1'b0;
    end else if (table_valid_i && table_ready_o) begin
      table_count_q  <= table_count_q + 1'b1;
      table_loaded_o <= table_count_q == table_words_i - 1'b1;
    end
  end

  // Reader.
  logic reading_q, last_tile;
  token_t read_row_q;
  tile_t read_tile_q;
  logic [7:0] read_unit_q;
  logic [3:0] read_sub_q;
  logic [2:0] rows_under_way_q;  // read or being read, not yet normalised
  logic row_begins, row_ends;
  assign last_tile = read_tile_q == cmd_q.tiles - 1'b1;
  assign read_valid_o = reading_q && (read_tile_q != '0 || rows_under_way_q != 3'(Banks));
  assign row_begins = read_valid_o && read_tile_q == '0;
  assign read_o = '{row: read_row_q, word: read_unit_q, sub: read_sub_q, pitch: 8'(cmd_q.dim / 16'(UnitBytes))};
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      cmd_q <= cmd_i;
      read_row_q <= '0;
      read_tile_q <= '0;
      read_unit_q <= '0;
      read_sub_q <= '0;
    end else if (read_valid_o) begin
      read_tile_q <= last_tile ? '0 : read_tile_q + 1'b1;
      read_sub_q  <= read_sub_q == 4'(UnitGranules - 1) ? '0 : read_sub_q + 1'b1;
      if (last_tile) begin
        read_row_q  <= read_row_q + 1'b1;
        read_unit_q <= '0;
      end else if (read_sub_q == 4'(UnitGranules - 1)) read_unit_q <= read_unit_q + 1'b1;
    end
    if (!rst_ni) reading_q <= 1'b0;
    else if (start_i) reading_q <= 1'b1;
    else if (read_valid_o && last_tile && read_row_q == cmd_q.rows - 1'b1) reading_q <= 1'b0;
  end

  // Two cycles later: row buffer and sums.
  typedef struct packed {
    logic valid;
    logic last;
    bank_t bank;
    tile_t tile;
  } arrival_t;
  arrival_t asked, arrival;
  assign asked = '{valid: read_valid_o && rst_ni, last: last_tile, bank: bank_t'(read_row_q), tile: read_tile_q};
  m3vit_delay #(
      .Stages(2),
      .data_t(arrival_t)
  ) u_arrival (
      .clk_i,
      .data_i(asked),
      .data_o(arrival)
  );
  localparam int unsigned BufferW = $clog2(Banks * MaxTiles);
  function automatic logic [BufferW-1:0] buffer_addr(bank_t bank, tile_t tile);
    return BufferW'(int'(bank) * int'(MaxTiles) + int'(tile));
  endfunction
  value_t [Lanes-1:0] buffered;
  logic norm_reads;
  bank_t norm_bank_q;
  tile_t norm_tile_q;
  m3vit_ram #(
      .Width(16 * Lanes),
      .Depth(Banks * MaxTiles),
      .Style("distributed")
  ) u_rows (
      .clk_i,
      .write_i     (arrival.valid),
      .write_addr_i(buffer_addr(arrival.bank, arrival.tile)),
      .write_data_i(read_data_i),
      .read_i      (norm_reads),
      .read_addr_i (buffer_addr(norm_bank_q, norm_tile_q)),
      .read_data_o (buffered)
  );

  logic signed [31:0] sum_q, part_sum, sum_d;
  logic [47:0] squares_q, part_squares, squares_d;
  always_comb begin
    part_sum = '0;
    part_squares = '0;
    for (int l = 0; l < int'(Lanes); l++) begin
      part_sum += 32'(read_data_i[l]);
      part_squares += 48'(32'(read_data_i[l]) * 32'(read_data_i[l]));
    end
    sum_d = (arrival.tile == '0 ? '0 : sum_q) + part_sum;
    squares_d = (arrival.tile == '0 ? '0 : squares_q) + part_squares;
  end

  // Statistics: variance, its leading one, reciprocal root, factor.
  typedef struct packed {
    logic valid;
    logic signed [31:0] sum;
  } row_t;
  typedef struct packed {
    logic signed [31:0] sum;
    logic [FactorBits-1:0] factor;
    logic [5:0] shift;
  } factors_t;
  row_t stage_q[5];
  logic [63:0] scaled_q, squared_q, variance_q;
  logic [5:0] leading;
  logic signed [6:0] exponent, exponent_q, exponent_qq;
  logic [RsqrtIndexBits-1:0] index_q;
  logic [15:0] mantissa_q;
  logic [31:0] product_q;
  logic [5:0] shift_q;
  always_comb begin
    leading = 6'd1;  // bits of the variance
    for (int b = 0; b < 63; b++) if (variance_q[b]) leading = 6'(b + 1);
    exponent = (7'(leading) - 7'(RsqrtIndexBits) + 7'sd1) >>> 1;
  end
  always_ff @(posedge clk_i) begin
    automatic logic [63:0] variance;
    if (arrival.valid) begin
      sum_q <= sum_d;
      squares_q <= squares_d;
    end
    stage_q[0] <= '{valid: arrival.valid && arrival.last && rst_ni, sum: sum_d};
    for (int i = 1; i < 5; i++) stage_q[i] <= '{valid: stage_q[i-1].valid && rst_ni, sum: stage_q[i-1].sum};
    // 1
    scaled_q <= 64'(squares_q) * 64'(cmd_q.dim);
    squared_q <= 64'(64'(sum_q) * 64'(sum_q));
    // 2
    variance = scaled_q - squared_q;
    variance_q <= variance == '0 ? 64'd1 : variance;
    // 3
    exponent_q <= exponent;
    index_q <= exponent >= 0 ? RsqrtIndexBits'(variance_q >> (7'(exponent) << 1))
        : RsqrtIndexBits'(variance_q << (7'(-exponent) << 1));
    // 4
    mantissa_q <= RsqrtMantissa[index_q-RsqrtIndexBits'(1<<(RsqrtIndexBits-2))];
    exponent_qq <= exponent_q;
    // 5
    product_q <= 32'(mantissa_q) * 32'(cmd_q.multiplier) + 32'd32768;
    shift_q <= 6'(7'(cmd_q.shift) + 7'(exponent_qq) + 7'(RsqrtShift));
  end
  row_t last_q;
  always_ff @(posedge clk_i) last_q <= '{valid: stage_q[4].valid && rst_ni, sum: stage_q[4].sum};

  // Rows whose factors are known wait for the normaliser.
  factors_t factors, present;
  logic factors_valid, present_valid, present_take, unused_room;
  assign factors = '{sum: last_q.sum, factor: product_q[31:16], shift: shift_q};
  assign factors_valid = last_q.valid;
  m3vit_fifo #(
      .Depth (Banks),
      .data_t(factors_t)
  ) u_factors (
      .clk_i,
      .rst_ni,
      .data_i (factors),
      .valid_i(factors_valid),
      .ready_o(unused_room),  // one for each bank
      .data_o (present),
      .valid_o(present_valid),
      .ready_i(present_take)
  );

  // Normaliser: read, multiply, shift, write.
  typedef struct packed {
    logic valid;
    logic last;
    tile_t tile;
    granule_t place;
    factors_t factors;
  } work_t;
  work_t begun, work_q, work_qq, work_qqq;
  token_t norm_row_q;
  logic [7:0] norm_word_q;
  logic [3:0] norm_sub_q;
  logic norm_last;
  logic signed [47:0] scaled[Lanes];
  logic [7:0] result_q[Lanes];
  assign norm_reads = present_valid;
  assign norm_last = norm_tile_q == cmd_q.tiles - 1'b1;
  assign present_take = norm_reads && norm_last;
  assign row_ends = present_take;
  assign begun = '{
          valid: norm_reads && rst_ni,
          last: norm_last,
          tile: norm_tile_q,
          place: '{row: norm_row_q, word: norm_word_q, sub: norm_sub_q, pitch: cmd_q.pitch},
          factors: present
      };
  always_ff @(posedge clk_i) begin
    work_q <= begun;
    work_qq <= work_q;
    work_qqq <= work_qq;
    if (!rst_ni) begin
      work_q.valid <= 1'b0;
      work_qq.valid <= 1'b0;
      work_qqq.valid <= 1'b0;
    end
    for (int l = 0; l < int'(Lanes); l++) begin
      automatic logic signed [31:0] centred = 32'(buffered[l]) * 32'(cmd_q.dim) - work_q.factors.sum;
      automatic logic [6:0] shift = 7'(work_qq.factors.shift) + 7'(coarse_q[int'(work_qq.tile)*int'(Lanes)+l]);
      automatic logic signed [47:0] rounded = ((scaled[l] >>> (shift - 7'd1)) + 48'sd1) >>> 1;
      scaled[l]   <= 48'(centred) * 48'(signed'({1'b0, work_q.factors.factor}));
      result_q[l] <= rounded > 48'sd127 ? 8'd127 : rounded < -48'sd128 ? 8'h80 : rounded[7:0];
    end
    if (start_i) begin
      norm_bank_q <= '0;
      norm_tile_q <= '0;
      norm_row_q  <= '0;
      norm_word_q <= '0;
      norm_sub_q  <= '0;
    end else if (norm_reads) begin
      norm_tile_q <= norm_last ? '0 : norm_tile_q + 1'b1;
      norm_sub_q  <= norm_last || norm_sub_q == 4'(WordGranules - 1) ? '0 : norm_sub_q + 1'b1;
      if (norm_last) begin
        norm_bank_q <= norm_bank_q + 1'b1;
        norm_row_q  <= norm_row_q + 1'b1;
        norm_word_q <= '0;
      end else if (norm_sub_q == 4'(WordGranules - 1)) norm_word_q <= norm_word_q + 1'b1;
    end
    if (!rst_ni || start_i) rows_under_way_q <= '0;
    else rows_under_way_q <= rows_under_way_q + 3'(row_begins) - 3'(row_ends);
    if (!rst_ni || start_i) rows_o <= '0;
    else if (write_valid_o && work_qqq.last) rows_o <= rows_o + 1'b1;
    if (!rst_ni) busy_o <= 1'b0;
    else busy_o <= start_i || (busy_o && !last_write);
  end
  assign write_valid_o = work_qqq.valid;
  assign write_o = work_qqq.place;
  always_comb for (int l = 0; l < int'(Lanes); l++) write_data_o[l] = result_q[l];
  assign last_write = write_valid_o && work_qqq.last && work_qqq.place.row == cmd_q.rows - 1'b1;
endmodule
