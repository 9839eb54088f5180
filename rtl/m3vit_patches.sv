// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Puts the patches of an image side by side: pixels come row by row as they lie in DRAM (uint8, three colours), and each
/// patch becomes one row of the key-value buffer, int8. Moves pieces of eight bytes, in each cycle as many as one source
/// word, one pixel row of a patch and one destination word have in common. Golden: sim/golden/embed.py patches.
module m3vit_patches
  import m3vit_pkg::*;
#(
    parameter  int unsigned Groups = 2,
    parameter  int unsigned AddrW = 9,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic                  start_i,         ///< pulse: an image will come; the settings are stable until done_o
    input  logic   [         7:0] row_pieces_i,    ///< pieces in a pixel row of a patch
    input  logic   [         7:0] patch_rows_i,    ///< pixel rows of a patch
    input  logic   [        15:0] columns_i,       ///< patches side by side
    input  logic   [         7:0] pitch_i,         ///< words per patch
    input  words_t                words_i,         ///< DRAM words of the image
    input  word_t                 word_i,
    input  logic                  valid_i,
    output logic                  ready_o,
    output logic                  write_valid_o,
    output logic   [   AddrW-1:0] write_addr_o,
    output logic   [8*Inputs-1:0] write_data_o,
    output logic   [Inputs/8-1:0] write_pieces_o,
    output logic                  done_o           ///< level: the image is complete; until the next start
);
  localparam int unsigned Pieces = Inputs / 8;
  localparam int unsigned WordPieces = WordBytes / 8;
  typedef logic [4:0] count_t;
  typedef logic [AddrW-1:0] kv_addr_t;

  logic [WordPieces-1:0][63:0] word_q;
  logic have_q, active_q, step, last_of_word, last_of_row, last_of_dest, last_column, last_line;
  logic [2:0] from_q;  // next piece of the source word
  count_t to_q, line_to_q, to_next, number;  // next piece of the destination word
  logic [7:0] left_q, line_q;  // pieces left in the pixel row of the patch; pixel row
  logic [15:0] column_q;
  logic [7:0] offset_q, line_offset_q, offset_next;  // destination word in the patch
  kv_addr_t patch_q, row_patch_q;  // first word of the patch, and of the first patch of this row of patches
  words_t words_q;

  always_comb begin
    number = count_t'(WordPieces) - count_t'(from_q);
    if (left_q < 8'(number)) number = count_t'(left_q);
    if (count_t'(Pieces) - to_q < number) number = count_t'(Pieces) - to_q;
  end
  assign step = have_q;
  assign last_of_word = count_t'(from_q) + number == count_t'(WordPieces);
  assign last_of_row = left_q == 8'(number);
  assign last_of_dest = to_q + number == count_t'(Pieces);
  assign last_column = column_q == columns_i - 1'b1;
  assign last_line = line_q == patch_rows_i - 1'b1;
  assign to_next = last_of_dest ? '0 : to_q + number;
  assign offset_next = offset_q + 8'(last_of_dest);
  assign ready_o = active_q && words_q != '0 && (!have_q || last_of_word);
  assign done_o = active_q && words_q == '0 && !have_q && !write_valid_o;

  always_ff @(posedge clk_i) begin
    if (valid_i && ready_o) word_q <= word_i;
    if (step)
      for (int p = 0; p < int'(Pieces); p++) begin
        write_data_o[64*p+:64] <= word_q[3'(p)+from_q-3'(to_q)] ^ {8{8'h80}};
        write_pieces_o[p] <= count_t'(p) >= to_q && count_t'(p) < to_q + number;
      end
    write_addr_o <= patch_q + kv_addr_t'(offset_q);
    if (!rst_ni || start_i) begin
      active_q <= start_i && rst_ni;
      have_q <= 1'b0;
      write_valid_o <= 1'b0;
      words_q <= words_i;
      from_q <= '0;
      to_q <= '0;
      line_to_q <= '0;
      left_q <= row_pieces_i;
      line_q <= '0;
      column_q <= '0;
      offset_q <= '0;
      line_offset_q <= '0;
      patch_q <= '0;
      row_patch_q <= '0;
    end else begin
      write_valid_o <= step;
      if (valid_i && ready_o) begin
        have_q  <= 1'b1;
        words_q <= words_q - 1'b1;
      end else if (step && last_of_word) have_q <= 1'b0;
      if (step) begin
        from_q   <= from_q + 3'(number);
        left_q   <= last_of_row ? row_pieces_i : left_q - 8'(number);
        to_q     <= to_next;
        offset_q <= offset_next;
        if (last_of_row && !last_column) begin
          column_q <= column_q + 1'b1;
          patch_q  <= patch_q + kv_addr_t'(pitch_i);
          to_q     <= line_to_q;
          offset_q <= line_offset_q;
        end else if (last_of_row) begin
          column_q <= '0;
          line_q <= last_line ? '0 : line_q + 1'b1;
          patch_q <= last_line ? patch_q + kv_addr_t'(pitch_i) : row_patch_q;
          line_to_q <= last_line ? '0 : to_next;
          line_offset_q <= last_line ? '0 : offset_next;
          if (last_line) begin
            row_patch_q <= patch_q + kv_addr_t'(pitch_i);
            to_q <= '0;
            offset_q <= '0;
          end
        end
      end
    end
  end
endmodule
