// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// 64 x Lanes int8 MAC array, weight-stationary: one row chunk of 64 activations in, Lanes partial sums out, every
/// cycle. Columns are grouped by eight into DSP cascades; byte j of a word is delayed by j mod 8 cycles to meet them.
/// Latency: partial_o follows x_i after ArrayLatency cycles. Does not accumulate over chunks (m3vit_accumulator does).
/// Golden: sim/golden/linear.py accumulate (one chunk, no bias).
module m3vit_mac_array
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8
) (
    input  logic                            clk_i,
    input  logic                            valid_i,
    input  word_t                           x_i,             ///< 64 activations
    input  logic                            swap_i,          ///< with valid_i: x_i is the first row of a new tile
    input  logic                            load_i,          ///< weight_i goes to the shadow of lane_i
    input  logic        [$clog2(Lanes)-1:0] lane_i,
    input  word_t                           weight_i,        ///< 64 weights of one output channel
    output logic signed [             20:0] partial_o[Lanes]
);
  localparam int unsigned Pairs = Lanes / 2;
  localparam int unsigned Cascade = 8;
  localparam int unsigned Groups = WordBytes / Cascade;
  if (ArrayLatency != Cascade + 3) begin : gen_check
    $fatal(1, "ArrayLatency does not match the pipeline");
  end

  typedef struct packed {
    logic valid;
    logic swap;
    logic load;
    logic [$clog2(Lanes)-1:0] lane;
  } ctrl_t;

  // Step j sees its inputs j cycles late.
  ctrl_t ctrl[Cascade+1];
  word_t x[Cascade], weight[Cascade];
  assign ctrl[0] = '{valid: valid_i, swap: swap_i, load: load_i, lane: lane_i};
  assign x[0] = x_i;
  assign weight[0] = weight_i;
  for (genvar j = 1; j <= int'(Cascade); j++) begin : gen_skew
    always_ff @(posedge clk_i) ctrl[j] <= ctrl[j-1];
    if (j < int'(Cascade)) begin : gen_data
      always_ff @(posedge clk_i) begin
        if (ctrl[j-1].valid) x[j] <= x[j-1];
        if (ctrl[j-1].load) weight[j] <= weight[j-1];
      end
    end
  end

  longint sum[Groups][Cascade+1][Pairs];
  longint total[Groups][Pairs];
  for (genvar g = 0; g < int'(Groups); g++) begin : gen_group
    assign sum[g][0] = '{default: '0};
    assign total[g]  = sum[g][Cascade];
    for (genvar j = 0; j < int'(Cascade); j++) begin : gen_step
      m3vit_mac_column #(
          .Lanes(Lanes)
      ) u_column (
          .clk_i,
          .valid_i (ctrl[j].valid),
          .x_i     (x[j][8*(Cascade*g+j)+:8]),
          .swap_i  (ctrl[j].swap),
          .load_i  (ctrl[j].load),
          .lane_i  (ctrl[j].lane),
          .weight_i(weight[j][8*(Cascade*g+j)+:8]),
          .sum_i   (sum[g][j]),
          .sum_o   (sum[g][j+1])
      );
    end
  end

  logic total_valid_q;
  always_ff @(posedge clk_i) total_valid_q <= ctrl[Cascade].valid;
  m3vit_pair_sum #(
      .Groups(Groups),
      .Pairs (Pairs)
  ) u_pair_sum (
      .clk_i,
      .valid_i(total_valid_q),
      .sum_i  (total),
      .partial_o
  );
endmodule
