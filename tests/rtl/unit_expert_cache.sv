// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_expert_cache with the signals of its bench. Test only.
module unit_expert_cache
  import m3vit_pkg::*;
#(
    parameter int unsigned StreamWords = 512
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic clear, needed, ready, load_valid, load_ready, loaded, seek_valid;
  expert_t expert;
  words_t expert_words, load_base, seek_base;
  /* verilator public_off */

  m3vit_expert_cache #(
      .StreamWords(StreamWords)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .clear_i       (clear),
      .expert_words_i(expert_words),
      .valid_i       (needed),
      .expert_i      (expert),
      .ready_o       (ready),
      .load_valid_o  (load_valid),
      .load_ready_i  (load_ready),
      .load_base_o   (load_base),
      .loaded_i      (loaded),
      .seek_valid_o  (seek_valid),
      .seek_base_o   (seek_base)
  );
endmodule
