// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Pipeline delay of `Stages` cycles, without reset. Stages 0 is a wire.
module m3vit_delay #(
    parameter int unsigned Stages = 1,  ///< latency in cycles
    parameter type data_t = logic [7:0]
) (
    input  logic  clk_i,
    input  data_t data_i,
    output data_t data_o
);
  if (Stages == 0) begin : gen_wire
    logic unused_clk;
    assign unused_clk = clk_i;
    assign data_o = data_i;
  end else begin : gen_stages
    data_t stage_q[Stages];
    always_ff @(posedge clk_i) begin
      stage_q[0] <= data_i;
      for (int unsigned i = 1; i < Stages; i++) stage_q[i] <= stage_q[i-1];
    end
    assign data_o = stage_q[Stages-1];
  end
endmodule
