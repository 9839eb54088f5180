// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The control modules in one model, as tb_units: program and its checks, loader, executor, expert set, expert cache,
/// counters, guard of the image, registers. The number behind a name is Lanes x Groups, StreamWords or MaxTopK; the shapes are
/// those of programs.py. Test only.
module tb_control (
    input logic clk_i,
    input logic rst_ni
);
  unit_program u_program16 (.*);
  unit_program #(
      .Lanes    (32),
      .Groups   (3),
      .MaxTokens(300),
      .MaxDim   (352),
      .MaxHidden(384),
      .MaxTopK  (4),
      .MaxBlock (136),
      .LendWords(1024)
  ) u_program96 (
      .*
  );
  unit_program #(
      .Lanes    (8),
      .Groups   (4),
      .MaxTokens(40),
      .MaxDim   (256),
      .MaxHidden(256),
      .MaxTopK  (16),
      .MaxBlock (7),
      .LendWords(64)
  ) u_program32 (
      .*
  );

  unit_loader u_loader16 (.*);
  unit_loader #(.Lanes(32), .Groups(3)) u_loader96 (.*);
  unit_loader #(.Lanes(8), .Groups(4)) u_loader32 (.*);

  unit_executor u_executor16 (.*);
  unit_executor #(.Lanes(32), .Groups(3)) u_executor96 (.*);
  unit_executor #(.Lanes(8), .Groups(4)) u_executor32 (.*);

  unit_expert_cache #(.StreamWords(64)) u_expert_cache64 (.*);
  unit_expert_cache #(.StreamWords(8192)) u_expert_cache8192 (.*);

  unit_expert_set #(.MaxTopK(4)) u_expert_set4 (.*);
  unit_expert_set #(.MaxTopK(16)) u_expert_set16 (.*);

  unit_counters u_counters (.*);
  unit_regs u_regs (.*);
  unit_read_check u_read_check (.clk_i);
endmodule
