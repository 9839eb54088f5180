// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Scores in, probabilities out. Keeps the scores of one block of query rows and the maximum of each row; a request
/// gives the probabilities of one word of keys, and after a row's last word the factor of its weighted values follows.
/// Golden: sim/golden/attention.py scores (shift and saturation), probabilities, reciprocal, weighted_values (factor).
/// Rows may come in every cycle on both sides; two tiles or two words of one row must be four cycles apart. A request
/// sees all scores that came at least ScoreLatency cycles before it, and none that come with it or later.
module m3vit_attention
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxBlock = 80,   ///< query rows
    parameter int unsigned MaxTokens = 80,  ///< keys
    parameter int unsigned FactorDepth = 32,  ///< factors that wait for their rows
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                        clk_i,
    input  logic                        rst_ni,
    input  logic                        score_valid_i,
    input  score_tag_t                  score_tag_i,
    input  sum_t                        score_sum_i[Groups][Lanes],  ///< group 0 has the sum unless `units` is 1
    input  logic                        req_valid_i,
    input  act_req_t                    req_i,                       ///< of SrcScores
    output logic         [8*Inputs-1:0] act_o,                       ///< int8, ActLatency cycles after the request
    output factor_t                     factor_o,                    ///< of each row, in the order of the last words
    output logic                        factor_valid_o,
    input  logic                        factor_ready_i,
    output logic                        idle_o                       ///< no score and no request is under way
);
  localparam int unsigned TilesPerUnit = UnitBytes / Lanes;
  localparam int unsigned Slots = Groups * TilesPerUnit;  // granules of Lanes scores in a word
  localparam int unsigned Words = (MaxTokens + Inputs - 1) / Inputs;
  localparam int unsigned AddrW = $clog2(MaxBlock * Words);
  localparam int unsigned RowW = $clog2(MaxBlock);
  localparam int unsigned TotalW = $clog2(255 * MaxTokens + 1);
  localparam int unsigned Quarter = Lanes / 4;
  localparam int unsigned Sixteenth = (Lanes + 15) / 16;
  localparam int unsigned ScoreLatency = 8;  // from a score to the new maximum
  localparam int unsigned TotalLatency = ActLatency + 5;  // from a request to the sum of its row
  localparam int unsigned ReciprocalLatency = MultiplierBits + 1;
  localparam int unsigned FactorSteps = ReciprocalLatency + 2;  // from the sum to the factor
  typedef logic [RowW-1:0] row_t;
  typedef logic [AddrW-1:0] place_t;
  typedef logic [TotalW-1:0] total_t;
  typedef logic [7:0] count_t;  // of keys in a word: up to 128
  if (ActLatency + FactorLatency < TotalLatency + FactorSteps + 1) begin : gen_check
    $fatal(1, "FactorLatency does not match the pipeline");
  end

  /// Where word `word` of row `row` lies: all first words come first.
  function automatic place_t place_of(token_t row, logic [7:0] word);
    return place_t'(word) * place_t'(MaxBlock) + place_t'(row);
  endfunction

  /// How many keys of `size` from `first` exist.
  function automatic count_t existing(token_t keys, logic [15:0] first, int unsigned size);
    automatic logic signed [16:0] left = signed'({4'b0, keys}) - signed'({1'b0, first});
    return left < 0 ? '0 : left > 17'(size) ? count_t'(size) : count_t'(left);
  endfunction

  // Scores. Step 1: shift by eights. Step 2: shift and round. Step 3: saturate; written. Steps 4 to 7: largest of the
  // tile. Step 8: largest of the row; written.
  logic [ScoreLatency:1] score_valid_q;  // by step
  logic [ScoreLatency:1] first_tile_q;
  row_t score_row_q[ScoreLatency+1];
  score_tag_t tag_q;
  logic apart, apart_q, apart_qq;  // the groups hold scores of their own
  int scaled_q[Groups][Lanes], rounded_q[Groups][Lanes];
  value_t [Groups-1:0][Lanes-1:0] score_q;
  count_t existing_q[Groups];
  logic [Lanes-1:0] exists_q[Groups];
  logic [7:0] word_q;
  logic [Slots-1:0] slots_q, slots_qq;
  place_t score_place_q;
  int largest4_q[Lanes], largest5_q[Quarter], largest6_q[Sixteenth], largest7_q;
  value_t stored_max, row_max_q;

  function automatic int larger(int a, int b);
    return a > b ? a : b;
  endfunction

  assign apart = tag_q.units == 3'd1;
  always_ff @(posedge clk_i) begin
    score_valid_q <= rst_ni ? {score_valid_q[ScoreLatency-1:1], score_valid_i} : '0;
    first_tile_q <= {first_tile_q[ScoreLatency-1:1], score_tag_i.tile == '0};
    score_row_q[1] <= row_t'(score_tag_i.row);
    for (int i = 2; i <= int'(ScoreLatency); i++) score_row_q[i] <= score_row_q[i-1];
    if (score_valid_i) begin
      tag_q <= score_tag_i;
      for (int g = 0; g < int'(Groups); g++)
        for (int l = 0; l < int'(Lanes); l++)
          scaled_q[g][l] <= (32'(score_sum_i[g][l]) <<< 1) >>> {score_tag_i.shift[4:3], 3'd0};
    end
    if (score_valid_q[1]) begin
      apart_q <= apart;
      for (int g = 0; g < int'(Groups); g++) begin
        for (int l = 0; l < int'(Lanes); l++)
          rounded_q[g][l] <= ((scaled_q[g][l] >>> tag_q.shift[2:0]) + 1) >>> 1;
        existing_q[g] <= apart
            ? existing(tag_q.keys, (16'(tag_q.tile) * 16'(Groups) + 16'(g)) * 16'(Lanes), Lanes)
            : g == 0 ? existing(tag_q.keys, 16'(tag_q.tile) * 16'(Lanes), Lanes) : '0;
      end
      word_q <= 8'(apart ? tag_q.tile / 10'(TilesPerUnit) : tag_q.tile / 10'(Slots));
      for (int s = 0; s < int'(Slots); s++)
        slots_q[s] <= apart ? tag_q.tile % 10'(TilesPerUnit) == 10'(s / int'(Groups))
            : tag_q.tile % 10'(Slots) == 10'(s);
    end
    if (score_valid_q[2]) begin
      apart_qq <= apart_q;
      slots_qq <= slots_q;
      score_place_q <= place_of(token_t'(score_row_q[2]), word_q);
      for (int g = 0; g < int'(Groups); g++)
        for (int l = 0; l < int'(Lanes); l++) begin
          score_q[g][l] <= rounded_q[g][l] > 32767 ? 16'h7FFF : rounded_q[g][l] < -32768 ? 16'h8000
              : value_t'(rounded_q[g][l]);
          exists_q[g][l] <= count_t'(l) < existing_q[g];
        end
    end
    if (score_valid_q[3])
      for (int l = 0; l < int'(Lanes); l++) begin
        automatic int best = -32768;
        for (int g = 0; g < int'(Groups); g++) if (exists_q[g][l]) best = larger(best, 32'(score_q[g][l]));
        largest4_q[l] <= best;
      end
    if (score_valid_q[4])
      for (int i = 0; i < int'(Quarter); i++)
        largest5_q[i] <= larger(
          larger(largest4_q[4*i], largest4_q[4*i+1]), larger(largest4_q[4*i+2], largest4_q[4*i+3])
        );
    if (score_valid_q[5])
      for (int i = 0; i < int'(Sixteenth); i++) begin
        automatic int best = -32768;
        for (int j = 4 * i; j < 4 * i + 4 && j < int'(Quarter); j++) best = larger(best, largest5_q[j]);
        largest6_q[i] <= best;
      end
    if (score_valid_q[6]) largest7_q <= larger(largest6_q[0], largest6_q[Sixteenth-1]);
    if (score_valid_q[7])
      row_max_q <= value_t'(first_tile_q[7] ? largest7_q : larger(largest7_q, 32'(stored_max)));
  end

  // Requests. Step 1: address. Step 2: scores and maximum. Steps 3 to 5: probabilities.
  logic [TotalLatency:1] req_valid_q;  // by step
  logic [TotalLatency:1] last_q, restart_q;
  row_t req_row_q[TotalLatency+1];
  act_req_t req_q;
  count_t keys_q;
  logic [Inputs-1:0] key_exists_q;
  value_t req_max;
  logic [16*Lanes-1:0] granule[Slots];
  logic [7:0] act[Inputs], probability[Inputs];

  always_ff @(posedge clk_i) begin
    req_valid_q <= rst_ni ? {req_valid_q[TotalLatency-1:1], req_valid_i} : '0;
    last_q <= {last_q[TotalLatency-1:1], req_i.last};
    restart_q <= {restart_q[TotalLatency-1:1], req_i.word == '0};
    req_row_q[1] <= row_t'(req_i.row);
    for (int i = 2; i <= int'(TotalLatency); i++) req_row_q[i] <= req_row_q[i-1];
    if (req_valid_i) req_q <= req_i;
    if (req_valid_q[1]) keys_q <= existing(req_q.keys, 16'(req_q.word) * 16'(Inputs), Inputs);
    if (req_valid_q[2]) for (int k = 0; k < int'(Inputs); k++) key_exists_q[k] <= count_t'(k) < keys_q;
  end

  for (genvar s = 0; s < int'(Slots); s++) begin : gen_slot
    m3vit_ram #(
        .Width(16 * Lanes),
        .Depth(MaxBlock * Words)
    ) u_scores (
        .clk_i,
        .write_i     (score_valid_q[3] && slots_qq[s]),
        .write_addr_i(score_place_q),
        .write_data_i(apart_qq ? score_q[s%int'(Groups)] : score_q[0]),
        .read_i      (req_valid_q[1]),
        .read_addr_i (place_of(req_q.row, req_q.word)),
        .read_data_o (granule[s])
    );
    for (genvar l = 0; l < int'(Lanes); l++) begin : gen_key
      localparam int unsigned Key = s * Lanes + l;
      m3vit_probability u_probability (
          .clk_i,
          .valid_i      (req_valid_q[2]),
          .exists_i     (key_exists_q[Key]),
          .score_i      (granule[s][16*l+:16]),
          .max_i        (req_max),
          .act_o        (act[Key]),
          .probability_o(probability[Key])
      );
      assign act_o[8*Key+:8] = act[Key];
    end
  end

  // The maxima, once for each reader.
  m3vit_ram #(
      .Width(16),
      .Depth(MaxBlock),
      .Style("distributed")
  ) u_max_write (
      .clk_i,
      .write_i     (score_valid_q[8]),
      .write_addr_i(score_row_q[8]),
      .write_data_i(row_max_q),
      .read_i      (score_valid_q[6]),
      .read_addr_i (score_row_q[6]),
      .read_data_o (stored_max)
  );
  m3vit_ram #(
      .Width(16),
      .Depth(MaxBlock),
      .Style("distributed")
  ) u_max_read (
      .clk_i,
      .write_i     (score_valid_q[8]),
      .write_addr_i(score_row_q[8]),
      .write_data_i(row_max_q),
      .read_i      (req_valid_q[1]),
      .read_addr_i (req_row_q[1]),
      .read_data_o (req_max)
  );

  // Sums of the probabilities. Steps 6 to 9: of the word. Step 10: of the row; written.
  int sum6_q[Inputs/4], sum7_q[Inputs/16], sum8_q[Groups], sum9_q;
  total_t stored_total, total_q;
  always_ff @(posedge clk_i) begin
    if (req_valid_q[5])
      for (int i = 0; i < int'(Inputs / 4); i++)
        sum6_q[i] <= 32'(probability[4*i]) + 32'(probability[4*i+1]) + 32'(probability[4*i+2])
            + 32'(probability[4*i+3]);
    if (req_valid_q[6])
      for (int i = 0; i < int'(Inputs / 16); i++)
        sum7_q[i] <= sum6_q[4*i] + sum6_q[4*i+1] + sum6_q[4*i+2] + sum6_q[4*i+3];
    if (req_valid_q[7]) for (int g = 0; g < int'(Groups); g++) sum8_q[g] <= sum7_q[2*g] + sum7_q[2*g+1];
    if (req_valid_q[8]) begin
      automatic int sum = 0;
      for (int g = 0; g < int'(Groups); g++) sum += sum8_q[g];
      sum9_q <= sum;
    end
    if (req_valid_q[9]) total_q <= (restart_q[9] ? '0 : stored_total) + total_t'(sum9_q);
  end
  m3vit_ram #(
      .Width(TotalW),
      .Depth(MaxBlock),
      .Style("distributed")
  ) u_totals (
      .clk_i,
      .write_i     (req_valid_q[10]),
      .write_addr_i(req_row_q[10]),
      .write_data_i(total_q),
      .read_i      (req_valid_q[8]),
      .read_addr_i (req_row_q[8]),
      .read_data_o (stored_total)
  );

  // Factors: reciprocal, product with the multiplier of the output, rounding.
  typedef struct packed {
    logic [MultiplierBits-1:0] multiplier;
    logic [5:0] shift;
  } scale_t;
  scale_t scale;
  logic [FactorSteps:1] factor_valid_q;
  logic [MultiplierBits-1:0] mantissa;
  logic [5:0] exponent;
  logic [6:0] shift_q;
  logic [2*MultiplierBits-1:0] product_q;
  factor_t factor_q;
  m3vit_reciprocal #(
      .Width(TotalW)
  ) u_reciprocal (
      .clk_i,
      .total_i   (total_q),
      .mantissa_o(mantissa),
      .exponent_o(exponent)
  );
  m3vit_delay #(
      .Stages(TotalLatency + ReciprocalLatency),
      .data_t(scale_t)
  ) u_scale (
      .clk_i,
      .data_i('{multiplier: req_i.multiplier, shift: req_i.shift}),
      .data_o(scale)
  );
  // No shift beyond MaxShift is needed: it would give zero as MaxShift does.
  always_ff @(posedge clk_i) begin
    factor_valid_q <= rst_ni ? {factor_valid_q[FactorSteps-1:1], req_valid_q[TotalLatency] && last_q[TotalLatency]} : '0;
    product_q <= mantissa * scale.multiplier;
    shift_q <= 7'(scale.shift) + 7'(exponent) - 7'(MultiplierBits);
    factor_q.multiplier <= MultiplierBits'((product_q + (1 << (MultiplierBits - 1))) >> MultiplierBits);
    factor_q.shift <= shift_q > 7'(MaxShift) ? 6'(MaxShift) : 6'(shift_q);
  end

  logic factor_room;
  m3vit_fifo #(
      .Depth (FactorDepth),
      .data_t(factor_t)
  ) u_factors (
      .clk_i,
      .rst_ni,
      .data_i (factor_q),
      .valid_i(factor_valid_q[FactorSteps]),
      .ready_o(factor_room),
      .data_o (factor_o),
      .valid_o(factor_valid_o),
      .ready_i(factor_ready_i)
  );
  assign idle_o = score_valid_q == '0 && req_valid_q == '0 && factor_valid_q == '0 && !factor_valid_o;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (rst_ni) a_room : assert (factor_room || !factor_valid_q[FactorSteps]) else $error("factors overflow");
`endif
endmodule
