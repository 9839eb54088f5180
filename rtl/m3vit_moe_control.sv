// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Sequence of one MoE operation: loads, router pass, expert passes over the queues, store. Owns no data path.
/// Weight loads are ordered as the engine consumes them, so the stream runs ahead of the computation by the capacity
/// of the weight buffer: while one expert computes, the next one's weights arrive.
module m3vit_moe_control
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8
) (
    input  logic      clk_i,
    input  logic      rst_ni,
    input  logic      start_i,
    input  op_t       op_i,             ///< checked operation, stable until done_o
    input  addr_t     source_i,         ///< int8 tokens, then the int16 residual
    output logic      done_o,
    output read_job_t job_o,
    output logic      job_valid_o,
    input  logic      job_ready_i,
    output command_t  cmd_o,
    output logic      cmd_valid_o,
    input  logic      cmd_ready_i,
    input  logic      load_valid_i,     ///< queue builder: this expert is next
    output logic      load_ready_o,
    input  expert_t   load_expert_i,
    input  logic      queue_valid_i,    ///< queue builder: a queue is complete
    output logic      queue_ready_o,
    input  logic      queue_bank_i,
    input  token_t    queue_rows_i,
    input  logic      queues_done_i,
    input  logic      quiet_i,          ///< engine and consumers are idle
    output logic      store_o,          ///< level: stream the residual out
    output logic      store_start_o,    ///< pulse: start the write DMA
    output words_t    store_words_o,
    input  logic      stored_i
);
  typedef enum logic [3:0] {
    Idle,
    LoadRouter,
    LoadX,
    RouterPass,
    LoadGelu,
    LoadRes,
    FirstLayer,
    SecondLayer,
    Store,
    WaitStore,
    Done
  } state_e;

  state_e state_q, state_d;
  // Sizes of the operation, derived once.
  logic [7:0] dim_chunks, hidden_chunks;
  words_t token_words, expert_words, router_words;
  logic [9:0] router_tiles;

  assign dim_chunks = 8'(op_i.in_features / 16'(WordBytes));
  assign hidden_chunks = 8'(op_i.out_features / 16'(WordBytes));
  assign token_words = words_t'(op_i.rows) * words_t'(dim_chunks);
  // sim/layout.py linear_bytes: channel records of 8 bytes and the weights, both layers.
  assign expert_words = words_t'(op_i.in_features[15:3]) + words_t'(op_i.out_features[15:3])
      + 2 * words_t'(op_i.in_features) * words_t'(hidden_chunks);
  assign router_tiles = 10'((op_i.experts + 16'(Lanes) - 1'b1) / 16'(Lanes));
  assign router_words = words_t'(router_tiles) * words_t'(Lanes / 8 + Lanes * dim_chunks);
  assign store_words_o = 2 * token_words;

  // Experts' weights: one job per expert, as soon as the queue builder names it.
  logic expert_job;
  addr_t expert_addr;
  assign expert_job = state_q == FirstLayer || state_q == SecondLayer;
  assign expert_addr = addr_t'(op_i.expert_base) + addr_t'(load_expert_i) * addr_t'(op_i.expert_stride);
  assign load_ready_o = expert_job && job_ready_i;

  always_comb begin
    job_o = '{relative: 1'b1, addr: expert_addr, words: expert_words, dest: LoadWeights};
    job_valid_o = expert_job && load_valid_i;
    unique case (state_q)
      LoadX: begin
        job_valid_o = 1'b1;
        job_o = '{relative: 1'b0, addr: source_i, words: token_words, dest: LoadTokens};
      end
      LoadRouter: begin
        job_valid_o = 1'b1;
        job_o = '{relative: 1'b1, addr: addr_t'(op_i.weights), words: router_words, dest: LoadWeights};
      end
      LoadRes: begin
        job_valid_o = 1'b1;
        job_o = '{
            relative: 1'b0,
            addr: source_i + addr_t'(token_words) * addr_t'(WordBytes),
            words: 2 * token_words,
            dest: LoadResidual
        };
      end
      LoadGelu: begin
        job_valid_o = 1'b1;
        job_o = '{
            relative: 1'b1,
            addr: addr_t'(op_i.table_offset),
            words: words_t'((1 << GeluIndexBits) / WordBytes),
            dest: LoadTable
        };
      end
      default: ;
    endcase
  end

  always_comb begin
    cmd_o = '{
        rows: token_t'(op_i.rows),
        k_chunks: dim_chunks,
        m_tiles: router_tiles,
        source: SrcTokens,
        dest: DstLogits,
        bank: 1'b0,
        fence: 1'b0
    };
    cmd_valid_o = state_q == RouterPass;
    queue_ready_o = 1'b0;
    if (state_q == FirstLayer) begin
      cmd_valid_o = queue_valid_i;
      cmd_o.rows = queue_rows_i;
      cmd_o.m_tiles = 10'(op_i.out_features / 16'(Lanes));
      cmd_o.source = SrcQueue;
      cmd_o.dest = DstGelu;
      cmd_o.bank = queue_bank_i;
    end else if (state_q == SecondLayer) begin
      cmd_valid_o = 1'b1;
      queue_ready_o = cmd_ready_i;
      cmd_o.rows = queue_rows_i;
      cmd_o.k_chunks = hidden_chunks;
      cmd_o.m_tiles = 10'(op_i.in_features / 16'(Lanes));
      cmd_o.source = SrcHidden;
      cmd_o.dest = DstCombine;
      cmd_o.bank = queue_bank_i;
      cmd_o.fence = 1'b1;  // the hidden rows must be complete
    end
  end

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = LoadRouter;
      LoadRouter: if (job_ready_i) state_d = LoadX;
      LoadX: if (job_ready_i) state_d = RouterPass;
      RouterPass: if (cmd_ready_i) state_d = LoadGelu;  // rows are routed as they arrive
      LoadGelu: if (job_ready_i) state_d = LoadRes;
      LoadRes: if (job_ready_i) state_d = FirstLayer;  // the first combination comes later in the stream
      FirstLayer:
      if (queue_valid_i && cmd_ready_i) state_d = SecondLayer;
      else if (queues_done_i && quiet_i) state_d = Store;
      SecondLayer: if (cmd_ready_i) state_d = FirstLayer;
      Store: state_d = WaitStore;
      WaitStore: if (stored_i) state_d = Done;
      Done: state_d = Idle;
      default: state_d = Idle;
    endcase
  end

  assign store_o = state_q == WaitStore;
  assign store_start_o = state_q == Store;
  assign done_o = state_q == Done;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= Idle;
    else state_q <= state_d;
  end
endmodule
