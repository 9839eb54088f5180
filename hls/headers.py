# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Text of the C++ files that come from Python: the kernels' contract, a hardware config, the top's interface."""

from collections.abc import Iterable

from m3vit.model.config import MAX_PORTS, UNIT_BYTES, WORD_BYTES, HardwareConfig, MemoryConfig
from m3vit.model.errors import UserError
from m3vit.rtl.package import LICENCE
from m3vit.sim import program, regmap
from m3vit.sim.golden import arith, attention, embed, linear, moe, norm
from m3vit.sim.layout import CHANNEL, STRIPE_BYTES, ceil_div

CONFIG_HEADER = "m3vit_config.h"
"""Written for each design, next to the kernels that include it."""

ARGUMENTS = {
    "task": "TASK",
    "memory": "MEMORY_LO",
    "memory_bytes": "MEMORY_BYTES",
    "source": "SOURCE_LO",
    "result": "RESULT_LO",
    "id": "ID",
    "version": "VERSION",
    "capacity0": "CAPACITY0",
    "capacity1": "CAPACITY1",
    "capacity2": "CAPACITY2",
    "error_code": "ERROR_CODE",
    "ops_done": "OPS_DONE",
}
"""Argument of the top function -> its register."""


def contract_header() -> str:
    """Text of m3vit_contract.h: opcodes, number formats and tables of the golden operators."""
    opcodes = [f"  {_name(op.name)} = {op.value}," for op in program.Opcode]
    memory = MemoryConfig()
    constants = {
        "CheckWord": program.CHECK_WORD, "Operands": program.OPERANDS, "MaxOps": program.MAX_OPS,
        "FirstOpcode": min(program.Opcode), "LastOpcode": max(program.Opcode),
        "Renormalise": int(program.Flag.RENORMALISE), "Experts4bit": int(program.Flag.EXPERTS_4BIT),
        "UnitBytes": UNIT_BYTES, "WordBytes": WORD_BYTES,
        "StripeBytes": STRIPE_BYTES, "Ports": MAX_PORTS, "PortBytes": memory.port_bytes,
        "RecordBytes": CHANNEL.itemsize, "AccBits": arith.ACC_BITS, "MultiplierBits": arith.MULTIPLIER_BITS,
        "MaxShift": arith.MAX_SHIFT, "GeluIndexBits": linear.GELU_INDEX_BITS, "PixelOffset": embed.PIXEL_OFFSET,
        "MaxCoarse": norm.MAX_COARSE, "RsqrtIndexBits": norm.RSQRT_INDEX_BITS, "RsqrtFirst": norm.RSQRT_FIRST,
        "RsqrtFractionBits": norm.RSQRT_FRACTION_BITS, "ProbabilityBits": attention.PROBABILITY_BITS,
        "MantissaBits": attention.MANTISSA_BITS, "MaxScoreShift": attention.MAX_SCORE_SHIFT,
        "LogitFractionBits": moe.LOGIT_FRACTION_BITS, "LogitClipOctaves": moe.LOGIT_CLIP_OCTAVES,
        "GateFractionBits": moe.GATE_FRACTION_BITS, "MaxExperts": moe.MAX_EXPERTS,
    }  # fmt: skip
    return _guarded(
        "M3VIT_CONTRACT_H_",
        [
            "/// \\file",
            "/// What all executors share. Sources: sim/program.py, sim/layout.py, sim/golden, model/config.py.",
            "",
            "#include <cstdint>",
            "",
            "namespace m3vit {",
            "",
            "/// Macro-operations, see sim/program.py Opcode.",
            "enum Opcode {",
            *opcodes,
            "};",
            "",
            *(f"constexpr int k{name} = {value};" for name, value in constants.items()),
            "",
            "/// 2**(i / 256) in Q1.15.",
            *_table("kExp2Mantissa", moe.EXP2_MANTISSA),
            "",
            "/// 2**21 / sqrt(i + 1/2) for i = kRsqrtFirst...",
            *_table("kRsqrtMantissa", norm.RSQRT_MANTISSA),
            "",
            "}  // namespace m3vit",
        ],
    )


def registers_header() -> str:
    """Text of m3vit_regs.h: register map, error codes, and the counters that a C++ kernel can know."""
    constants = (
        ("ID_VALUE", f"0x{regmap.ID_VALUE:08X}", "of ID"),
        ("HARDWARE_VERSION", regmap.HARDWARE_VERSION, "of VERSION [7:0]"),
        ("PROGRAM_VERSION", program.PROGRAM_VERSION, "of VERSION [15:8] and of every operation"),
        ("BACKEND_HLS", regmap.Backend.HLS.value, "of VERSION [23:16]"),
        ("TASK_SLOTS", regmap.TASK_SLOTS, "entries of TASK_TABLE: byte offset of the program, number of operations"),
        ("COUNTER_SLOTS", regmap.COUNTER_SLOTS, "operations in COUNTERS"),
        ("SLOT_WORDS", regmap.SLOT_WORDS, "per operation, see Counter"),
    )
    errors = [(error.name, error.value, text) for error, text in regmap.ERROR_TEXT.items()]
    counters = [(c.name, i, c.meaning) for i, c in enumerate(regmap.COUNTER_WORDS) if c.where == "both"]
    return _guarded(
        "M3VIT_REGS_H_",
        [
            "/// \\file",
            "/// Register map of both accelerators; source: sim/regmap.py, meaning: docs/board.md.",
            "",
            "#include <cstdint>",
            "",
            "// Byte offsets. The first four registers belong to `s_axilite port=return`.",
            *(f"#define M3VIT_REG_{r.name} 0x{r.offset:04X}" for r in regmap.REGISTERS + regmap.TABLES),
            "",
            "namespace m3vit {",
            "",
            *(f"constexpr uint32_t {_name(name)} = {value};  ///< {text}" for name, value, text in constants),
            *_enum("Error", "Codes of ERROR_CODE.", errors),
            *_enum("Counter", "Words of a slot of COUNTERS that the HLS accelerator counts.", counters),
            "",
            "}  // namespace m3vit",
        ],
    )


def config_header(hardware: HardwareConfig) -> str:
    """Text of m3vit_config.h for one hardware config.

    Raises:
        UserError: the weight buffer is too small for the kernels, which load at least two output tiles of a layer.
    """
    check_hardware(hardware)
    fields = {
        "lanes": "output channels in parallel",
        "inputs": "input channels in parallel: bytes of a word of the weight stream",
        "max_tokens": "token capacity",
        "max_dim": "channels per token, and outputs of a head",
        "max_hidden": "hidden channels of an expert or MLP slice",
        "max_top_k": "experts per token",
        "max_block": "query rows per attention block",
        "stream_words": "words of one half of the weight buffer",
    }
    lines = [
        f"  static constexpr int {name} = {getattr(hardware, name)};  ///< {text}" for name, text in fields.items()
    ]
    return _guarded(
        "M3VIT_CONFIG_H_",
        [
            f"/// Hardware config '{hardware.name}' (model/config.py HardwareConfig).",
            "namespace m3vit {",
            "struct Config {",
            *lines,
            "};",
            "}  // namespace m3vit",
        ],
    )


def check_hardware(hardware: HardwareConfig) -> None:
    """Check what hls/kernels/jobs.h asserts: two output tiles of the widest layer fit the weight buffer.

    Raises:
        UserError: they do not.
    """
    records = ceil_div(hardware.lanes * CHANNEL.itemsize, hardware.inputs)
    least = 2 * (records + ceil_div(2 * hardware.max_dim, hardware.inputs) * hardware.lanes)
    if hardware.stream_words < least:
        raise UserError(
            f"hardware '{hardware.name}' has {hardware.stream_words} stream_words, but HLS needs {least}; use "
            "hardware with more, or leave HLS out (verify --no-hls, project --backend rtl)"
        )


def interface_pragmas() -> str:
    """Text of m3vit_interface.inc: the interface pragmas of the top function, their offsets written out.

    The first four registers are what Vitis HLS makes of `port=return` (UG1399, S_AXILITE control register map).
    """
    ports = [
        f"#pragma HLS INTERFACE m_axi port = hp{port} bundle = hp{port} offset = off max_widen_bitwidth = 128 "
        "num_read_outstanding = 16 max_read_burst_length = 16"
        for port in range(MAX_PORTS)
    ]
    registers = [
        f"#pragma HLS INTERFACE s_axilite port = {argument} bundle = ctrl offset = 0x{offset:04X}"
        for argument, offset in argument_offsets().items()
    ]
    return (
        LICENCE + "\n".join([*ports, *registers, "#pragma HLS INTERFACE s_axilite port = return bundle = ctrl"]) + "\n"
    )


def argument_offsets() -> dict[str, int]:
    """Byte offset of the register of each argument of the top function; 64-bit ones begin with their lower half."""
    return {argument: regmap.OFFSET[register] for argument, register in ARGUMENTS.items()} | {
        "task_table": regmap.TASK_TABLE,
        "counters": regmap.COUNTERS,
    }


def _name(text: str) -> str:
    return "k" + "".join(word.capitalize() for word in text.split("_"))


def _enum(name: str, meaning: str, items: list[tuple[str, int, str]]) -> list[str]:
    rows = [f"  {_name(item)} = {value},  ///< {text}" for item, value, text in items]
    return ["", f"/// {meaning}", f"enum class {name} : uint32_t {{", *rows, "};"]


def _table(name: str, values: Iterable[int]) -> list[str]:
    numbers = [str(int(value)) for value in values]
    rows = [", ".join(numbers[i : i + 16]) for i in range(0, len(numbers), 16)]
    return [f"constexpr uint16_t {name}[{len(numbers)}] = {{", *(f"    {row}," for row in rows), "};"]


def _guarded(guard: str, lines: list[str]) -> str:
    return LICENCE + "\n".join([f"#ifndef {guard}", f"#define {guard}", "", *lines, "", f"#endif  // {guard}"]) + "\n"
