// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Decides whether an operation may run on this hardware and follow the one before it. Combinational.
/// The same rules in words: sim/program_check.py.
module m3vit_op_check
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2,
    parameter int unsigned MaxTokens = 80,
    parameter int unsigned MaxDim = 128,
    parameter int unsigned MaxHidden = 128,
    parameter int unsigned MaxTopK = 8,
    parameter int unsigned MaxBlock = 80
) (
    input  op_t         op_i,
    input  op_t         before_i,  ///< operation before it, if !is_first_i
    input  logic        is_first_i,
    input  logic        is_last_i,
    input  logic [15:0] rows_i,    ///< tokens and channels of the residual stream, if !is_first_i
    input  logic [15:0] dim_i,
    output error_e      error_o    ///< ErrorNone if it may
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  localparam logic [7:0] HiddenWords = 8'((MaxHidden + Inputs - 1) / Inputs);
  localparam logic [7:0] KeyWords = 8'((2 * MaxDim + Inputs - 1) / Inputs);

  logic [31:0] check;
  always_comb begin
    check = CheckWord;
    for (int i = 0; i < 16; i++) check ^= op_i[32*i+:32];
  end

  function automatic logic is_multiple(logic [15:0] size, int unsigned unit, int unsigned limit);
    return size != '0 && size <= 16'(limit) && size % 16'(unit) == '0;
  endfunction

  /// Product without a multiplier.
  function automatic logic [31:0] times(logic [4:0] few, logic [15:0] x);
    times = '0;
    for (int i = 0; i < 5; i++) if (few[i]) times += 32'(x) << i;
  endfunction

  // Order of operations.
  logic order_ok;
  always_comb begin
    unique case (opcode_e'(before_i.opcode))
      OpLayerNorm: order_ok = op_i.opcode inside {OpLinear, OpMlp, OpMoe, OpHead};
      OpLinear: order_ok = op_i.opcode == OpAttention;
      OpAttention: order_ok = op_i.opcode == OpLinearResidual;
      OpHead: order_ok = op_i.opcode == OpStore;
      OpStore: order_ok = 1'b0;
      default: order_ok = op_i.opcode inside {OpLayerNorm, OpStore};
    endcase
    if (is_first_i) order_ok = op_i.opcode inside {OpPatchEmbed, OpLoad};
    if (is_last_i != (op_i.opcode == OpStore)) order_ok = 1'b0;
  end

  // Flags.
  logic flags_ok;
  assign flags_ok = (op_i.flags & ~(op_i.opcode == OpMoe ? 8'(FlagRenormalise | FlagExperts4bit) : 8'd0)) == '0;

  // Sizes.
  logic rows_ok, dim_ok, hidden_ok, routing_ok, image_ok, heads_ok, attention_ok, store_ok, shape_ok;
  logic [31:0] head_operand;
  logic [15:0] channels, query_words;
  assign rows_ok = op_i.rows > 16'd1 && op_i.rows <= 16'(MaxTokens) && (is_first_i || op_i.rows == rows_i);
  assign dim_ok = is_multiple(op_i.in_features, UnitBytes, MaxDim) && (is_first_i || op_i.in_features == dim_i);
  assign hidden_ok = is_multiple(op_i.out_features, Inputs, MaxHidden);
  assign routing_ok = op_i.top_k != '0 && op_i.top_k <= 8'(MaxTopK) && 16'(op_i.top_k) <= op_i.experts
      && op_i.experts <= 16'(MaxExperts);
  // Products of what is left of the operands when the other conditions hold.
  logic [31:0] square;
  assign square = times(op_i.operands[0][7:3], 16'(op_i.operands[0][7:3]));
  assign image_ok = op_i.operands[0][31:8] == '0 && op_i.operands[0][2:0] == '0 && op_i.operands[0] != '0
      && op_i.operands[1][31:16] == '0 && op_i.operands[2][31:16] == '0
      && op_i.operands[3][31:16] == '0 && op_i.operands[4][31:16] == '0
      && times(op_i.operands[0][7:3], op_i.operands[3][15:0]) << 3 == op_i.operands[2]
      && times(op_i.operands[0][7:3], op_i.operands[4][15:0]) << 3 == op_i.operands[1]
      && (square << 7) + (square << 6) == 32'(op_i.in_features)
      && 32'(op_i.operands[3][15:0]) * 32'(op_i.operands[4][15:0]) == 32'(op_i.rows) - 1'b1
      && is_multiple(op_i.in_features, UnitBytes, KeyWords * Inputs);
  assign head_operand = op_i.opcode == OpLinear ? op_i.operands[0] : op_i.operands[4];
  assign channels = head_operand[15:0];
  assign query_words = channels == 16'(UnitBytes) ? 16'(words_of(16'(op_i.heads * UnitBytes), Groups)) : op_i.heads;
  assign heads_ok = head_operand[31:16] == '0 && is_multiple(channels, UnitBytes, Inputs)
      && channels < 16'(16 * Lanes) && op_i.heads <= 16'(MaxDim)
      && times(channels[9:5], op_i.heads) << 5 == 32'(dim_i) && query_words <= 16'(HiddenWords);
  assign attention_ok = heads_ok && op_i.heads == before_i.heads && channels == before_i.operands[0][15:0]
      && op_i.operands[0] < 32'd32 && op_i.operands[1][31:MultiplierBits] == '0 && op_i.operands[2] < 32'd48
      && op_i.operands[3] != '0 && op_i.operands[3] <= 32'(MaxBlock);
  assign store_ok = before_i.opcode == OpHead
      ? op_i.rows == rows_i - 1'b1 && op_i.out_features == before_i.out_features
      : op_i.rows == rows_i && op_i.out_features == dim_i;
  always_comb begin
    unique case (opcode_e'(op_i.opcode))
      OpPatchEmbed: shape_ok = rows_ok && image_ok && is_multiple(op_i.out_features, UnitBytes, MaxDim);
      OpLoad, OpLayerNorm: shape_ok = rows_ok && dim_ok;
      OpLinear: shape_ok = rows_ok && dim_ok && heads_ok && 32'(op_i.out_features) == 32'd3 * 32'(dim_i);
      OpAttention:
      shape_ok = rows_ok && attention_ok && op_i.in_features == before_i.out_features && op_i.out_features == dim_i;
      OpLinearResidual: shape_ok = rows_ok && dim_ok && op_i.out_features == dim_i;
      OpMlp: shape_ok = rows_ok && dim_ok && hidden_ok && op_i.experts != '0 && op_i.experts <= 16'(MaxExperts);
      OpMoe: shape_ok = rows_ok && dim_ok && hidden_ok && routing_ok;
      OpHead: shape_ok = rows_ok && dim_ok && op_i.out_features != '0 && op_i.out_features <= 16'(MaxDim);
      default: shape_ok = store_ok;
    endcase
  end

  always_comb begin
    error_o = ErrorNone;
    if (check != '0 || op_i.version != 8'(ProgramVersion)) error_o = ErrorOperation;
    else if (!(op_i.opcode inside {[8'd1 : 8'd10]})) error_o = ErrorUnsupported;
    else if (!order_ok) error_o = ErrorOperation;
    else if (!shape_ok || !flags_ok) error_o = ErrorShape;
  end
endmodule
