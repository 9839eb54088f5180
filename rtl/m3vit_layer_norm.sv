// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// LayerNorm of rows of the residual: reads each granule of Lanes channels once, and normalises one row while it reads
/// the next. One granule per cycle without a pause: dim / Lanes cycles per row. The last row counts as written
/// 27 cycles after its last granule was requested.
/// Golden: sim/golden/norm.py layer_norm.
/// A granule waits in a ring until the factor of its row is known. (dim x - sum) factor = x (dim factor) - sum factor
/// is one multiplication per lane, and squares are formed without multipliers.
module m3vit_layer_norm
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxTokens = 80,
    parameter  int unsigned MaxDim = 128,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                             clk_i,
    input  logic                             rst_ni,
    input  norm_cmd_t                        cmd_i,
    input  logic                             start_i,         ///< pulse, only if table_loaded_o
    input  logic             [ 8*Inputs-1:0] table_word_i,    ///< coarse bytes of Inputs channels
    input  logic                             table_valid_i,
    output logic                             table_ready_o,
    input  logic             [          7:0] table_words_i,   ///< of the next norm, stable until it starts
    output logic                             table_loaded_o,  ///< the next norm may start
    output logic                             read_valid_o,
    output granule_t                         read_o,          ///< of the residual: pitch and word in units
    input  value_t   [Lanes-1:0]             read_data_i,     ///< ResidualLatency cycles later
    output logic                             write_valid_o,
    output granule_t                         write_o,         ///< of the x buffer
    output logic     [Lanes-1:0][       7:0] write_data_o,
    output token_t                           rows_o,          ///< rows that are written; kept until the next start
    output logic                             busy_o
);
  localparam int unsigned GranulesPerUnit = UnitBytes / Lanes;
  localparam int unsigned Slots = Inputs / Lanes;  // granules in a word of the x buffer
  localparam int unsigned SlotW = $clog2(Slots);
  localparam int unsigned Words = (MaxDim + Inputs - 1) / Inputs;
  localparam int unsigned WordW = Words > 1 ? $clog2(Words) : 1;
  localparam int unsigned CoarseBits = 2;
  localparam int unsigned ResidualLatency = 2;
  localparam int unsigned FractionBits = 21;  // of the reciprocal square root
  // Steps after the read request.
  localparam int unsigned DataStep = ResidualLatency + 1;
  localparam int unsigned SumStep = DataStep + 6;
  localparam int unsigned VarianceStep = SumStep + 4;
  localparam int unsigned RowStep = VarianceStep + 8;  // the factors of the row are known
  localparam int unsigned WriteSteps = 5;  // from there to the result
  localparam int unsigned RingDepth = 1 << $clog2(MaxDim / Lanes + RowStep - DataStep);
  localparam int unsigned RingW = $clog2(RingDepth);
  // Sums and factors.
  localparam int unsigned DimW = $clog2(MaxDim);
  localparam int unsigned UnitsW = $clog2(MaxDim / UnitBytes + 1);
  localparam int unsigned SumW = DimW + 16;
  localparam int unsigned VarianceW = 2 * (DimW + 15);
  localparam int unsigned WeightW = MultiplierBits + DimW + 1;
  localparam int unsigned OffsetW = SumW + MultiplierBits;
  localparam int unsigned MaxBase = MaxShift - 3;  // a larger shift gives zero as well
  localparam int unsigned Quarter = Lanes / 4;
  localparam int unsigned Sixteenth = (Lanes + 15) / 16;
  typedef logic signed [SumW-1:0] sum_t;
  typedef logic [VarianceW-1:0] variance_t;
  typedef logic signed [WeightW-1:0] weight_t;
  typedef logic signed [OffsetW-1:0] offset_t;

  /// Product of a number of units and x, without a multiplier.
  function automatic variance_t times(logic [UnitsW-1:0] units, variance_t x);
    automatic variance_t product = '0;
    for (int i = 0; i < int'(UnitsW); i++) if (units[i]) product += x << i;
    return product;
  endfunction

  // Requests.
  norm_cmd_t cmd_q;
  logic [UnitsW-1:0] units;
  logic reading_q, row_end, finish;
  token_t read_row_q;
  logic [7:0] read_tile_q;
  logic [7:0] read_unit_q;
  logic [3:0] read_sub_q;
  assign units = cmd_q.dim[5+:UnitsW];
  assign row_end = read_tile_q == cmd_q.tiles - 1'b1;
  assign read_valid_o = reading_q;
  assign read_o = '{row: read_row_q, word: read_unit_q, sub: read_sub_q, pitch: 8'(units)};
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      cmd_q <= cmd_i;
      read_row_q <= '0;
      read_tile_q <= '0;
      read_unit_q <= '0;
      read_sub_q <= '0;
    end else if (reading_q) begin
      read_tile_q <= row_end ? '0 : read_tile_q + 1'b1;
      if (row_end) read_row_q <= read_row_q + 1'b1;
      if (row_end || read_sub_q == 4'(GranulesPerUnit - 1)) begin
        read_sub_q  <= '0;
        read_unit_q <= row_end ? '0 : read_unit_q + 1'b1;
      end else read_sub_q <= read_sub_q + 1'b1;
    end
    if (!rst_ni) begin
      reading_q <= 1'b0;
      busy_o <= 1'b0;
    end else begin
      if (start_i) reading_q <= 1'b1;
      else if (row_end && read_row_q == cmd_q.rows - 1'b1) reading_q <= 1'b0;
      if (start_i) busy_o <= 1'b1;
      else if (finish) busy_o <= 1'b0;
    end
  end

  // Sum and sum of squares. Bit i: step i.
  logic [SumStep:1] valid_q, first_q, last_q;
  value_t [Lanes-1:0] x_q;
  logic [30:0] square[Lanes];
  int sum4_q[Quarter], sum5_q[Sixteenth], sum6_q, sum7_q, sum8_q;
  longint squares6_q[Quarter], squares7_q[Sixteenth], squares8_q;
  sum_t row_sum_q;
  variance_t row_squares_q;
  for (genvar l = 0; l < int'(Lanes); l++) begin : gen_square
    m3vit_square u_square (
        .clk_i,
        .valid_i (valid_q[DataStep]),
        .x_i     (x_q[l]),
        .square_o(square[l])
    );
  end
  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[SumStep-1:1], reading_q} : '0;
    first_q <= {first_q[SumStep-1:1], read_tile_q == '0};
    last_q  <= {last_q[SumStep-1:1], row_end};
    if (valid_q[DataStep-1]) x_q <= read_data_i;
    if (valid_q[DataStep])
      for (int i = 0; i < int'(Quarter); i++)
        sum4_q[i] <= 32'(x_q[4*i]) + 32'(x_q[4*i+1]) + 32'(x_q[4*i+2]) + 32'(x_q[4*i+3]);
    if (valid_q[DataStep+1])
      for (int i = 0; i < int'(Sixteenth); i++) begin
        automatic int sum = 0;
        for (int j = 4 * i; j < 4 * i + 4 && j < int'(Quarter); j++) sum += sum4_q[j];
        sum5_q[i] <= sum;
      end
    if (valid_q[DataStep+2]) begin
      automatic int sum = 0;
      for (int i = 0; i < int'(Sixteenth); i++) sum += sum5_q[i];
      sum6_q <= sum;
      for (int i = 0; i < int'(Quarter); i++)
        squares6_q[i] <= 64'(square[4*i]) + 64'(square[4*i+1]) + 64'(square[4*i+2]) + 64'(square[4*i+3]);
    end
    if (valid_q[DataStep+3]) begin
      sum7_q <= sum6_q;
      for (int i = 0; i < int'(Sixteenth); i++) begin
        automatic longint sum = 0;
        for (int j = 4 * i; j < 4 * i + 4 && j < int'(Quarter); j++) sum += squares6_q[j];
        squares7_q[i] <= sum;
      end
    end
    if (valid_q[DataStep+4]) begin
      automatic longint sum = 0;
      for (int i = 0; i < int'(Sixteenth); i++) sum += squares7_q[i];
      squares8_q <= sum;
      sum8_q <= sum7_q;
    end
    if (valid_q[DataStep+5]) begin
      row_sum_q <= (first_q[DataStep+5] ? '0 : row_sum_q) + sum_t'(sum8_q);
      row_squares_q <= (first_q[DataStep+5] ? '0 : row_squares_q) + variance_t'(squares8_q);
    end
  end

  // Factors of the row. Bit i: step i. The variance is dim^2 times that of the row; it fits, whatever overflows before.
  logic [RowStep-1:SumStep+1] row_valid_q;
  sum_t row_sum_qq, row_sum;
  logic signed [2*SumW-1:0] sum_squared_q, sum_squared_qq;
  variance_t squares_q, squares_qq, squares_qqq, variance_q;
  logic [MultiplierBits-1:0] mantissa, factor_q;
  logic signed [5:0] exponent;
  logic [2*MultiplierBits-1:0] folded_q;
  logic [7:0] shift_q;
  logic [5:0] base_q, base_qq, base_qqq;  // shift of a channel that is not coarse
  weight_t weight_q, weight_qq;
  offset_t offset_q, offset_qq;
  always_ff @(posedge clk_i) begin
    row_valid_q <= rst_ni ? {row_valid_q[RowStep-2:SumStep+1], valid_q[SumStep] && last_q[SumStep]} : '0;
    row_sum_qq <= row_sum_q;
    sum_squared_q <= row_sum_qq * row_sum_qq;
    sum_squared_qq <= sum_squared_q;
    squares_q <= times(units, row_squares_q);
    squares_qq <= squares_q;
    squares_qqq <= squares_qq;
    variance_q <= (squares_qqq << $clog2(UnitBytes)) - VarianceW'(sum_squared_qq);
    // After the reciprocal square root: fold the multiplier in, then multiply with dim and with the sum.
    folded_q <= mantissa * cmd_q.multiplier;
    shift_q <= 8'(cmd_q.shift) + 8'(exponent) + 8'(FractionBits - MultiplierBits);
    factor_q <= MultiplierBits'((folded_q + (1 << (MultiplierBits - 1))) >> MultiplierBits);
    base_q <= shift_q > 8'(MaxBase) ? 6'(MaxBase) : 6'(shift_q);
    weight_q <= weight_t'(times(units, variance_t'(factor_q)) << $clog2(UnitBytes));
    offset_q <= row_sum * signed'({1'b0, factor_q});
    base_qq <= base_q;
    if (row_valid_q[RowStep-1]) begin  // kept for all granules of the row
      weight_qq <= weight_q;
      offset_qq <= offset_q;
      base_qqq  <= base_qq;
    end
  end
  m3vit_rsqrt #(
      .Width(VarianceW)
  ) u_rsqrt (
      .clk_i,
      .variance_i(variance_q),
      .mantissa_o(mantissa),
      .exponent_o(exponent)
  );
  m3vit_delay #(
      .Stages(RowStep - 2 - (SumStep + 1)),
      .data_t(sum_t)
  ) u_row_sum (
      .clk_i,
      .data_i(row_sum_qq),
      .data_o(row_sum)
  );

  // Granules wait until the factors of their row are known. A row then takes as many cycles as it took to read.
  logic [RingW-1:0] ring_write_q, ring_read_q;
  logic starting, active, active_end;
  logic [7:0] left, left_q;  // granules after this one
  logic [7:0] word, word_q, word_qq;
  logic [SlotW-1:0] slot, slot_q, slot_qq;
  logic active_q, active_end_q;
  token_t write_row_q;
  value_t [Lanes-1:0] x;
  assign starting = row_valid_q[RowStep-1];
  assign active = starting || left_q != '0;
  assign left = starting ? cmd_q.tiles - 1'b1 : left_q - 1'b1;
  assign word = starting ? '0 : word_q;
  assign slot = starting ? '0 : slot_q;
  assign active_end = left == '0;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ring_write_q <= '0;
      ring_read_q <= '0;
      left_q <= '0;
      active_q <= 1'b0;
    end else begin
      if (valid_q[DataStep]) ring_write_q <= ring_write_q + 1'b1;
      if (active) ring_read_q <= ring_read_q + 1'b1;
      if (active) left_q <= left;
      active_q <= active;
    end
    if (active) begin
      word_q  <= slot == SlotW'(Slots - 1) ? word + 1'b1 : word;
      slot_q  <= slot == SlotW'(Slots - 1) ? '0 : slot + 1'b1;
      word_qq <= word;
      slot_qq <= slot;
      active_end_q <= active_end;
    end
    if (start_i) write_row_q <= '0;
    else if (active_q && active_end_q) write_row_q <= write_row_q + 1'b1;
  end
  m3vit_ram #(
      .Width(16 * Lanes),
      .Depth(RingDepth),
      .Style("distributed")
  ) u_ring (
      .clk_i,
      .write_i     (valid_q[DataStep]),
      .write_addr_i(ring_write_q),
      .write_data_i(x_q),
      .read_i      (active),
      .read_addr_i (ring_read_q),
      .read_data_o (x)
  );

  // Coarse channels, loaded word by word.
  logic [7:0] table_count_q;
  logic table_take;
  logic [Slots-1:0][Lanes-1:0][CoarseBits-1:0] coarse_in, coarse_word;
  logic [Lanes-1:0][CoarseBits-1:0] coarse;
  assign table_ready_o = !busy_o && table_count_q != table_words_i;
  assign table_loaded_o = !busy_o && table_count_q == table_words_i;
  assign table_take = table_valid_i && table_ready_o;
  assign coarse = coarse_word[slot_qq];
  always_comb
    for (int s = 0; s < int'(Slots); s++)
      for (int l = 0; l < int'(Lanes); l++) coarse_in[s][l] = table_word_i[8*(s*int'(Lanes)+l)+:CoarseBits];
  always_ff @(posedge clk_i) begin
    if (!rst_ni || finish) table_count_q <= '0;
    else if (table_take) table_count_q <= table_count_q + 1'b1;
  end
  m3vit_ram #(
      .Width(CoarseBits * Inputs),
      .Depth(Words),
      .Style("distributed")
  ) u_coarse (
      .clk_i,
      .write_i     (table_take),
      .write_addr_i(WordW'(table_count_q)),
      .write_data_i(coarse_in),
      .read_i      (active),
      .read_addr_i (WordW'(word)),
      .read_data_o (coarse_word)
  );

  // Results. Step 1: product. Step 2: centred. Step 3: shift by 16s. Step 4: shift by fours. Step 5: shift, round,
  // saturate. What no longer fits after a shift will be saturated in the end.
  logic [WriteSteps:1] out_valid_q, out_end_q;
  granule_t place_q[WriteSteps+1];
  longint product_q[Lanes], centred_q[Lanes];
  offset_t offset_qqq;
  logic [5:0] shift1_q[Lanes], shift2_q[Lanes];
  logic [3:0] shift3_q[Lanes];
  logic [1:0] shift4_q[Lanes];
  int scaled3_q[Lanes], scaled4_q[Lanes];
  logic [Lanes-1:0] over3_q, over4_q, negative3_q, negative4_q;
  always_ff @(posedge clk_i) begin
    out_valid_q <= rst_ni ? {out_valid_q[WriteSteps-1:1], active_q} : '0;
    out_end_q <= {out_end_q[WriteSteps-1:1], active_end_q};
    place_q[1] <= '{row: write_row_q, word: word_qq, sub: 4'(slot_qq), pitch: cmd_q.pitch};
    for (int i = 2; i <= int'(WriteSteps); i++) place_q[i] <= place_q[i-1];
    offset_qqq <= offset_qq;
    if (active_q)
      for (int l = 0; l < int'(Lanes); l++) begin
        product_q[l] <= 64'(x[l]) * 64'(weight_qq);
        shift1_q[l]  <= base_qqq + 6'(coarse[l]);
      end
    if (out_valid_q[1])
      for (int l = 0; l < int'(Lanes); l++) begin
        centred_q[l] <= product_q[l] - 64'(offset_qqq);
        shift2_q[l]  <= shift1_q[l];
      end
    if (out_valid_q[2])
      for (int l = 0; l < int'(Lanes); l++) begin
        automatic longint y = (centred_q[l] <<< 1) >>> {shift2_q[l][5:4], 4'd0};
        scaled3_q[l] <= 32'(signed'(y[24:0]));
        over3_q[l] <= y != 64'(signed'(y[24:0]));
        negative3_q[l] <= y[63];
        shift3_q[l] <= shift2_q[l][3:0];
      end
    if (out_valid_q[3])
      for (int l = 0; l < int'(Lanes); l++) begin
        automatic int y = scaled3_q[l] >>> {shift3_q[l][3:2], 2'd0};
        scaled4_q[l] <= 32'(signed'(y[12:0]));
        over4_q[l] <= over3_q[l] || y != 32'(signed'(y[12:0]));
        negative4_q[l] <= negative3_q[l];
        shift4_q[l] <= shift3_q[l][1:0];
      end
    if (out_valid_q[4])
      for (int l = 0; l < int'(Lanes); l++) begin
        automatic int y = ((scaled4_q[l] >>> shift4_q[l]) + 1) >>> 1;
        write_data_o[l] <= !over4_q[l] && y >= -128 && y <= 127 ? y[7:0] : negative4_q[l] ? 8'h80 : 8'h7F;
      end
  end
  assign write_valid_o = out_valid_q[WriteSteps];
  assign write_o = place_q[WriteSteps];
  assign finish = write_valid_o && out_end_q[WriteSteps] && rows_o == cmd_q.rows - 1'b1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) rows_o <= '0;
    else if (write_valid_o && out_end_q[WriteSteps]) rows_o <= rows_o + 1'b1;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (rst_ni && start_i) begin
      a_start : assert (table_loaded_o) else $error("start before the table");
      a_shape : assert (cmd_i.rows != '0 && cmd_i.rows <= token_t'(MaxTokens) && cmd_i.dim <= 16'(MaxDim)
          && cmd_i.dim == 16'(cmd_i.tiles) * 16'(Lanes)) else $error("shape of a norm");
    end
`endif
endmodule
