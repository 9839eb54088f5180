// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// RAM with different read and write widths, both whole numbers of granules at any granule address: granule g lies in
/// bank g mod Banks. Read latency one cycle; a read of a granule written in the same cycle returns the old one.
module m3vit_bank_ram #(
    parameter int unsigned GranuleBits = 64,
    parameter int unsigned Banks = 8,           ///< power of two, at least the wider port
    parameter int unsigned Depth = 64,          ///< granules per bank
    parameter int unsigned ReadGranules = 8,
    parameter int unsigned WriteGranules = 1,
    parameter Style = "block",
    localparam int unsigned AddrW = $clog2(Banks * Depth)
) (
    input  logic                                       clk_i,
    input  logic [WriteGranules-1:0]                   write_i,       ///< per granule
    input  logic [        AddrW-1:0]                   write_addr_i,  ///< granule address of granule 0
    input  logic [WriteGranules-1:0][GranuleBits-1:0]  write_data_i,
    input  logic                                       read_i,
    input  logic [        AddrW-1:0]                   read_addr_i,
    output logic [ ReadGranules-1:0][GranuleBits-1:0]  read_data_o
);
  if ((Banks & (Banks - 1)) != 0 || ReadGranules > Banks || WriteGranules > Banks) begin : gen_check
    $fatal(1, "Banks must be a power of two that covers both ports");
  end
  localparam int unsigned BankW = $clog2(Banks);
  localparam int unsigned IndexW = Depth > 1 ? $clog2(Depth) : 1;

  if (Banks == 1) begin : gen_single
    m3vit_ram #(
        .Width(GranuleBits),
        .Depth(Depth),
        .Style(Style)
    ) u_ram (
        .clk_i,
        .write_i     (write_i[0]),
        .write_addr_i(IndexW'(write_addr_i)),
        .write_data_i(write_data_i[0]),
        .read_i,
        .read_addr_i (IndexW'(read_addr_i)),
        .read_data_o (read_data_o[0])
    );
  end else begin : gen_banks
    logic [Banks-1:0][GranuleBits-1:0] word;
    logic [BankW-1:0] rotate_q;

    for (genvar b = 0; b < int'(Banks); b++) begin : gen_bank
      logic [BankW-1:0] write_slot, read_slot;  // which granule of the access falls into this bank
      logic [AddrW-1:0] write_granule, read_granule;
      logic write;
      logic [GranuleBits-1:0] data;
      assign write_slot = BankW'(b) - write_addr_i[BankW-1:0];
      assign read_slot = BankW'(b) - read_addr_i[BankW-1:0];
      assign write_granule = write_addr_i + AddrW'(write_slot);
      assign read_granule = read_addr_i + AddrW'(read_slot);
      always_comb begin
        write = 1'b0;
        data  = '0;
        for (int w = 0; w < int'(WriteGranules); w++)
          if (write_slot == BankW'(w)) begin
            write = write_i[w];
            data  = write_data_i[w];
          end
      end
      m3vit_ram #(
          .Width(GranuleBits),
          .Depth(Depth),
          .Style(Style)
      ) u_ram (
          .clk_i,
          .write_i     (write),
          .write_addr_i(IndexW'(write_granule >> BankW)),
          .write_data_i(data),
          .read_i,
          .read_addr_i (IndexW'(read_granule >> BankW)),
          .read_data_o (word[b])
      );
    end

    always_ff @(posedge clk_i) if (read_i) rotate_q <= read_addr_i[BankW-1:0];
    always_comb
      for (int r = 0; r < int'(ReadGranules); r++) read_data_o[r] = word[rotate_q+BankW'(r)];
  end
endmodule
