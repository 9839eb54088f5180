# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What decides the resources of each block of sim/synthesis.py: its memories, its multipliers, features of its logic.

RAMs and DSPs of a block follow from its parameters by rules (sim/resource_rules.py). Its LUTs and flip-flops are sums
of features, each times a coefficient that sim/resource_fit.py found; a feature is a number of something that the RTL
repeats: lanes, bits of a word, bits of an address. All sizes are those of one instance of a block.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from m3vit.model.config import HardwareConfig
from m3vit.sim import resource_rules as rules
from m3vit.sim.resource_rules import Rams, bits, named, queue
from m3vit.sim.synthesis import Cells

Size = Callable[[HardwareConfig], int]
Features = Mapping[str, Size]


@dataclass(frozen=True)
class Block:
    """Resources of one instance of a block.

    Attributes:
        lut: features of its LUTs, by name, besides what its memories need.
        ff: features of its flip-flops, besides what its memories need.
        dsp: DSP48E2.
        rams: its memories in block RAM, UltraRAM or LUT RAM.
        copies: instances in an accelerator.
    """

    lut: Features
    ff: Features
    dsp: Size = lambda _: 0
    rams: Rams = lambda _: ()
    copies: Size = lambda _: 1


@dataclass(frozen=True)
class Shape:
    """An instance of a block in a given accelerator.

    Attributes:
        known: what the rules give: DSPs, RAMs, LUTs that hold data, output registers of LUT RAM.
        lut: size of each feature of the other LUTs.
        ff: size of each feature of the other flip-flops.
    """

    known: Cells
    lut: dict[str, int]
    ff: dict[str, int]


def shape(module: str, hardware: HardwareConfig) -> Shape:
    """What decides the resources of one instance of a block of sim/synthesis.py."""
    block = MODELS[module]
    rams = block.rams(hardware)
    made = [ram.mapping for ram in rams]
    known = Cells(dsp=block.dsp(hardware))
    for mapping in made:
        known += Cells(bram36=mapping.bram36, uram=mapping.uram, lut=mapping.lut, ff=mapping.ff)
    lut = {name: size(hardware) for name, size in block.lut.items()}
    if rams:
        lut["bits behind banks"] = sum(
            ram.count * ram.width * (mapping.banks - 1) for ram, mapping in zip(rams, made, strict=True)
        )
    return Shape(known, lut, {name: size(hardware) for name, size in block.ff.items()})


def once(_: HardwareConfig) -> int:
    """What every instance has."""
    return 1


def lanes(hardware: HardwareConfig) -> int:
    """Output channels computed in parallel."""
    return hardware.lanes


def inputs(hardware: HardwareConfig) -> int:
    """Input channels computed in parallel."""
    return hardware.inputs


def macs(hardware: HardwareConfig) -> int:
    """Multipliers of the array."""
    return hardware.macs_per_cycle


def scores(hardware: HardwareConfig) -> int:
    """Sums that the array gives per cycle, one for each group and lane."""
    return hardware.groups * hardware.lanes


def thirds(hardware: HardwareConfig) -> int:
    """Whether sizes in words need a division by three."""
    return int(hardware.groups == 3)


def more_groups(hardware: HardwareConfig) -> int:
    """Whether a word of the linear engine is wider than one of DRAM."""
    return int(hardware.groups > 2)


def ports(hardware: HardwareConfig) -> int:
    """AXI ports in use."""
    return hardware.memory.ports


def several_ports(hardware: HardwareConfig) -> int:
    """Whether words of different ports must be brought in order."""
    return int(hardware.memory.ports > 1)


def images(hardware: HardwareConfig) -> int:
    """Whether a patch of 8 x 8 pixels fits; if none does, Yosys finds that no image is legal and drops its checks."""
    return int(rules.words(hardware, 2 * hardware.max_dim) * hardware.inputs >= 192)


def top_k(hardware: HardwareConfig) -> int:
    """Experts per token."""
    return hardware.max_top_k


CONSTANT: Features = {"once": once}

MODELS: dict[str, Block] = {
    "m3vit_mac_array": Block(
        {"MACs": macs, "lanes": lanes}, {"MACs": macs, "inputs": inputs, "lanes": lanes},
        dsp=lambda h: h.macs_per_cycle // 2,
    ),
    "m3vit_accumulator": Block(
        {"lanes": lanes, "once": once}, {"lanes": lanes, "once": once}, rams=named("accumulators"),
    ),
    "m3vit_weight_feeder": Block(
        {"lanes": lanes, "inputs": inputs, "once": once}, {"lanes": lanes, "once": once},
    ),
    "m3vit_requant": Block(CONSTANT, CONSTANT, dsp=once, copies=lanes),
    "m3vit_linear_engine": Block(
        {"lanes": lanes, "once": once}, CONSTANT,
        dsp=rules.issuer_dsps,
    ),
    "m3vit_probability": Block(CONSTANT, CONSTANT, copies=inputs),
    "m3vit_attention": Block(
        {"scores": scores, "inputs": inputs, "bits of a row's sum": rules.total_bits},
        {"scores": scores, "inputs": inputs, "bits of a row's sum": rules.total_bits},
        dsp=rules.attention_dsps, rams=rules.attention_rams,
    ),
    "m3vit_layer_norm": Block(
        {"lanes": lanes, "lanes x bits of a channel index": lambda h: h.lanes * bits(h.max_dim),
         "once": once},
        {"lanes": lanes, "lanes x bits of a channel index": lambda h: h.lanes * bits(h.max_dim),
         "once": once},
        dsp=rules.norm_dsps, rams=rules.norm_rams,
    ),
    "m3vit_gelu": Block(
        {"lanes": lanes, "inputs": inputs}, {"lanes": lanes, "inputs": inputs, "once": once},
        rams=named("GELU tables"),
    ),
    "m3vit_router_lane": Block(
        {"lanes": lanes, "top-k": top_k, "once": once}, {"lanes": lanes, "top-k": top_k, "once": once},
        copies=lambda h: h.router_lanes,
    ),
    "m3vit_routing": Block(
        {"top-k": top_k, "top-k x router lanes": lambda h: h.max_top_k * h.router_lanes,
         "router lanes": lambda h: h.router_lanes, "once": once},
        {"lanes": lanes, "once": once},
        rams=named("route table"),
    ),
    "m3vit_buffers": Block(
        {"inputs": inputs, "bits of an address": lambda h: bits(rules.key_value_words(h))},
        {"inputs": inputs, "bits of an address": lambda h: bits(rules.key_value_words(h)), "once": once},
        rams=lambda h: (*named("x buffer", "h buffer", "kv buffer", "kv buffer, lent part")(h),
                        queue(h, rules.GATE_BITS)),
    ),
    "m3vit_residual": Block(
        {"lanes": lanes, "bits of an address": lambda h: bits(rules.residual_units(h)), "once": once},
        {"lanes": lanes, "bits of an address": lambda h: bits(rules.residual_units(h)), "once": once},
        dsp=lambda h: h.lanes + 2 * rules.addressed(rules.residual_units(h)),
        rams=lambda h: (*named("residual")(h), queue(h)),
    ),
    "m3vit_stream": Block(
        {"inputs": inputs, "inputs, three groups": lambda h: h.inputs * thirds(h), "bits of an address":
         lambda h: bits(h.stream_words + h.lend_words + 1)},
        {"wider than DRAM": more_groups, "bits of an address": lambda h: bits(h.stream_words + h.lend_words + 1)},
        rams=named("weight stream", "weight stream, block RAM"),
    ),
    "m3vit_datapath": Block(
        {"inputs": inputs, "bits of an address": lambda h: bits(rules.key_value_words(h)), "lanes": lanes,
         "thirds": thirds, "once": once},
        {"inputs": inputs, "lanes": lanes, "once": once},
        dsp=once,
    ),
    "m3vit_program": Block(
        {"thirds": thirds, "images": images, "once": once}, CONSTANT, dsp=lambda h: 2 + images(h),
        rams=named("program, two copies"),
    ),
    "m3vit_loader": Block({"thirds": thirds, "once": once}, CONSTANT, dsp=lambda _: 8),
    "m3vit_executor": Block({"thirds": thirds, "once": once}, CONSTANT, dsp=lambda _: 3),
    "m3vit_expert_cache": Block(CONSTANT, CONSTANT),
    "m3vit_sequencer": Block(CONSTANT, CONSTANT),
    "m3vit_regs": Block(CONSTANT, CONSTANT),
    "m3vit_counters": Block(CONSTANT, CONSTANT, rams=named("counters")),
    "m3vit_dma_read": Block(
        {"ports": ports, "several ports": several_ports, "once": once}, {"ports": ports, "once": once},
    ),
    "m3vit_dma_write": Block({"ports": ports, "once": once}, {"ports": ports, "once": once}),
    "m3vit_core": Block(CONSTANT, CONSTANT),
}  # fmt: skip
"""Model of every block."""
