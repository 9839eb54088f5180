// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Walks the program ahead of the executor and asks for everything that its operations read from DRAM, in the order in
/// which the linear engine's feeder takes it, as fast as the stream buffer takes it: the weights of the next operations
/// arrive while the present one computes. Experts of a MoE operation are loaded in ascending order; before the tokens are
/// routed they are guessed to be used, if tokens are many, and what was guessed wrong is skipped by the feeder. A list
/// names the experts loaded, with an end mark for each operation.
module m3vit_loader
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2
) (
    input  logic      clk_i,
    input  logic      rst_ni,
    input  logic      start_i,           ///< pulse: a checked program waits
    input  logic      wait_i,            ///< load an operation only when the executor is there (ModeNoPrefetch)
    input  logic      on_demand_i,       ///< load experts when the cache asks for them (ModeTokenOrder)
    input  logic      demand_valid_i,
    input  expert_t   demand_expert_i,
    output logic      demand_ready_o,
    input  addr_t     source_i,
    output op_index_t index_o,           ///< operation to read; it follows in the next cycle
    input  op_t       op_i,
    output op_t       op_o,              ///< operation whose jobs are asked for
    input  op_index_t executor_i,        ///< the executor's operation
    input  logic      executor_valid_i,  ///< and it has begun
    input  logic      routed_i,          ///< all tokens of the executor's MoE operation are routed
    output expert_t   expert_o,          ///< is this expert used? answered in the same cycle
    input  logic      expert_used_i,
    output segment_t  segment_o,
    output logic      segment_valid_o,
    input  logic      segment_ready_i,
    output read_job_t job_o,
    output logic      job_valid_o,
    input  logic      job_ready_i,
    output logic      load_o             ///< pulse: an expert is loaded
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  localparam logic [3:0] TileRecords = 4'((8 * Lanes + Inputs - 1) / Inputs);
  localparam int unsigned GeluWords = ((1 << GeluIndexBits) + Inputs - 1) / Inputs;

  typedef enum logic [3:0] {
    Idle,
    Read,
    Latch,
    Size,
    Sum,
    Table,
    Image,
    Weights,
    Expert,
    Demand,
    Mark,
    Next
  } state_e;

  state_e state_q, state_d;
  op_index_t index_q;
  op_t op_q;
  opcode_e opcode;
  logic [10:0] expert_q;
  words_t layer_q, second_q, expert_words_q, record_words_q, table_q, image_q;
  logic permitted, mine, guess, has_table, has_weights, has_experts;
  logic [31:0] token_units_q;
  logic nibbles;
  assign opcode = opcode_e'(op_q.opcode);
  assign nibbles = (op_q.flags & 8'(FlagExperts4bit)) != '0;

  // Sizes in stream words, then in DRAM words.
  function automatic words_t dram_words(words_t stream_words);
    automatic logic [28:0] units = 29'(stream_words) << (Groups / 2);
    if (Groups == 3) units += 29'(stream_words);
    return words_t'((units + 29'd1) >> 1);
  endfunction

  words_t residual_words;
  logic [31:0] pixels;
  assign pixels = 32'(op_q.operands[1][15:0]) * 32'(op_q.operands[2][15:0]);
  logic [15:0] dim;
  assign dim = opcode == OpLoad ? op_q.in_features : op_q.out_features;
  assign residual_words = words_t'(op_q.rows) * (words_t'(dim) / words_t'(UnitBytes));

  logic is_expert_op;
  assign is_expert_op = opcode inside {OpMlp, OpMoe};
  assign has_table = opcode inside {OpPatchEmbed, OpLayerNorm, OpMlp, OpMoe};
  assign has_weights = opcode inside {OpPatchEmbed, OpLinear, OpLinearResidual, OpMoe, OpHead};
  assign has_experts = opcode == OpMlp || (opcode == OpMoe && !on_demand_i);
  assign permitted = !wait_i || mine || executor_i > index_q;

  // A MoE operation's experts: all from `expert_q` on may be needed until routing has ended.
  assign mine = executor_valid_i && executor_i == index_q;
  assign guess = 32'(op_q.experts) * 32'd4 <= token_units_q;  // few experts without tokens to be expected
  assign expert_o = expert_t'(expert_q);
  logic expert_last, expert_wanted, expert_skipped;
  assign expert_last = 16'(expert_q) == op_q.experts;
  always_comb begin
    expert_wanted  = 1'b0;
    expert_skipped = 1'b0;
    if (state_q == Expert && !expert_last) begin
      if (opcode == OpMlp) expert_wanted = 1'b1;
      else if (mine && routed_i) begin
        expert_wanted  = expert_used_i;
        expert_skipped = !expert_used_i;
      end else expert_wanted = guess && !wait_i;
    end
  end

  logic take_expert, needs_segment;
  assign needs_segment = opcode == OpMoe;
  assign take_expert = expert_wanted && job_ready_i && (!needs_segment || segment_ready_i);
  assign segment_o = '{is_end: state_q == Mark, expert: expert_t'(expert_q)};
  assign segment_valid_o = state_q == Mark || (take_expert && needs_segment);
  assign load_o = (take_expert && needs_segment) || (demand_valid_i && demand_ready_o);

  addr_t expert_addr;
  expert_t expert;
  assign expert = state_q == Demand ? demand_expert_i : expert_t'(expert_q);
  assign expert_addr = addr_t'(op_q.expert_base) + addr_t'(expert) * addr_t'(op_q.expert_stride);
  always_comb begin
    job_o = '{relative: 1'b1, addr: addr_t'(op_q.table_offset), words: table_q, dest: LoadStream, op: index_q};
    job_valid_o = 1'b0;
    unique case (state_q)
      Table: begin
        job_valid_o = permitted;
        if (opcode == OpPatchEmbed) job_o.dest = LoadResidual;
      end
      Image: begin
        job_valid_o = 1'b1;
        job_o.relative = 1'b0;
        job_o.addr = source_i;
        job_o.words = image_q;
        job_o.dest = opcode == OpLoad ? LoadResidual : LoadImage;
      end
      Weights: begin
        job_valid_o = permitted;
        job_o.addr  = addr_t'(op_q.weights);
        job_o.words = dram_words(layer_q);
      end
      Expert: begin
        job_valid_o = expert_wanted && (!needs_segment || segment_ready_i);
        job_o.addr  = expert_addr;
        job_o.words = dram_words(expert_words_q);
      end
      Demand: begin
        job_valid_o = demand_valid_i;
        job_o.addr  = expert_addr;
        job_o.words = dram_words(expert_words_q);
      end
      default: ;
    endcase
  end
  assign demand_ready_o = state_q == Demand && job_ready_i;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Read;
      Read: state_d = Latch;
      Latch: state_d = Size;
      Size: state_d = Sum;
      Sum:
      if (opcode == OpStore) state_d = Idle;
      else if (opcode == OpLoad) state_d = Image;
      else if (opcode == OpAttention) state_d = Next;
      else if (has_table) state_d = Table;
      else state_d = Weights;
      Table:
      if (permitted && job_ready_i) begin
        state_d = Next;
        if (opcode == OpPatchEmbed) state_d = Image;
        else if (has_weights) state_d = Weights;
        else if (is_expert_op) state_d = Expert;
      end
      Image: if (job_ready_i) state_d = opcode == OpLoad ? Next : Weights;
      Weights:
      if (permitted && job_ready_i) state_d = has_experts ? Expert : opcode == OpMoe ? Demand : Next;
      Demand: if (executor_i != index_q) state_d = Next;
      Expert: if (expert_last) state_d = needs_segment ? Mark : Next;
      Mark: if (segment_ready_i) state_d = Next;
      Next: state_d = Read;
      default: state_d = Idle;
    endcase
  end

  assign index_o = index_q;
  assign op_o = op_q;
  always_ff @(posedge clk_i) begin
    if (state_q == Latch) op_q <= op_i;
    if (state_q == Size) begin
      layer_q <= layer_words(opcode == OpMoe ? op_q.experts : op_q.out_features, op_q.in_features, Lanes, Groups);
      second_q <= layer_words(op_q.in_features, op_q.out_features, Lanes, Groups);
      expert_words_q <= layer_words(op_q.out_features, op_q.in_features, Lanes, Groups);
      record_words_q <= layer_records(op_q.out_features, Lanes, TileRecords)
          + layer_records(op_q.in_features, Lanes, TileRecords);
      token_units_q <= 32'(op_q.rows) * 32'(op_q.top_k);
      unique case (opcode)
        OpPatchEmbed: table_q <= residual_words;
        OpLayerNorm: table_q <= dram_words(words_t'(words_of(op_q.in_features, Groups)));
        default: table_q <= dram_words(words_t'(GeluWords));
      endcase
      image_q <= opcode == OpLoad ? residual_words
          : words_t'(((pixels << 1) + pixels) >> 6);
    end
    if (state_q == Sum) expert_words_q <= packed_words(expert_words_q + second_q, record_words_q, nibbles);
    if (state_q == Expert) expert_q <= expert_q + 11'(take_expert || expert_skipped);
    else if (state_q != Mark) expert_q <= '0;
    if (!rst_ni) begin
      state_q <= Idle;
      index_q <= '0;
    end else begin
      state_q <= state_d;
      if (start_i) index_q <= '0;
      else if (state_q == Next) index_q <= index_q + 1'b1;
    end
  end
endmodule
