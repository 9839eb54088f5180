// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Walks the program and turns its operations into commands of the linear engine, as fast as the engine's queues take
/// them. What a command must wait for is part of the command, so nothing waits here but for room, for token queues, and
/// before the result is stored. Owns no data path.
module m3vit_executor
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2
) (
    input  logic      clk_i,
    input  logic      rst_ni,
    input  logic      start_i,         ///< pulse: a checked program waits
    input  logic      [3:0] mode_i,
    input  op_index_t loader_i,        ///< the loader's operation
    output op_index_t index_o,         ///< present operation; the program answers in the next cycle
    input  op_t       op_i,
    output op_t       op_o,            ///< present operation, for router and queue builder
    output logic      begin_o,         ///< pulse: an operation begins
    output logic      active_o,        ///< index_o has begun
    input  logic      loaded_i,        ///< the residual stream of a LOAD has come
    output logic      done_o,          ///< pulse: the result is stored
    output command_t  cmd_o,
    output logic      cmd_valid_o,
    input  logic      cmd_ready_i,
    input  logic      idle_i,          ///< no command waits, nothing is under way
    output norm_cmd_t norm_o,          ///< LayerNorm for the next command that asks for one
    output logic      norm_valid_o,
    input  logic      norm_taken_i,    ///< pulse: it has started
    output op_index_t norm_op_o,
    output logic      moe_start_o,     ///< pulse: router and queue builder begin a layer
    output words_t    expert_words_o,  ///< stream words of an expert
    input  logic      queue_valid_i,   ///< queue builder: a queue is complete
    output logic      queue_ready_o,
    input  expert_t   queue_expert_i,
    input  logic      queue_bank_i,
    input  token_t    queue_rows_i,
    input  logic      queues_done_i,
    output logic      demand_valid_o,  ///< ModeTokenOrder: this expert's weights are needed at the stream's output now
    output expert_t   demand_expert_o,
    input  logic      demand_ready_i,  ///< they are there
    output logic      store_o,         ///< level: stream the residual out
    output logic      store_start_o,   ///< pulse: start the write DMA
    output words_t    store_words_o,
    input  logic      stored_i
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  localparam int unsigned WordGranules = Inputs / Lanes;
  localparam logic [3:0] TileRecords = 4'((8 * Lanes + Inputs - 1) / Inputs);
  localparam int unsigned GeluWords = ((1 << GeluIndexBits) + Inputs - 1) / Inputs;
  localparam token_t ShortBlock = token_t'(96);  // fewer rows could overtake their scores

  typedef enum logic [4:0] {
    Idle,
    Read,
    Latch,
    Prepare,
    Begin,
    Norm,
    NormTable,
    Linear,
    Scores,
    Values,
    Gelu,
    MlpFirst,
    MlpSecond,
    Router,
    Demand,
    MoeFirst,
    MoeSecond,
    Drop,
    Passed,
    Drain,
    Store,
    WaitStore,
    Next
  } state_e;

  state_e state_q, state_d;
  op_index_t index_q;
  op_t op_q;
  opcode_e opcode, before_q;
  logic serial, all_norm, take;
  logic [7:0] in_words_q, out_words_q, dim_words_q, key_words_q, query_words_q;
  logic [9:0] in_tiles_q, out_tiles_q, router_tiles_q, score_tiles_q;
  logic [7:0] value_chunks_q;
  logic [15:0] channels, channels_q, dim_q, score_keys;
  logic on_demand;
  logic [2:0] units_q;
  logic nibbles;
  assign opcode = opcode_e'(op_q.opcode);
  assign nibbles = (op_q.flags & 8'(FlagExperts4bit)) != '0;
  assign index_o = index_q;
  assign op_o = op_q;
  assign serial = (mode_i & 4'(ModeNoPrefetch)) != '0;
  assign all_norm = (mode_i & 4'(ModeNoOverlap)) != '0;
  assign take = cmd_valid_o && cmd_ready_i;

  // Loops: heads and blocks of attention, slices of a MLP.
  logic [15:0] head_q, slice_q;
  token_t block_first_q, block_rows, block_left;
  logic [1:0] pass_q;
  logic [7:0] query_word_q, key_unit_q, dest_word_q;
  logic [1:0] query_sub_q;
  logic [4:0] dest_sub_q, dest_sub_next;
  logic last_block, last_head, last_slice, last_pass, first_scores_q;
  assign block_left = token_t'(op_q.rows) - block_first_q;
  assign block_rows = block_left > token_t'(op_q.operands[3]) ? token_t'(op_q.operands[3]) : block_left;
  assign last_block = block_rows == block_left;
  assign last_head = head_q == op_q.heads - 1'b1;
  assign last_slice = slice_q == op_q.experts - 1'b1;
  assign last_pass = pass_q == ((mode_i & 4'(ModeMultipassSoftmax)) != '0 ? 2'd2 : 2'd0);
  assign dest_sub_next = dest_sub_q + 5'(channels_q / 16'(Lanes));

  always_comb begin
    cmd_o = '0;
    cmd_o.kind = CmdLinear;
    cmd_o.op = index_q;
    cmd_o.rows = token_t'(op_q.rows);
    cmd_o.k_chunks = in_words_q;
    cmd_o.m_tiles = out_tiles_q;
    cmd_o.source = SrcX;
    cmd_o.fence = FenceNone;
    cmd_o.norm = before_q != OpLayerNorm ? NormNone : all_norm ? NormAll : NormRows;
    cmd_o.expert = queue_expert_i;
    cmd_o.expert_words = expert_words_o;
    cmd_o.pitch = in_words_q;
    cmd_o.dest_pitch = 8'(op_q.in_features / 16'(UnitBytes));
    cmd_valid_o = 1'b0;
    unique case (state_q)
      NormTable: begin
        cmd_valid_o = 1'b1;
        cmd_o.kind = CmdNorm;
      end
      Linear: begin
        cmd_valid_o = 1'b1;
        unique case (opcode)
          OpPatchEmbed: begin
            cmd_o.rows = token_t'(op_q.rows) - 1'b1;
            cmd_o.source = SrcPatches;
            cmd_o.dest = DstResidual;
            cmd_o.dest_first = token_t'(1);
            cmd_o.dest_pitch = 8'(op_q.out_features / 16'(UnitBytes));
          end
          OpLinear: begin
            cmd_o.dest = DstQkv;
            cmd_o.dest_pitch = query_words_q;
            cmd_o.split = in_tiles_q;
            cmd_o.head_tiles = units_q == 3'd1 ? '0 : 4'(channels_q / 16'(Lanes));
            cmd_o.split_pitch = key_words_q;
          end
          OpLinearResidual: begin
            cmd_o.dest  = DstResidual;
            cmd_o.fence = FenceAll;
          end
          default: begin
            cmd_o.rows = token_t'(op_q.rows) - 1'b1;
            cmd_o.first = token_t'(1);
            cmd_o.norm = NormAll;
            cmd_o.dest = DstOutput;
            cmd_o.dest_pitch = 8'((op_q.out_features + 16'(UnitBytes - 1)) / 16'(UnitBytes));
          end
        endcase
      end
      Scores, Values: begin
        cmd_valid_o = 1'b1;
        cmd_o.rows = block_rows;
        cmd_o.norm = NormNone;
        cmd_o.keys = token_t'(op_q.rows);
        cmd_o.units = units_q;
        cmd_o.split_pitch = key_words_q;
        cmd_o.score_shift = op_q.operands[0][4:0];
        cmd_o.multiplier = op_q.operands[1][MultiplierBits-1:0];
        cmd_o.shift = op_q.operands[2][5:0];
        if (state_q == Scores) begin
          cmd_o.kind = CmdScores;
          cmd_o.source = SrcQuery;
          cmd_o.dest = DstScores;
          cmd_o.first = block_first_q;
          cmd_o.k_chunks = 8'd1;
          cmd_o.m_tiles = score_tiles_q;
          cmd_o.fence = first_scores_q ? FenceFeed : pass_q != '0 ? FenceAll : FenceNone;
          cmd_o.pitch = query_words_q;
          cmd_o.word = query_word_q;
          cmd_o.sub = query_sub_q;
          cmd_o.key_unit = key_unit_q;
        end else begin
          cmd_o.kind = CmdValues;
          cmd_o.source = SrcScores;
          cmd_o.dest = DstAttention;
          cmd_o.dest_first = block_first_q;
          cmd_o.k_chunks = value_chunks_q;
          cmd_o.m_tiles = 10'(channels_q / 16'(Lanes));
          cmd_o.fence = block_rows < ShortBlock || all_norm ? FenceAll : FenceNone;
          cmd_o.dest_pitch = dim_words_q;
          cmd_o.dest_word = dest_word_q;
          cmd_o.dest_sub = dest_sub_q[3:0];
          cmd_o.key_unit = key_unit_q + 8'(dim_q / 16'(UnitBytes));
        end
      end
      Gelu: begin
        cmd_valid_o = 1'b1;
        cmd_o.kind = CmdGelu;
        cmd_o.k_chunks = 8'(GeluWords);
      end
      MlpFirst: begin
        cmd_valid_o = 1'b1;
        cmd_o.norm = slice_q != '0 ? NormNone : cmd_o.norm;
        cmd_o.dest = DstGelu;
        cmd_o.dest_pitch = out_words_q;
      end
      Router: begin
        cmd_valid_o = 1'b1;
        cmd_o.m_tiles = router_tiles_q;
        cmd_o.dest = DstLogits;
      end
      MoeFirst: begin
        cmd_valid_o = queue_valid_i;
        cmd_o.rows = queue_rows_i;
        cmd_o.source = SrcQueue;
        cmd_o.norm = NormNone;
        cmd_o.dest = DstGelu;
        cmd_o.dest_pitch = out_words_q;
        cmd_o.bank = queue_bank_i;
        cmd_o.seek = !on_demand;
        cmd_o.nibbles = nibbles;
      end
      MlpSecond, MoeSecond: begin
        cmd_valid_o = 1'b1;
        cmd_o.k_chunks = out_words_q;
        cmd_o.m_tiles = in_tiles_q;
        cmd_o.source = SrcHidden;
        cmd_o.norm = NormNone;
        cmd_o.fence = FenceLast;  // the hidden rows must be complete
        cmd_o.pitch = out_words_q;
        cmd_o.dest = DstResidual;
        if (state_q == MoeSecond) begin
          cmd_o.rows = queue_rows_i;
          cmd_o.dest = DstCombine;
          cmd_o.bank = queue_bank_i;
          cmd_o.nibbles = nibbles;
        end
      end
      Drop: begin
        cmd_valid_o = 1'b1;
        cmd_o.kind  = CmdDrop;
      end
      default: ;
    endcase
  end

  assign on_demand = (mode_i & 4'(ModeTokenOrder)) != '0;
  assign demand_valid_o = state_q == Demand && queue_valid_i && idle_i;
  assign demand_expert_o = queue_expert_i;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Read;
      Read: state_d = Latch;
      Latch: state_d = Prepare;
      Prepare: if (!serial || idle_i) state_d = Begin;
      Begin:
      unique case (opcode)
        OpLoad: state_d = Drain;
        OpPatchEmbed, OpLinear, OpLinearResidual, OpHead: state_d = Linear;
        OpLayerNorm: state_d = Norm;
        OpAttention: state_d = Scores;
        OpStore: state_d = Drain;
        default: state_d = Gelu;
      endcase
      Norm: if (!norm_valid_o) state_d = NormTable;
      NormTable: if (cmd_ready_i) state_d = Next;
      Linear: if (cmd_ready_i) state_d = Next;
      Scores: if (cmd_ready_i && last_pass) state_d = Values;
      Values: if (cmd_ready_i) state_d = last_block && last_head ? Next : Scores;
      Gelu: if (cmd_ready_i) state_d = opcode == OpMlp ? MlpFirst : Router;
      MlpFirst: if (cmd_ready_i) state_d = MlpSecond;
      MlpSecond: if (cmd_ready_i) state_d = last_slice ? Next : MlpFirst;
      Router: if (cmd_ready_i) state_d = on_demand ? Demand : MoeFirst;
      Demand:
      if (demand_valid_o && demand_ready_i) state_d = MoeFirst;
      else if (queues_done_i && idle_i) state_d = Next;
      MoeFirst:
      if (queue_valid_i && cmd_ready_i) state_d = MoeSecond;
      else if (queues_done_i) state_d = Drop;
      MoeSecond: if (cmd_ready_i) state_d = on_demand ? Demand : MoeFirst;
      Drop: if (cmd_ready_i) state_d = Passed;
      Passed: if (loader_i > index_q) state_d = Next;  // it needs to know the used experts
      Drain:
      if (opcode == OpLoad) state_d = loaded_i ? Next : Drain;
      else if (idle_i) state_d = Store;
      Store: state_d = WaitStore;
      WaitStore: if (stored_i) state_d = Idle;
      Next: state_d = Read;
      default: state_d = Idle;
    endcase
  end
  assign done_o = state_q == WaitStore && stored_i;
  assign queue_ready_o = state_q == MoeSecond && cmd_ready_i;
  assign begin_o = state_q == Begin;
  assign moe_start_o = state_q == Begin && opcode == OpMoe;
  assign store_o = state_q == WaitStore;
  assign store_start_o = state_q == Store;
  assign store_words_o = words_t'(op_q.rows)
      * ((words_t'(op_q.out_features) + words_t'(UnitBytes - 1)) / words_t'(UnitBytes));

  // The norm waits here until the command behind it is due.
  always_ff @(posedge clk_i) begin
    if (state_q == Norm && !norm_valid_o) begin
      norm_o <= '{
          rows: token_t'(op_q.rows),
          tiles: 8'(in_tiles_q),
          dim: op_q.in_features,
          pitch: in_words_q,
          multiplier: op_q.operands[0][MultiplierBits-1:0],
          shift: op_q.operands[1][5:0]
      };
      norm_op_o <= index_q;
    end
    if (!rst_ni) norm_valid_o <= 1'b0;
    else norm_valid_o <= norm_valid_o ? !norm_taken_i : state_q == Norm;
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Latch) begin
      op_q <= op_i;
      before_q <= index_q == '0 ? OpStore : opcode;  // op_q may be left from a run that was cut short
    end
    if (state_q == Prepare) begin
      expert_words_o <= packed_words(
          layer_words(op_q.out_features, op_q.in_features, Lanes, Groups)
          + layer_words(op_q.in_features, op_q.out_features, Lanes, Groups),
          layer_records(op_q.out_features, Lanes, TileRecords) + layer_records(op_q.in_features, Lanes, TileRecords),
          nibbles);
      in_words_q <= words_of(op_q.in_features, Groups);
      out_words_q <= words_of(op_q.out_features, Groups);
      in_tiles_q <= 10'(op_q.in_features / 16'(Lanes));
      out_tiles_q <= 10'((op_q.out_features + 16'(Lanes - 1)) / 16'(Lanes));
      router_tiles_q <= 10'((op_q.experts + 16'(Lanes - 1)) / 16'(Lanes));
      dim_q <= opcode == OpAttention ? op_q.out_features : op_q.in_features;
      channels_q <= channels;
      units_q <= 3'(channels / 16'(UnitBytes));
      key_words_q <= words_of(2 * (opcode == OpAttention ? op_q.out_features : op_q.in_features), Groups);
      dim_words_q <= words_of(op_q.out_features, Groups);
      query_words_q <= channels == 16'(UnitBytes) ? words_of(op_q.heads * 16'(UnitBytes), Groups) : 8'(op_q.heads);
      score_tiles_q <= 10'((op_q.rows + 16'(score_keys - 1)) / 16'(score_keys));
      value_chunks_q <= words_of(op_q.rows, Groups);
    end
  end
  assign channels = opcode == OpAttention ? op_q.operands[4][15:0] : op_q.operands[0][15:0];
  assign score_keys = channels == 16'(UnitBytes) ? 16'(Lanes * Groups) : 16'(Lanes);

  always_ff @(posedge clk_i) begin
    if (state_q == Begin) begin
      head_q <= '0;
      slice_q <= '0;
      pass_q <= '0;
      block_first_q <= '0;
      query_word_q <= '0;
      query_sub_q <= '0;
      key_unit_q <= '0;
      dest_word_q <= '0;
      dest_sub_q <= '0;
      first_scores_q <= 1'b1;
    end else if (take) begin
      if (state_q == MlpSecond) slice_q <= slice_q + 1'b1;
      if (state_q == Scores) begin
        first_scores_q <= 1'b0;
        pass_q <= last_pass ? '0 : pass_q + 1'b1;
      end
      if (state_q == Values) begin
        block_first_q <= last_block ? '0 : block_first_q + block_rows;
        if (last_block) begin
          head_q <= head_q + 1'b1;
          key_unit_q <= key_unit_q + 8'(units_q);
          if (units_q == 3'd1 && query_sub_q != 2'(Groups - 1)) query_sub_q <= query_sub_q + 1'b1;
          else begin
            query_sub_q  <= '0;
            query_word_q <= query_word_q + 1'b1;
          end
          if (dest_sub_next >= 5'(WordGranules)) begin
            dest_sub_q  <= dest_sub_next - 5'(WordGranules);
            dest_word_q <= dest_word_q + 1'b1;
          end else dest_sub_q <= dest_sub_next;
        end
      end
    end
    if (!rst_ni) begin
      state_q <= Idle;
      index_q <= '0;
      active_o <= 1'b0;
    end else begin
      state_q <= state_d;
      active_o <= state_q == Begin || (active_o && state_q != Next);
      if (start_i) index_q <= '0;
      else if (state_q == Next) index_q <= index_q + 1'b1;
    end
  end
endmodule
