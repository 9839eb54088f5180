# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Text of m3vit_accelerator.sv: the parameters and flat AXI ports of the top module, from one table each."""

from operator import attrgetter

from m3vit.model.config import DEMO, MAX_PORTS, HardwareConfig
from m3vit.rtl.package import LICENCE
from m3vit.sim.regmap import ADDRESS_BITS

PARAMETERS = {
    "LANES": ("Lanes", "lanes", "output channels in parallel; MAC per cycle = 32 x GROUPS x LANES"),
    "GROUPS": ("Groups", "groups", "groups of 32 input channels in parallel"),
    "MAX_TOKENS": ("MaxTokens", "max_tokens", "token capacity"),
    "MAX_DIM": ("MaxDim", "max_dim", "channels per token"),
    "MAX_HIDDEN": ("MaxHidden", "max_hidden", "hidden channels of an expert or MLP slice"),
    "MAX_TOP_K": ("MaxTopK", "max_top_k", "experts per token"),
    "MAX_BLOCK": ("MaxBlock", "max_block", "query rows per attention block"),
    "STREAM_WORDS": ("StreamWords", "stream_words", "weight stream buffer in words of 32 x GROUPS bytes"),
    "LEND_WORDS": ("LendWords", "lend_words", "words of the key-value buffer that the stream may use"),
    "ROUTER_LANES": ("RouterLanes", "router_lanes", "tokens routed side by side"),
    "PORTS": ("Ports", "memory.ports", "AXI ports in use: 1, 2 or 4"),
}
"""Parameter of m3vit_accelerator -> parameter of the modules, field of HardwareConfig, meaning."""


def parameters(hardware: HardwareConfig) -> dict[str, int]:
    """Values of the top module's parameters for one hardware config."""
    return {name: attrgetter(field)(hardware) for name, (_, field, _) in PARAMETERS.items()}


# AXI4 master port: name, width, direction, and how it connects to the structs of port {p}. Constants have no struct.
MASTER = (
    ("araddr", 40, "output", "read_req[{p}].araddr"),
    ("arlen", 8, "output", "read_req[{p}].arlen"),
    ("arsize", 3, "output", "3'd4"),
    ("arburst", 2, "output", "2'b01"),
    ("arcache", 4, "output", "4'b0011"),
    ("arprot", 3, "output", "3'b000"),
    ("arvalid", 1, "output", "read_req[{p}].arvalid"),
    ("arready", 1, "input", "read_rsp[{p}].arready"),
    ("rdata", 128, "input", "read_rsp[{p}].rdata"),
    ("rresp", 2, "input", "read_rsp[{p}].rresp"),
    ("rlast", 1, "input", "read_rsp[{p}].rlast"),
    ("rvalid", 1, "input", "read_rsp[{p}].rvalid"),
    ("rready", 1, "output", "read_req[{p}].rready"),
    ("awaddr", 40, "output", "write_req[{p}].awaddr"),
    ("awlen", 8, "output", "write_req[{p}].awlen"),
    ("awsize", 3, "output", "3'd4"),
    ("awburst", 2, "output", "2'b01"),
    ("awcache", 4, "output", "4'b0011"),
    ("awprot", 3, "output", "3'b000"),
    ("awvalid", 1, "output", "write_req[{p}].awvalid"),
    ("awready", 1, "input", "write_rsp[{p}].awready"),
    ("wdata", 128, "output", "write_req[{p}].wdata"),
    ("wstrb", 16, "output", "16'hFFFF"),
    ("wlast", 1, "output", "write_req[{p}].wlast"),
    ("wvalid", 1, "output", "write_req[{p}].wvalid"),
    ("wready", 1, "input", "write_rsp[{p}].wready"),
    ("bresp", 2, "input", "write_rsp[{p}].bresp"),
    ("bvalid", 1, "input", "write_rsp[{p}].bvalid"),
    ("bready", 1, "output", "write_req[{p}].bready"),
)

# AXI4-Lite slave port: name, width, direction, port of m3vit_core or None.
SLAVE = (
    ("awaddr", ADDRESS_BITS, "input", "awaddr_i"),
    ("awprot", 3, "input", None),
    ("awvalid", 1, "input", "awvalid_i"),
    ("awready", 1, "output", "awready_o"),
    ("wdata", 32, "input", "wdata_i"),
    ("wstrb", 4, "input", "wstrb_i"),
    ("wvalid", 1, "input", "wvalid_i"),
    ("wready", 1, "output", "wready_o"),
    ("bresp", 2, "output", None),
    ("bvalid", 1, "output", "bvalid_o"),
    ("bready", 1, "input", "bready_i"),
    ("araddr", ADDRESS_BITS, "input", "araddr_i"),
    ("arprot", 3, "input", None),
    ("arvalid", 1, "input", "arvalid_i"),
    ("arready", 1, "output", "arready_o"),
    ("rdata", 32, "output", "rdata_o"),
    ("rresp", 2, "output", None),
    ("rvalid", 1, "output", "rvalid_o"),
    ("rready", 1, "input", "rready_i"),
)


def port(direction: str, width: int, name: str) -> str:
    """One port declaration."""
    size = f"[{width - 1}:0] " if width > 1 else ""
    return f"    {direction:6} logic {size}{name}"


def accelerator() -> str:
    """Text of m3vit_accelerator.sv: flat AXI ports with the names that Vivado's IP packager recognises."""
    ports = [port("input", 1, "aclk"), port("input", 1, "aresetn")]
    ports += [port(way, width, f"s_axi_ctrl_{name}") for name, width, way, _ in SLAVE]
    connect, assign = [], []
    for p in range(MAX_PORTS):
        for name, width, way, struct in MASTER:
            flat = f"m_axi_hp{p}_{name}"
            ports.append(port(way, width, flat))
            left, right = (flat, struct.format(p=p)) if way == "output" else (struct.format(p=p), flat)
            assign.append(f"  assign {left} = {right};")
    ports.append(port("output", 1, "irq_o"))
    connect = [f"      .{inner}(s_axi_ctrl_{name})" for name, _, _, inner in SLAVE if inner]
    values = ",\n".join(
        f"    parameter int unsigned {name} = {value}{{comma}}  ///< {PARAMETERS[name][2]}"
        for name, value in parameters(DEMO.hardware).items()
    )
    values = values.replace(",\n", "\n").replace("{comma}", ",", len(PARAMETERS) - 1).replace("{comma}", "")
    inner = ",\n".join(f"      .{inner}({name})" for name, (inner, _, _) in PARAMETERS.items())
    lines = [
        "/// Top module: m3vit_core with flat AXI ports, named as Vivado's IP packager expects. No logic.",
        "module m3vit_accelerator",
        "  import m3vit_pkg::*;",
        f"#(\n{values}\n) (",
        ",\n".join(ports),
        ");",
        "  axi_read_req_t [MaxPorts-1:0] read_req;",
        "  axi_read_rsp_t [MaxPorts-1:0] read_rsp;",
        "  axi_write_req_t [MaxPorts-1:0] write_req;",
        "  axi_write_rsp_t [MaxPorts-1:0] write_rsp;",
        "",
        f"  m3vit_core #(\n{inner}\n  ) u_core (",
        "      .clk_i(aclk),",
        "      .rst_ni(aresetn),",
        ",\n".join(connect) + ",",
        "      .read_o(read_req),",
        "      .read_i(read_rsp),",
        "      .write_o(write_req),",
        "      .write_i(write_rsp),",
        "      .irq_o",
        "  );",
        "  assign s_axi_ctrl_bresp = 2'b00;",
        "  assign s_axi_ctrl_rresp = 2'b00;",
        *assign,
        "",
        "  logic unused_prot;",
        "  assign unused_prot = ^{s_axi_ctrl_awprot, s_axi_ctrl_arprot};",
        "endmodule",
    ]
    return LICENCE + "\n".join(lines) + "\n"
