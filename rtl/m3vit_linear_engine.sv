// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The linear engine: rows of int8 activations times packed int8 weights, requantised, one command after another.
/// Weights come as a stream in the order of sim/layout.py and are fetched ahead, across commands. Activations are
/// requested row by row and must arrive after exactly ActLatency cycles. Results leave through a ready/valid queue.
/// Throughput: one 64-wide chunk of one row times Lanes channels per cycle; a weight tile needs at least Lanes + 1
/// cycles. Golden: sim/golden/linear.py linear.
module m3vit_linear_engine
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTokens = 80
) (
    input  logic               clk_i,
    input  logic               rst_ni,
    input  command_t           cmd_i,
    input  logic               cmd_valid_i,
    output logic               cmd_ready_o,
    input  word_t              weight_i,         ///< weight stream
    input  logic               weight_valid_i,
    input  logic         [2:0] weight_level_i,   ///< words that are certain to follow each other
    output logic               weight_ready_o,
    input  token_t             rows_loaded_i,    ///< rows that the token buffer holds so far
    output logic               act_valid_o,
    output act_req_t           act_req_o,
    input  word_t              act_i,            ///< ActLatency cycles after the request
    output logic               valid_o,
    input  logic               ready_i,
    output tag_t               tag_o,
    output value_t [Lanes-1:0] value_o,
    input  logic               consumer_idle_i,  ///< nothing is under way behind the output
    output logic               idle_o,           ///< no command and no row under way
    output logic               compute_o,        ///< the array multiplies in this cycle
    output logic               stall_weight_o,
    output logic               stall_input_o,
    output logic               stall_output_o
);
  if (Lanes < 8 || Lanes % 8 != 0) begin : gen_check
    $fatal(1, "Lanes must be a positive multiple of 8");
  end
  localparam int unsigned OutputDepth = 32;  // covers the latency from issue to the output queue
  localparam int unsigned CreditW = $clog2(OutputDepth + 1);

  typedef struct packed {
    logic valid;
    logic first_row;
    logic first_chunk;
    logic last_chunk;
    tag_t tag;
  } flight_t;

  typedef struct packed {
    tag_t tag;
    value_t [Lanes-1:0] value;
  } result_t;

  // Commands wait twice: for the feeder, which runs ahead, and for the issuer.
  command_t feed_cmd, issue_cmd;
  logic feed_valid, feed_ready, feed_room, issue_valid, issue_ready, issue_room;
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
      .valid_i(cmd_valid_i && feed_room),
      .ready_o(issue_room),
      .data_o (issue_cmd),
      .valid_o(issue_valid),
      .ready_i(issue_ready)
  );

  logic load, tile_soon, tile_taken;
  logic [$clog2(Lanes)-1:0] lane;
  channel_t [Lanes-1:0] fed_channels, channels;
  logic fed_valid, fed_ready, channels_valid, channels_ready;
  m3vit_weight_feeder #(
      .Lanes(Lanes)
  ) u_feeder (
      .clk_i,
      .rst_ni,
      .cmd_i           (feed_cmd),
      .cmd_valid_i     (feed_valid),
      .cmd_ready_o     (feed_ready),
      .word_i          (weight_i),
      .word_valid_i    (weight_valid_i),
      .word_ready_o    (weight_ready_o),
      .level_i         (weight_level_i),
      .load_o          (load),
      .lane_o          (lane),
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

  flight_t issued, at_array, at_accumulator;
  logic [CreditW-1:0] used_q;  // rows of last chunks between issue and output
  logic pop;
  m3vit_row_issuer u_issuer (
      .clk_i,
      .rst_ni,
      .cmd_i         (issue_cmd),
      .cmd_valid_i   (issue_valid),
      .cmd_ready_o   (issue_ready),
      .quiet_i       (used_q == '0 && consumer_idle_i),
      .rows_loaded_i,
      .tile_soon_i   (tile_soon),
      .credit_i      (used_q != CreditW'(OutputDepth)),
      .valid_o       (issued.valid),
      .req_o         (act_req_o),
      .tag_o         (issued.tag),
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
      .Stages(ArrayLatency - 1),
      .data_t(flight_t)
  ) u_array_delay (
      .clk_i,
      .data_i(at_array),
      .data_o(at_accumulator)
  );
  assign tile_taken = at_array.valid && at_array.first_row;
  assign compute_o  = at_array.valid;

  logic signed [20:0] partial[Lanes];
  m3vit_mac_array #(
      .Lanes(Lanes)
  ) u_array (
      .clk_i,
      .valid_i  (at_array.valid),
      .x_i      (act_i),
      .swap_i   (tile_taken),
      .load_i   (load),
      .lane_i   (lane),
      .weight_i (weight_i),
      .partial_o(partial)
  );

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
      .partial_i       (partial),
      .channels_i      (channels),
      .channels_valid_i(channels_valid),
      .channels_ready_o(channels_ready),
      .valid_o         (sum_valid),
      .tag_o           (sum_tag),
      .acc_o           (acc),
      .channels_o      (sum_channels)
  );

  result_t result, popped;
  for (genvar l = 0; l < int'(Lanes); l++) begin : gen_requant
    m3vit_requant u_requant (
        .clk_i,
        .valid_i     (sum_valid),
        .acc_i       (acc[l]),
        .multiplier_i(sum_channels[l].multiplier),
        .shift_i     (sum_channels[l].shift[5:0]),
        .narrow_i    (sum_tag.dest == DstGelu),
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

  assign pop = valid_o && ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) used_q <= '0;
    else used_q <= used_q + CreditW'(issued.valid && issued.last_chunk) - CreditW'(pop);
  end
  assign idle_o = !feed_valid && !issue_valid && used_q == '0;
endmodule
