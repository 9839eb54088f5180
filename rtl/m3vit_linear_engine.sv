// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The linear engine: rows of int8 activations times int8 weights, requantised, one command after another. Weights come
/// from the stream or from the key-value buffer and are loaded ahead, across commands. Activations are requested row by
/// row and must arrive after exactly ActLatency cycles. Results leave through a ready/valid queue, scores directly.
/// Throughput: one word of one row times Lanes channels per cycle; a weight tile needs at least Lanes + 1 cycles.
/// Golden: sim/golden/linear.py linear, sim/golden/attention.py.
module m3vit_linear_engine
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxTokens = 80,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                               clk_i,
    input  logic                               rst_ni,
    input  command_t                           cmd_i,
    input  logic                               cmd_valid_i,
    output logic                               cmd_ready_o,
    input  logic              [8*Inputs-1:0]   word_i,           ///< weight stream
    input  logic                               word_valid_i,
    input  logic              [         2:0]   word_level_i,     ///< words that are certain to follow each other
    output logic                               word_ready_o,
    output words_t                             skip_words_o,     ///< drop words of the stream
    output logic                               skip_valid_o,
    input  logic                               skip_ready_i,
    input  segment_t                           segment_i,        ///< experts in the stream
    input  logic                               segment_valid_i,
    output logic                               segment_ready_o,
    output logic                               gelu_valid_o,     ///< word_i is for the GELU table
    input  logic                               gelu_ready_i,
    input  logic                               gelu_loaded_i,    ///< the table is complete
    output logic                               norm_valid_o,     ///< word_i is for the norm table
    input  logic                               norm_ready_i,
    input  logic                               norm_idle_i,
    output kv_req_t                            kv_req_o,
    output logic                               kv_req_valid_o,
    input  logic              [8*UnitBytes-1:0] kv_unit_i,       ///< KvLatency cycles after the request
    output logic                               act_valid_o,
    output act_req_t                           act_req_o,
    input  logic              [8*Inputs-1:0]   act_i,            ///< ActLatency cycles after the request
    output logic                               norm_wait_o,      ///< the oldest command waits for its norm
    input  logic                               norm_start_i,
    input  token_t                             norm_rows_i,      ///< rows that the norm has written
    input  logic                               norm_busy_i,
    input  logic                               patches_ready_i,
    output logic                               score_valid_o,
    output score_tag_t                         score_tag_o,
    output sum_t                               score_sum_o[Groups][Lanes],
    input  factor_t                            factor_i,         ///< of the next row of attention output
    input  logic                               factor_valid_i,
    output logic                               factor_ready_o,
    output logic                               valid_o,
    input  logic                               ready_i,
    output tag_t                               tag_o,
    output value_t [Lanes-1:0]                 value_o,
    input  logic                               consumer_idle_i,  ///< nothing is under way behind the outputs
    output logic                               idle_o,           ///< no command and no row under way
    output logic                               quiet_o,          ///< no row under way here or behind the outputs
    output op_index_t                          op_o,             ///< operation of the oldest command
    output logic                               compute_o,        ///< the array multiplies in this cycle
    output logic                               stall_weight_o,
    output logic                               stall_input_o,
    output logic                               stall_output_o
);
  // A row's factor is known FactorLatency cycles after its last word, so all sums wait for it.
  localparam int unsigned SumDelay = FactorLatency - ArrayLatency;
  localparam int unsigned OutputDepth = 64;  // covers the latency from issue to the output queue
  localparam int unsigned CreditW = $clog2(OutputDepth + 1);

  typedef struct packed {
    logic valid;
    logic first_row;
    logic first_chunk;
    logic last_chunk;
    tag_t tag;
    score_tag_t score_tag;
  } flight_t;

  typedef struct packed {
    tag_t tag;
    value_t [Lanes-1:0] value;
  } result_t;

  // Commands wait twice: for the feeder, which runs ahead, and for the issuer.
  command_t feed_cmd, issue_cmd;
  logic feed_valid, feed_ready, feed_room, issue_valid, issue_ready, issue_room, has_rows;
  assign has_rows = !(cmd_i.kind inside {CmdGelu, CmdNorm, CmdDrop});
  assign cmd_ready_o = feed_room && issue_room;
  m3vit_fifo #(
      .Depth (4),
      .data_t(command_t)
  ) u_feed_cmds (
      .clk_i,
      .rst_ni,
      .data_i (cmd_i),
      .valid_i(cmd_valid_i && issue_room),
      .ready_o(feed_room),
      .data_o (feed_cmd),
      .valid_o(feed_valid),
      .ready_i(feed_ready)
  );
  m3vit_fifo #(
      .Depth (4),
      .data_t(command_t)
  ) u_issue_cmds (
      .clk_i,
      .rst_ni,
      .data_i (cmd_i),
      .valid_i(cmd_valid_i && feed_room && has_rows),
      .ready_o(issue_room),
      .data_o (issue_cmd),
      .valid_o(issue_valid),
      .ready_i(issue_ready)
  );

  // What the feeder has fed and the issuer has issued, for the feeder's fences.
  logic [3:0] fed_q, issued_q, gelus_q;
  logic gelu_fed, gelu_done;
  assign gelu_fed  = feed_valid && feed_ready && feed_cmd.dest == DstGelu && feed_cmd.kind == CmdLinear;
  assign gelu_done = valid_o && ready_i && tag_o.dest == DstGelu && tag_o.last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fed_q <= '0;
      issued_q <= '0;
      gelus_q <= '0;
    end else begin
      fed_q <= fed_q + 4'(feed_valid && feed_ready && !(feed_cmd.kind inside {CmdGelu, CmdNorm, CmdDrop}));
      issued_q <= issued_q + 4'(issue_valid && issue_ready);
      gelus_q <= gelus_q + 4'(gelu_fed) - 4'(gelu_done);
    end
  end

  logic [Groups-1:0] load;
  logic fill, tile_soon, tile_taken;
  logic [$clog2(Lanes)-1:0] lane;
  logic [6:0] fill_input;
  logic [8*Inputs-1:0] weight;
  logic [Lanes-1:0][7:0] weights;
  channel_t [Lanes-1:0] fed_channels, channels;
  logic fed_valid, fed_ready, channels_valid, channels_ready;
  m3vit_weight_feeder #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_feeder (
      .clk_i,
      .rst_ni,
      .cmd_i           (feed_cmd),
      .cmd_valid_i     (feed_valid),
      .cmd_ready_o     (feed_ready),
      .arrived_i       (fed_q == issued_q && quiet_o),
      .gelu_free_i     (gelus_q == '0),
      .norm_free_i     (norm_idle_i),
      .word_i,
      .word_valid_i,
      .word_ready_o,
      .level_i         (word_level_i),
      .skip_words_o,
      .skip_valid_o,
      .skip_ready_i,
      .segment_i,
      .segment_valid_i,
      .segment_ready_o,
      .gelu_valid_o,
      .gelu_ready_i,
      .norm_valid_o,
      .norm_ready_i,
      .kv_req_o,
      .kv_req_valid_o,
      .kv_unit_i,
      .load_o          (load),
      .lane_o          (lane),
      .weight_o        (weight),
      .fill_o          (fill),
      .input_o         (fill_input),
      .weights_o       (weights),
      .tile_soon_o     (tile_soon),
      .tile_taken_i    (tile_taken),
      .channels_o      (fed_channels),
      .channels_valid_o(fed_valid),
      .channels_ready_i(fed_ready)
  );
  m3vit_fifo #(
      .Depth (4),
      .data_t(channel_t [Lanes-1:0])
  ) u_channels (
      .clk_i,
      .rst_ni,
      .data_i (fed_channels),
      .valid_i(fed_valid),
      .ready_o(fed_ready),
      .data_o (channels),
      .valid_o(channels_valid),
      .ready_i(channels_ready)
  );

  flight_t issued, at_array, at_sum, at_accumulator;
  logic [CreditW-1:0] used_q;  // rows of last chunks between issue and output
  logic pop, score_pending;
  m3vit_row_issuer #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_issuer (
      .clk_i,
      .rst_ni,
      .cmd_i         (issue_cmd),
      .cmd_valid_i   (issue_valid),
      .cmd_ready_o   (issue_ready),
      .quiet_i       (quiet_o),
      .pending_i     (used_q),
      .gelu_loaded_i,
      .patches_ready_i,
      .norm_wait_o,
      .norm_start_i,
      .norm_rows_i,
      .norm_busy_i,
      .tile_soon_i   (tile_soon),
      .credit_i      (used_q != CreditW'(OutputDepth)),
      .valid_o       (issued.valid),
      .req_o         (act_req_o),
      .tag_o         (issued.tag),
      .score_tag_o   (issued.score_tag),
      .first_row_o   (issued.first_row),
      .first_chunk_o (issued.first_chunk),
      .last_chunk_o  (issued.last_chunk),
      .stall_weight_o(stall_weight_o),
      .stall_input_o (stall_input_o),
      .stall_output_o(stall_output_o)
  );
  assign act_valid_o = issued.valid;

  // The valid bit must be cleared by reset; the other bits follow it.
  flight_t gated;
  always_comb begin
    gated = issued;
    gated.valid = issued.valid && rst_ni;
  end
  m3vit_delay #(
      .Stages(ActLatency),
      .data_t(flight_t)
  ) u_fetch_delay (
      .clk_i,
      .data_i(gated),
      .data_o(at_array)
  );
  m3vit_delay #(
      .Stages(ArrayLatency),
      .data_t(flight_t)
  ) u_array_delay (
      .clk_i,
      .data_i(at_array),
      .data_o(at_sum)
  );
  assign tile_taken = at_array.valid && at_array.first_row;
  assign compute_o  = at_array.valid;

  sum_t group[Groups][Lanes], total[Lanes];
  m3vit_mac_array #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_array (
      .clk_i,
      .valid_i  (at_array.valid),
      .x_i      (act_i),
      .swap_i   (tile_taken),
      .load_i   (load),
      .lane_i   (lane),
      .weight_i (weight),
      .fill_i   (fill),
      .input_i  (fill_input),
      .weights_i(weights),
      .group_o  (group),
      .total_o  (total)
  );

  // Scores leave here. With several units per head the groups of inputs belong to the same key.
  logic is_score;
  logic [7:0] scores_q;  // rows of scores under way
  always_comb begin
    score_sum_o = group;
    if (at_sum.score_tag.units != 3'd1) score_sum_o[0] = total;
  end
  assign is_score = at_sum.tag.dest == DstScores;
  assign score_valid_o = at_sum.valid && is_score;
  assign score_tag_o = at_sum.score_tag;
  assign score_pending = scores_q != '0;

  // All other sums wait.
  typedef struct packed {
    flight_t flight;
    sum_t [Lanes-1:0] total;
  } held_t;
  held_t sum_in, sum_out;
  always_comb begin
    sum_in.flight = at_sum;
    sum_in.flight.valid = at_sum.valid && !is_score && rst_ni;
    for (int l = 0; l < int'(Lanes); l++) sum_in.total[l] = total[l];
  end
  m3vit_delay #(
      .Stages(SumDelay),
      .data_t(held_t)
  ) u_sum_delay (
      .clk_i,
      .data_i(sum_in),
      .data_o(sum_out)
  );
  sum_t partial_q[Lanes];
  assign at_accumulator = sum_out.flight;
  always_ff @(posedge clk_i) for (int l = 0; l < int'(Lanes); l++) partial_q[l] <= sum_out.total[l];

  logic sum_valid;
  tag_t sum_tag;
  acc_t acc[Lanes];
  channel_t [Lanes-1:0] sum_channels;
  m3vit_accumulator #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens)
  ) u_accumulator (
      .clk_i,
      .rst_ni,
      .valid_i         (at_accumulator.valid),
      .tag_i           (at_accumulator.tag),
      .first_row_i     (at_accumulator.first_row),
      .first_chunk_i   (at_accumulator.first_chunk),
      .last_chunk_i    (at_accumulator.last_chunk),
      .partial_i       (partial_q),
      .channels_i      (channels),
      .channels_valid_i(channels_valid),
      .channels_ready_o(channels_ready),
      .valid_o         (sum_valid),
      .tag_o           (sum_tag),
      .acc_o           (acc),
      .channels_o      (sum_channels)
  );

  result_t result, popped;
  logic by_row;
  logic [4:0] bits;
  assign by_row = sum_tag.dest == DstAttention;
  assign factor_ready_o = sum_valid && by_row;
  always_comb begin
    unique case (sum_tag.dest)
      DstGelu: bits = 5'(GeluIndexBits);
      DstQkv, DstAttention: bits = 5'd8;
      default: bits = 5'd16;
    endcase
  end
  for (genvar l = 0; l < int'(Lanes); l++) begin : gen_requant
    m3vit_requant u_requant (
        .clk_i,
        .valid_i     (sum_valid),
        .acc_i       (acc[l]),
        .multiplier_i(by_row ? factor_i.multiplier : sum_channels[l].multiplier),
        .shift_i     (by_row ? factor_i.shift : sum_channels[l].shift[5:0]),
        .bits_i      (bits),
        .value_o     (result.value[l])
    );
  end

  typedef struct packed {
    logic valid;
    tag_t tag;
  } done_t;
  done_t done_in, done_out;
  assign done_in = '{valid: sum_valid && rst_ni, tag: sum_tag};
  m3vit_delay #(
      .Stages(3),
      .data_t(done_t)
  ) u_requant_delay (
      .clk_i,
      .data_i(done_in),
      .data_o(done_out)
  );
  assign result.tag = done_out.tag;

  logic unused_room;
  m3vit_fifo #(
      .Depth (OutputDepth),
      .data_t(result_t)
  ) u_output (
      .clk_i,
      .rst_ni,
      .data_i (result),
      .valid_i(done_out.valid),
      .ready_o(unused_room),  // credits keep it from overflowing
      .data_o (popped),
      .valid_o(valid_o),
      .ready_i(ready_i)
  );
  assign tag_o = popped.tag;
  assign value_o = popped.value;

  logic issued_score;
  op_index_t op_q;
  assign issued_score = issued.tag.dest == DstScores;
  assign pop = valid_o && ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      used_q <= '0;
      scores_q <= '0;
      op_q <= '0;
    end else begin
      used_q <= used_q + CreditW'(issued.valid && issued.last_chunk && !issued_score) - CreditW'(pop);
      scores_q <= scores_q + 8'(issued.valid && issued_score) - 8'(score_valid_o);
      if (issue_valid) op_q <= issue_cmd.op;
    end
  end
  assign op_o = issue_valid ? issue_cmd.op : op_q;
  assign quiet_o = used_q == '0 && !score_pending && consumer_idle_i;
  assign idle_o = !feed_valid && !issue_valid && used_q == '0 && !score_pending;
`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (rst_ni) a_factor : assert (!factor_ready_o || factor_valid_i) else $error("row before its factor");
`endif
endmodule
