// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Makes words of 32 x Groups bytes from DRAM words of 64 bytes. Every job begins a new word; bytes that do not fill a
/// word at a job's end are dropped. Combinational from input to output; holds at most 64 bytes.
module m3vit_gearbox
  import m3vit_pkg::*;
#(
    parameter  int unsigned Groups = 2,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  word_t               word_i,
    input  logic                valid_i,
    input  logic                last_i,   ///< last word of a job
    output logic                ready_o,
    output logic [8*Inputs-1:0] word_o,
    output logic                valid_o,
    input  logic                ready_i
);
  if (Groups < 2 || Groups > 4) begin : gen_check
    $fatal(1, "Groups must be 2, 3 or 4");
  end
  localparam int unsigned UnitBits = 8 * UnitBytes;
  logic [1:0] held_q;  // units
  word_t hold_q;
  logic full, take;
  assign full = 3'(held_q) + 3'd2 >= 3'(Groups);
  assign valid_o = valid_i && full;
  assign ready_o = !full || ready_i;
  assign take = valid_i && ready_o;

  if (Groups == 2) begin : gen_two
    logic unused_hold;
    assign unused_hold = ^hold_q;
    assign word_o = word_i;
  end else if (Groups == 3) begin : gen_three
    assign word_o = held_q == 2'd2 ? {word_i[UnitBits-1:0], hold_q} : {word_i, hold_q[UnitBits-1:0]};
  end else begin : gen_four
    assign word_o = {word_i, hold_q};
  end

  always_ff @(posedge clk_i) begin
    if (take) hold_q <= Groups == 3 && held_q == 2'd2 ? {2{word_i[2*UnitBits-1:UnitBits]}} : word_i;
    if (!rst_ni) held_q <= '0;
    else if (take) held_q <= last_i ? '0 : full ? 2'(3'(held_q) + 3'd2 - 3'(Groups)) : held_q + 2'd2;
  end
endmodule
