// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_linear_engine behind a short weight stream, with the signals of its bench. Test only.
module unit_engine
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxTokens = 160,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input logic clk_i,
    input logic rst_ni
);
  localparam int unsigned Depth = 16;
  localparam int unsigned MaxLevel = 4;  // as m3vit_stream

  /* verilator public_flat_rw_on */
  logic [$bits(command_t)-1:0] cmd;
  logic cmd_valid, cmd_ready;
  logic [8*Inputs-1:0] weight;
  logic weight_valid, weight_ready;
  logic [$bits(segment_t)-1:0] segment;
  logic segment_valid, segment_ready;
  logic skip_done;
  logic [8*Inputs-1:0] word;
  logic gelu_valid, gelu_ready, gelu_loaded;
  logic norm_valid, norm_ready, norm_idle;
  logic kv_valid;
  logic [$bits(kv_req_t)-1:0] kv_req;
  logic [8*UnitBytes-1:0] kv_unit;
  logic act_valid;
  logic [$bits(act_req_t)-1:0] act_req;
  logic [8*Inputs-1:0] act;
  logic norm_wait, norm_start, norm_busy;
  token_t norm_rows;
  logic patches_ready;
  logic score_valid;
  logic [$bits(score_tag_t)-1:0] score_tag;
  logic [Groups*Lanes*$bits(sum_t)-1:0] score_sum;
  logic [$bits(factor_t)-1:0] factor;
  logic factor_valid, factor_ready;
  logic out_valid, out_ready;
  logic [$bits(tag_t)-1:0] out_tag;
  logic [Lanes*16-1:0] out_value;
  logic consumer_idle, idle, quiet, compute, stall_weight, stall_input, stall_output;
  op_index_t op;
  /* verilator public_off */

  // Stream: a queue; skipped words leave it one per cycle, as far as they have come.
  typedef logic [$clog2(Depth)-1:0] index_t;
  logic [8*Inputs-1:0] mem_q[Depth];
  index_t head_q, tail_q;
  logic [$clog2(Depth+1)-1:0] count_q;
  words_t skip_words, skip_q;
  logic skip_valid, skip_ready, word_valid, word_ready, push, pop, drop;
  logic [2:0] level;
  assign word = mem_q[head_q];
  assign skip_ready = skip_q == '0;
  assign skip_done = skip_valid && skip_ready;
  assign word_valid = count_q != '0 && skip_q == '0;
  assign level = skip_q != '0 ? '0 : 32'(count_q) > MaxLevel ? 3'(MaxLevel) : 3'(count_q);
  assign weight_ready = count_q != $bits(count_q)'(Depth);
  assign push = weight_valid && weight_ready;
  assign drop = skip_q != '0 && count_q != '0;
  assign pop = (word_valid && word_ready) || drop;
  always_ff @(posedge clk_i) begin
    if (push) mem_q[tail_q] <= weight;
    if (!rst_ni) begin
      head_q  <= '0;
      tail_q  <= '0;
      count_q <= '0;
      skip_q  <= '0;
    end else begin
      head_q  <= head_q + index_t'(pop);
      tail_q  <= tail_q + index_t'(push);
      count_q <= count_q + $bits(count_q)'(push) - $bits(count_q)'(pop);
      skip_q  <= skip_done ? skip_words : skip_q - words_t'(drop);
    end
  end

  value_t [Lanes-1:0] value;
  tag_t tag;
  score_tag_t sum_tag;
  act_req_t act_request;
  kv_req_t kv_request;
  sum_t sum[Groups][Lanes];
  assign out_value = value;
  assign out_tag = tag;
  assign score_tag = sum_tag;
  assign act_req = act_request;
  assign kv_req = kv_request;
  for (genvar g = 0; g < int'(Groups); g++) begin : gen_group
    for (genvar l = 0; l < int'(Lanes); l++) begin : gen_lane
      assign score_sum[$bits(sum_t)*(g*int'(Lanes)+l)+:$bits(sum_t)] = sum[g][l];
    end
  end
  m3vit_linear_engine #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .cmd_i          (cmd),
      .cmd_valid_i    (cmd_valid),
      .cmd_ready_o    (cmd_ready),
      .word_i         (word),
      .word_valid_i   (word_valid),
      .word_level_i   (level),
      .word_ready_o   (word_ready),
      .skip_words_o   (skip_words),
      .skip_valid_o   (skip_valid),
      .skip_ready_i   (skip_ready),
      .segment_i      (segment),
      .segment_valid_i(segment_valid),
      .segment_ready_o(segment_ready),
      .gelu_valid_o   (gelu_valid),
      .gelu_ready_i   (gelu_ready),
      .gelu_loaded_i  (gelu_loaded),
      .norm_valid_o   (norm_valid),
      .norm_ready_i   (norm_ready),
      .norm_idle_i    (norm_idle),
      .kv_req_o       (kv_request),
      .kv_req_valid_o (kv_valid),
      .kv_unit_i      (kv_unit),
      .act_valid_o    (act_valid),
      .act_req_o      (act_request),
      .act_i          (act),
      .norm_wait_o    (norm_wait),
      .norm_start_i   (norm_start),
      .norm_rows_i    (norm_rows),
      .norm_busy_i    (norm_busy),
      .patches_ready_i(patches_ready),
      .score_valid_o  (score_valid),
      .score_tag_o    (sum_tag),
      .score_sum_o    (sum),
      .factor_i       (factor),
      .factor_valid_i (factor_valid),
      .factor_ready_o (factor_ready),
      .valid_o        (out_valid),
      .ready_i        (out_ready),
      .tag_o          (tag),
      .value_o        (value),
      .consumer_idle_i(consumer_idle),
      .idle_o         (idle),
      .quiet_o        (quiet),
      .op_o           (op),
      .compute_o      (compute),
      .stall_weight_o (stall_weight),
      .stall_input_o  (stall_input),
      .stall_output_o (stall_output)
  );
endmodule
