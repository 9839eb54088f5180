// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Deep first-in first-out queue in block or ultra RAM. Full throughput; data visible three cycles after the push.
module m3vit_ram_fifo #(
    parameter int unsigned Width = 32,
    parameter int unsigned Depth = 64,      ///< power of two
    parameter Style = "block"
) (
    input  logic             clk_i,
    input  logic             rst_ni,
    input  logic [Width-1:0] data_i,
    input  logic             valid_i,
    output logic             ready_o,
    output logic [Width-1:0] data_o,
    output logic             valid_o,
    input  logic             ready_i,
    output logic [      2:0] level_o   ///< words that can be taken in successive cycles, up to 4
);
  if (Depth < 2 || (Depth & (Depth - 1)) != 0) begin : gen_check
    $fatal(1, "Depth must be a power of two");
  end
  localparam int unsigned AddrW = $clog2(Depth);
  localparam int unsigned Prefetch = 4;

  logic [AddrW:0] write_q, read_q;
  logic [Width-1:0] word;
  logic push, fetch, fetched_q, pop;
  logic [2:0] ahead_q;  // words fetched and not yet popped
  assign level_o = ahead_q - 3'(fetched_q);

  assign ready_o = write_q - read_q != (AddrW + 1)'(Depth);
  assign push    = valid_i && ready_o;
  assign fetch   = write_q != read_q && ahead_q != 3'(Prefetch);
  assign pop     = valid_o && ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q   <= '0;
      read_q    <= '0;
      fetched_q <= 1'b0;
      ahead_q   <= '0;
    end else begin
      write_q   <= write_q + (AddrW + 1)'(push);
      read_q    <= read_q + (AddrW + 1)'(fetch);
      fetched_q <= fetch;
      ahead_q   <= ahead_q + 3'(fetch) - 3'(pop);
    end
  end

  m3vit_ram #(
      .Width(Width),
      .Depth(Depth),
      .Style(Style)
  ) u_ram (
      .clk_i,
      .write_i     (push),
      .write_addr_i(write_q[AddrW-1:0]),
      .write_data_i(data_i),
      .read_i      (fetch),
      .read_addr_i (read_q[AddrW-1:0]),
      .read_data_o (word)
  );

  logic unused_ready;
  m3vit_fifo #(
      .Depth (Prefetch),
      .data_t(logic [Width-1:0])
  ) u_prefetch (
      .clk_i,
      .rst_ni,
      .data_i (word),
      .valid_i(fetched_q),
      .ready_o(unused_ready),  // ahead_q keeps it from overflowing
      .data_o,
      .valid_o,
      .ready_i
  );
endmodule
