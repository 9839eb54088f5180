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
    input  word_t                           x_i,             ///< 64 activations
    input  logic                            swap_i,          ///< x_i is the first row of a new tile
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
    logic swap;
    logic load;
    logic [$clog2(Lanes)-1:0] lane;
  } ctrl_t;

  typedef struct packed {
    logic [Groups-1:0][7:0] x;
    logic [Groups-1:0][7:0] weight;
    ctrl_t ctrl;
  } slice_t;

  logic signed [35:0] sum[Groups][Cascade+1][Pairs];

  for (genvar j = 0; j < int'(Cascade); j++) begin : gen_step
    slice_t now, late;
    always_comb begin
      now.ctrl = '{swap: swap_i, load: load_i, lane: lane_i};
      for (int g = 0; g < int'(Groups); g++) begin
        now.x[g] = x_i[8*(Cascade*g+j)+:8];
        now.weight[g] = weight_i[8*(Cascade*g+j)+:8];
      end
    end
    m3vit_delay #(
        .Stages(j),
        .data_t(slice_t)
    ) u_skew (
        .clk_i,
        .data_i(now),
        .data_o(late)
    );
    for (genvar g = 0; g < int'(Groups); g++) begin : gen_group
      m3vit_mac_column #(
          .Lanes(Lanes)
      ) u_column (
          .clk_i,
          .x_i     (late.x[g]),
          .swap_i  (late.ctrl.swap),
          .load_i  (late.ctrl.load),
          .lane_i  (late.ctrl.lane),
          .weight_i(late.weight[g]),
          .sum_i   (sum[g][j]),
          .sum_o   (sum[g][j+1])
      );
    end
  end
  for (genvar g = 0; g < int'(Groups); g++) begin : gen_zero
    assign sum[g][0] = '{default: '0};
  end

  // Unpack the two fields and add the groups in two stages.
  logic signed [19:0] half_q[Lanes][2];
  always_ff @(posedge clk_i) begin
    for (int p = 0; p < int'(Pairs); p++) begin
      for (int h = 0; h < 2; h++) begin
        automatic logic signed [19:0] low = '0;
        automatic logic signed [19:0] high = '0;
        for (int g = 0; g < int'(Groups) / 2; g++) begin
          low += 20'(signed'(sum[4*h+g][Cascade][p][17:0]));
          high += 20'(signed'(sum[4*h+g][Cascade][p][35:18])) + 20'(sum[4*h+g][Cascade][p][17]);
        end
        half_q[2*p][h]   <= low;
        half_q[2*p+1][h] <= high;
      end
    end
    for (int l = 0; l < int'(Lanes); l++) partial_o[l] <= 21'(half_q[l][0]) + 21'(half_q[l][1]);
  end
endmodule
