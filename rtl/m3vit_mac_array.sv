// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// 32 Groups x Lanes int8 MAC array, weight-stationary: one word of activations in, Lanes sums out, every cycle, over all
/// inputs and over each group of 32. Columns are grouped by eight into DSP cascades; byte j of a word is delayed by j
/// mod 8 cycles to meet them. Weights are loaded by lane (some groups of a word) or by input (one byte for every lane).
/// Latency: sums follow x_i after ArrayLatency cycles. Does not accumulate over words (m3vit_accumulator does).
/// Golden: sim/golden/linear.py accumulate (one word, no bias).
module m3vit_mac_array
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                            clk_i,
    input  logic                            valid_i,
    input  logic        [     8*Inputs-1:0] x_i,             ///< activations
    input  logic                            swap_i,          ///< with valid_i: x_i is the first row of a new tile
    input  logic        [       Groups-1:0] load_i,          ///< these groups of weight_i go to the shadow of lane_i
    input  logic        [$clog2(Lanes)-1:0] lane_i,
    input  logic        [     8*Inputs-1:0] weight_i,        ///< weights of one output channel
    input  logic                            fill_i,          ///< weights_i goes to the shadows of input input_i
    input  logic        [              6:0] input_i,
    input  logic        [   Lanes-1:0][7:0] weights_i,       ///< weights of one input
    output sum_t                            group_o[Groups][Lanes],
    output sum_t                            total_o[Lanes]
);
  localparam int unsigned Pairs = Lanes / 2;
  localparam int unsigned Cascade = 8;
  localparam int unsigned Cascades = Inputs / Cascade;
  if (ArrayLatency != Cascade + 3) begin : gen_check
    $fatal(1, "ArrayLatency does not match the pipeline");
  end

  typedef struct packed {
    logic valid;
    logic swap;
    logic [Groups-1:0] load;
    logic [$clog2(Lanes)-1:0] lane;
    logic fill;
    logic [6:0] index;
  } ctrl_t;
  typedef logic [8*Inputs-1:0] data_t;

  // Step j sees its inputs j cycles late.
  ctrl_t ctrl[Cascade+1];
  data_t x[Cascade], weight[Cascade];
  logic [Lanes-1:0][7:0] weights[Cascade];
  assign ctrl[0] = '{valid: valid_i, swap: swap_i, load: load_i, lane: lane_i, fill: fill_i, index: input_i};
  assign x[0] = x_i;
  assign weight[0] = weight_i;
  assign weights[0] = weights_i;
  for (genvar j = 1; j <= int'(Cascade); j++) begin : gen_skew
    always_ff @(posedge clk_i) ctrl[j] <= ctrl[j-1];
    if (j < int'(Cascade)) begin : gen_data
      always_ff @(posedge clk_i) begin
        if (ctrl[j-1].valid) x[j] <= x[j-1];
        if (ctrl[j-1].load != '0) weight[j] <= weight[j-1];
        if (ctrl[j-1].fill) weights[j] <= weights[j-1];
      end
    end
  end

  longint sum[Cascades][Cascade+1][Pairs];
  longint total[Cascades][Pairs];
  for (genvar c = 0; c < int'(Cascades); c++) begin : gen_cascade
    assign sum[c][0] = '{default: '0};
    assign total[c]  = sum[c][Cascade];
    for (genvar j = 0; j < int'(Cascade); j++) begin : gen_step
      m3vit_mac_column #(
          .Lanes(Lanes)
      ) u_column (
          .clk_i,
          .valid_i  (ctrl[j].valid),
          .x_i      (x[j][8*(Cascade*c+j)+:8]),
          .swap_i   (ctrl[j].swap),
          .load_i   (ctrl[j].load[Cascade*c/UnitBytes]),
          .lane_i   (ctrl[j].lane),
          .weight_i (weight[j][8*(Cascade*c+j)+:8]),
          .fill_i   (ctrl[j].fill && ctrl[j].index == 7'(Cascade * c + j)),
          .weights_i(weights[j]),
          .sum_i    (sum[c][j]),
          .sum_o    (sum[c][j+1])
      );
    end
  end

  logic total_valid_q;
  always_ff @(posedge clk_i) total_valid_q <= ctrl[Cascade].valid;
  m3vit_pair_sum #(
      .Groups  (Groups),
      .Cascades(UnitBytes / Cascade),
      .Pairs   (Pairs)
  ) u_pair_sum (
      .clk_i,
      .valid_i(total_valid_q),
      .sum_i  (total),
      .group_o,
      .total_o
  );
endmodule
