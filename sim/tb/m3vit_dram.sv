// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Simulated PS DDR4 behind the four HP ports: shared bandwidth, latency, bounded requests in flight, error answers
/// beyond its end. Bandwidth is a token bucket over all ports that is full, and the order of the ports starts anew, when
/// the memory was idle: equal frames take equal time. On demand of the host, at run time: random stalls on every
/// handshake, random extra latency, errors, silence (sim/cosim.py). Contents: m3vit_dram.cpp. Simulation only.
///
/// Two settings of a run, so that one compiled model serves every memory: `+dram_efficiency=PERCENT` of the peak of one
/// beat per port and cycle, and `+dram_latency=CYCLES` from an accepted request to its first beat.
module m3vit_dram
  import m3vit_pkg::*;
#(
    parameter int unsigned Ports = 4  ///< that the accelerator uses; bandwidth grows with them
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  axi_read_req_t  [Ports-1:0] read_i,
    output axi_read_rsp_t  [Ports-1:0] read_o,
    input  axi_write_req_t [Ports-1:0] write_i,
    output axi_write_rsp_t [Ports-1:0] write_o
);
  import "DPI-C" function int m3vit_dram_read(
    input longint address,
    output bit [127:0] beat
  );
  import "DPI-C" function int m3vit_dram_write(
    input longint address,
    input bit [127:0] beat
  );
  import "DPI-C" function int m3vit_dram_stall_percent();  // chance of withholding a handshake in a cycle
  import "DPI-C" function int m3vit_dram_jitter_cycles();  // largest extra latency of a read burst
  import "DPI-C" function int m3vit_dram_is_silent();  // bit 0: reads get no data, bit 1: writes are not taken

  localparam int unsigned QueueDepth = 16;  // requests in flight per port and direction
  localparam int Cost = 100;  // tokens of one beat
  localparam int Full = 2 * Cost * int'(Ports);

  typedef struct packed {
    addr_t addr;
    logic [7:0] len;
    logic [31:0] due;
  } request_t;
  typedef logic [$clog2(QueueDepth)-1:0] index_t;
  typedef logic [$clog2(QueueDepth):0] count_t;

  int unsigned efficiency_percent, latency_cycles;
  initial begin
    efficiency_percent = 80;
    latency_cycles = 64;
    void'($value$plusargs("dram_efficiency=%d", efficiency_percent));
    void'($value$plusargs("dram_latency=%d", latency_cycles));
    a_setting : assert (efficiency_percent - 1 < 100 && latency_cycles != 0) else $fatal(1, "illegal memory setting");
  end

  int tokens_q;
  logic [31:0] now_q;
  logic [1:0] first_q;  // port served first in this cycle

  request_t read_queue[Ports][QueueDepth];
  index_t read_head[Ports];
  count_t read_count[Ports];
  logic [7:0] read_beat[Ports];

  request_t write_queue[Ports][QueueDepth];
  index_t write_head[Ports];
  count_t write_count[Ports];
  logic [7:0] write_beat[Ports];
  logic write_bad[Ports];

  logic [32:0] answer_queue[Ports][QueueDepth];  // due time, error
  index_t answer_head[Ports];
  count_t answer_count[Ports];

  axi_read_rsp_t [Ports-1:0] read_q;
  axi_write_rsp_t [Ports-1:0] write_q;
  assign read_o  = read_q;
  assign write_o = write_q;

  function automatic logic stall(int percent);
    return percent != 0 && int'($urandom_range(99)) < percent;
  endfunction

  // A behavioural model: blocking assignments inside one process, outputs are registers.
  /* verilator lint_off BLKSEQ */
  always_ff @(posedge clk_i) begin
    automatic logic busy;
    automatic int percent = m3vit_dram_stall_percent();
    automatic int jitter = m3vit_dram_jitter_cycles();
    automatic int silent = m3vit_dram_is_silent();
    automatic int tokens = tokens_q + int'(efficiency_percent) * int'(Ports);
    if (tokens > Full) tokens = Full;
    now_q   <= now_q + 1'b1;
    for (int i = 0; i < int'(Ports); i++) begin
      automatic int p = (i + int'(first_q)) % int'(Ports);
      automatic request_t head;
      automatic index_t tail;
      automatic beat_t beat;
      automatic axi_read_rsp_t r = read_q[p];
      automatic axi_write_rsp_t w = write_q[p];

      // Accepted requests.
      if (read_i[p].arvalid && r.arready) begin
        tail = read_head[p] + index_t'(read_count[p]);
        read_queue[p][tail] = '{addr: read_i[p].araddr, len: read_i[p].arlen, due: now_q + latency_cycles - 1};
        if (jitter != 0) read_queue[p][tail].due += $urandom_range(jitter);
        read_count[p] = read_count[p] + 1'b1;
      end
      if (write_i[p].awvalid && w.awready) begin
        tail = write_head[p] + index_t'(write_count[p]);
        write_queue[p][tail] = '{addr: write_i[p].awaddr, len: write_i[p].awlen, due: '0};
        write_count[p] = write_count[p] + 1'b1;
      end

      // Write data: taken only for an accepted request.
      if (write_i[p].wvalid && w.wready) begin
        head = write_queue[p][write_head[p]];
        if (m3vit_dram_write(64'(head.addr) + 64'(write_beat[p]) * 64'(PortBits / 8), write_i[p].wdata) == 0)
          write_bad[p] = 1'b1;
        tokens = tokens - Cost;
        write_beat[p] = write_beat[p] + 1'b1;
        if (write_i[p].wlast) begin
          a_wlast : assert (write_beat[p] == head.len + 1'b1) else $error("burst length and wlast disagree");
          tail = answer_head[p] + index_t'(answer_count[p]);
          answer_queue[p][tail] = {now_q + latency_cycles - 1, write_bad[p]};
          answer_count[p] = answer_count[p] + 1'b1;
          write_head[p] = write_head[p] + 1'b1;
          write_count[p] = write_count[p] - 1'b1;
          write_beat[p] = '0;
          write_bad[p] = 1'b0;
        end
      end
      if (w.bvalid && write_i[p].bready) begin
        answer_head[p] = answer_head[p] + 1'b1;
        answer_count[p] = answer_count[p] - 1'b1;
        w.bvalid = 1'b0;
      end
      if (!w.bvalid && answer_count[p] != '0 && answer_queue[p][answer_head[p]][32:1] <= now_q && !stall(percent) && !silent[1]) begin
        w.bvalid = 1'b1;
        w.bresp  = answer_queue[p][answer_head[p]][0] ? 2'b10 : 2'b00;
      end

      // Read data.
      if (r.rvalid && read_i[p].rready) r.rvalid = 1'b0;
      head = read_queue[p][read_head[p]];
      if (!r.rvalid && read_count[p] != '0 && head.due <= now_q && tokens >= Cost && !stall(percent) && !silent[0]) begin
        r.rresp = m3vit_dram_read(64'(head.addr) + 64'(read_beat[p]) * 64'(PortBits / 8), beat) != 0 ? 2'b00 : 2'b10;
        r.rdata = beat;
        r.rvalid = 1'b1;
        r.rlast = read_beat[p] == head.len;
        tokens = tokens - Cost;
        read_beat[p] = read_beat[p] + 1'b1;
        if (r.rlast) begin
          read_beat[p]  = '0;
          read_head[p]  = read_head[p] + 1'b1;
          read_count[p] = read_count[p] - 1'b1;
        end
      end

      r.arready = read_count[p] < count_t'(QueueDepth) - 1'b1 && !stall(percent);
      w.awready = write_count[p] < count_t'(QueueDepth) - 1'b1 && answer_count[p] < count_t'(QueueDepth) - count_t'(2) && !stall(percent);
      w.wready  = write_count[p] != '0 && tokens >= Cost && !stall(percent) && !silent[1];
      read_q[p]  <= r;
      write_q[p] <= w;
      if (!rst_ni) begin
        read_q[p]  <= '0;
        write_q[p] <= '0;
        read_head[p] = '0;
        read_count[p] = '0;
        read_beat[p] = '0;
        write_head[p] = '0;
        write_count[p] = '0;
        write_beat[p] = '0;
        write_bad[p] = 1'b0;
        answer_head[p] = '0;
        answer_count[p] = '0;
      end
    end
    tokens_q <= rst_ni ? tokens : Full;
    busy = 1'b0;
    for (int p = 0; p < int'(Ports); p++)
      busy |= read_count[p] != '0 || write_count[p] != '0 || answer_count[p] != '0;
    first_q <= busy ? first_q + 1'b1 : '0;
    if (!rst_ni) now_q <= '0;
  end
  /* verilator lint_on BLKSEQ */
endmodule
