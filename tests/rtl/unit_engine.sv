// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_linear_engine behind its weight buffer, with the signals of its bench. Test only.
module unit_engine
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    localparam int unsigned MaxTokens = 40
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic [$bits(command_t)-1:0] cmd;
  logic cmd_valid, cmd_ready;
  word_t weight;
  logic weight_valid, weight_ready;
  token_t rows_loaded;
  logic act_valid;
  logic [$bits(act_req_t)-1:0] act_req;
  word_t act;
  logic out_valid, out_ready;
  logic [$bits(tag_t)-1:0] out_tag;
  logic [Lanes*16-1:0] out_value;
  logic consumer_idle, idle, compute, stall_weight, stall_input, stall_output;
  /* verilator public_off */

  word_t word;
  logic word_valid, word_ready;
  logic [2:0] level;
  m3vit_ram_fifo #(
      .Width(8 * WordBytes),
      .Depth(32)
  ) u_weights (
      .clk_i,
      .rst_ni,
      .data_i (weight),
      .valid_i(weight_valid),
      .ready_o(weight_ready),
      .data_o (word),
      .valid_o(word_valid),
      .ready_i(word_ready),
      .level_o(level)
  );
  m3vit_linear_engine #(
      .Lanes    (Lanes),
      .MaxTokens(MaxTokens)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .cmd_i          (cmd),
      .cmd_valid_i    (cmd_valid),
      .cmd_ready_o    (cmd_ready),
      .weight_i       (word),
      .weight_valid_i (word_valid),
      .weight_level_i (level),
      .weight_ready_o (word_ready),
      .rows_loaded_i  (rows_loaded),
      .act_valid_o    (act_valid),
      .act_req_o      (act_req),
      .act_i          (act),
      .valid_o        (out_valid),
      .ready_i        (out_ready),
      .tag_o          (out_tag),
      .value_o        (out_value),
      .consumer_idle_i(consumer_idle),
      .idle_o         (idle),
      .compute_o      (compute),
      .stall_weight_o (stall_weight),
      .stall_input_o  (stall_input),
      .stall_output_o (stall_output)
  );
endmodule
