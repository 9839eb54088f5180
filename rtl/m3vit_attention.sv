// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Softmax of one block of queries between the two products of attention. Keeps the scores and the maximum of each row
/// as they come; gives the probabilities minus 128 as activations when the linear engine asks for them, sums them beside,
/// and with a row's last word forms the factor that normalises it. Costs no cycle of its own.
/// A score may be read two cycles after it came. Golden: sim/golden/attention.py scores, probabilities, weighted_values.
module m3vit_attention
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxBlock = 80,
    parameter  int unsigned MaxTokens = 80,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                            clk_i,
    input  logic                            rst_ni,
    input  logic                            score_valid_i,
    input  score_tag_t                      score_tag_i,
    input  sum_t                            score_sum_i[Groups][Lanes],
    input  logic                            req_valid_i,
    input  act_req_t                        req_i,
    output logic         [    8*Inputs-1:0] act_o,                       ///< ActLatency cycles after the request
    output factor_t                         factor_o,                    ///< of the rows in order
    output logic                            factor_valid_o,
    input  logic                            factor_ready_i,
    output logic                            idle_o                       ///< all scores are in place
);
  localparam int unsigned Parts = Inputs / Lanes;  // granules of Lanes scores in a word of Inputs scores
  localparam int unsigned PartTiles = UnitBytes / Lanes;
  localparam int unsigned Depth = MaxBlock * ((MaxTokens + Inputs - 1) / Inputs);
  localparam int unsigned AddrW = $clog2(Depth);
  localparam int unsigned SumBits = 8 + $clog2(MaxTokens + 1);
  localparam int unsigned ReciprocalLatency = 18;
  typedef logic [AddrW-1:0] addr_w_t;
  typedef logic [$clog2(MaxBlock)-1:0] block_row_t;
  typedef value_t [Lanes-1:0] part_t;

  function automatic addr_w_t score_addr(token_t row, logic [7:0] chunks, logic [7:0] word);
    return addr_w_t'(row) * addr_w_t'(chunks) + addr_w_t'(word);
  endfunction

  // Scores: shift, then write and track the maximum.
  localparam value_t Lowest = value_t'(1 << 15);
  part_t [Groups-1:0] score_q;
  value_t [Groups-1:0] best_q;
  value_t best, maximum_q[MaxBlock];
  score_tag_t tag_q;
  logic score_valid_q, apart;
  logic [9:0] word, base;
  logic [Parts-1:0] write;
  function automatic value_t requantise(sum_t sum, logic [4:0] shift);
    automatic logic signed [22:0] doubled = 23'(sum) <<< 1;  // so that shift 0 needs no case
    automatic logic signed [22:0] rounded = ((doubled >>> shift) + 23'sd1) >>> 1;
    return rounded > 23'sd32767 ? 16'sd32767 : rounded < -23'sd32768 ? -16'sd32768 : value_t'(rounded);
  endfunction
  always_ff @(posedge clk_i) begin
    automatic token_t first_key;
    score_valid_q <= score_valid_i && rst_ni;
    tag_q <= score_tag_i;
    if (score_valid_i)
      for (int g = 0; g < int'(Groups); g++) begin
        automatic value_t highest = Lowest;
        first_key = score_tag_i.units == 3'd1
            ? token_t'((int'(score_tag_i.tile) * int'(Groups) + g) * int'(Lanes))
            : token_t'(int'(score_tag_i.tile) * int'(Lanes));
        for (int l = 0; l < int'(Lanes); l++) begin
          automatic value_t score = requantise(score_sum_i[g][l], score_tag_i.shift);
          score_q[g][l] <= score;
          if (first_key + token_t'(l) < score_tag_i.keys && score > highest) highest = score;
        end
        best_q[g] <= highest;
      end
  end
  assign apart = tag_q.units == 3'd1;
  always_comb begin
    best = tag_q.tile == '0 ? Lowest : maximum_q[block_row_t'(tag_q.row)];
    for (int g = 0; g < int'(Groups); g++) if ((apart || g == 0) && best_q[g] > best) best = best_q[g];
    word = apart ? tag_q.tile / 10'(PartTiles) : tag_q.tile / 10'(Parts);
    base = apart ? tag_q.tile % 10'(PartTiles) * 10'(Groups) : tag_q.tile % 10'(Parts);
    for (int p = 0; p < int'(Parts); p++)
      write[p] = score_valid_q && (apart ? 10'(p) >= base && 10'(p) < base + 10'(Groups) : 10'(p) == base);
  end
  always_ff @(posedge clk_i) if (score_valid_q) maximum_q[block_row_t'(tag_q.row)] <= best;
  assign idle_o = !score_valid_q;

  // Requests. Cycle 1: read. Cycle 2: table. Cycle 3: shift. Cycle 4: sum and output.
  act_req_t req_q, req_qq, req_qqq, req_qqqq;
  logic [3:0] valid_q;
  value_t maximum_qq;
  part_t [Parts-1:0] scores;
  token_t left_q, left_qq, left_qqq;  // keys from this word on
  for (genvar p = 0; p < int'(Parts); p++) begin : gen_part
    m3vit_ram #(
        .Width(16 * Lanes),
        .Depth(Depth)
    ) u_scores (
        .clk_i,
        .write_i     (write[p]),
        .write_addr_i(score_addr(tag_q.row, words_of(16'(tag_q.keys), Groups), 8'(word))),
        .write_data_i(apart ? score_q[p%int'(Groups)] : score_q[0]),
        .read_i      (valid_q[0]),
        .read_addr_i (score_addr(req_q.row, req_q.pitch, req_q.word)),
        .read_data_o (scores[p])
    );
  end
  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[2:0], req_valid_i} : '0;
    req_q <= req_i;
    req_qq <= req_q;
    req_qqq <= req_qq;
    req_qqqq <= req_qqq;
    maximum_qq <= maximum_q[block_row_t'(req_q.row)];
    left_q <= req_q.keys - token_t'(int'(req_q.word) * int'(Inputs));
    left_qq <= left_q;
    left_qqq <= left_qq;
  end

  logic [7:0] probability[Inputs];
  logic [7:0] existing[Inputs];
  for (genvar i = 0; i < int'(Inputs); i++) begin : gen_probability
    m3vit_probability u_probability (
        .clk_i,
        .valid_i  (valid_q[1]),
        .score_i  (scores[i/Lanes][i%Lanes]),
        .maximum_i(maximum_qq),
        .value_o  (probability[i])
    );
    assign existing[i] = token_t'(i) < left_qqq ? probability[i] : '0;
    always_ff @(posedge clk_i)
      if (valid_q[3]) act_o[8*i+:8] <= token_t'(i) < left_qqq ? probability[i] - 8'd128 : '0;
  end

  // Sum of a row.
  typedef struct packed {
    logic valid;
    logic first;
    logic last;
    token_t row;
    logic [MultiplierBits-1:0] multiplier;
    logic [5:0] shift;
  } row_t;
  row_t row_q, row_qq, ending, ended;
  logic [10:0] eight_q[Inputs/8];
  logic [SumBits-1:0] chunk_sum_q, row_sum, sum_q[MaxBlock], total_q;
  logic [15:0] mantissa;
  logic [4:0] bits;
  assign row_sum = chunk_sum_q + (row_qq.first ? '0 : sum_q[block_row_t'(row_qq.row)]);
  always_ff @(posedge clk_i) begin
    automatic logic [SumBits-1:0] sum = '0;
    automatic logic [10:0] eight;
    row_q <= '{
        valid: valid_q[3] && rst_ni,
        first: req_qqqq.word == '0,
        last: req_qqqq.last,
        row: req_qqqq.row,
        multiplier: req_qqqq.multiplier,
        shift: req_qqqq.shift
    };
    row_qq <= row_q;
    if (valid_q[3])
      for (int e = 0; e < int'(Inputs / 8); e++) begin
        eight = '0;
        for (int i = 0; i < 8; i++) eight += 11'(existing[8*e+i]);
        eight_q[e] <= eight;
      end
    for (int e = 0; e < int'(Inputs / 8); e++) sum += SumBits'(eight_q[e]);
    chunk_sum_q <= sum;
    if (row_qq.valid) sum_q[block_row_t'(row_qq.row)] <= row_sum;
    total_q <= row_sum;
    ending  <= row_qq;
    ending.valid <= row_qq.valid && row_qq.last && rst_ni;
  end
  m3vit_reciprocal #(
      .SumBits(SumBits)
  ) u_reciprocal (
      .clk_i,
      .sum_i     (total_q),
      .mantissa_o(mantissa),
      .bits_o    (bits)
  );
  m3vit_delay #(
      .Stages(ReciprocalLatency),
      .data_t(row_t)
  ) u_row_delay (
      .clk_i,
      .data_i(ending),
      .data_o(ended)
  );

  // Factor of the row: both multipliers in one, and both exponents.
  logic [31:0] product_q;
  logic [5:0] shift_q;
  logic factor_valid_q, unused_ready;
  factor_t factor;
  always_ff @(posedge clk_i) begin
    product_q <= 32'(mantissa) * 32'(ended.multiplier) + 32'd32768;
    shift_q <= ended.shift + 6'(bits) - 6'd1;
    factor_valid_q <= ended.valid && rst_ni;
  end
  assign factor = '{multiplier: product_q[31:16], shift: shift_q};
  m3vit_fifo #(
      .Depth (16),
      .data_t(factor_t)
  ) u_factors (
      .clk_i,
      .rst_ni,
      .data_i (factor),
      .valid_i(factor_valid_q),
      .ready_o(unused_ready),  // the engine takes each within a fixed time
      .data_o (factor_o),
      .valid_o(factor_valid_o),
      .ready_i(factor_ready_i)
  );
endmodule
