# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Every HLS operator equals its golden function in every element: unoptimised, optimised and under sanitizers.

The operators are compiled into a library for each set of flags; sanitised code cannot be loaded into Python, so whole
frames are what runs under them (test_csim.py).
"""

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from m3vit.hls.csim import OPTIMISED, UNOPTIMISED, compile_kernels
from m3vit.model.config import DEMO, HARDWARE, HardwareConfig
from m3vit.sim import synthetic
from m3vit.sim.golden import arith, attention, moe, norm
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import expert_words
from m3vit.sim.regmap import Error

UNITS = Path(__file__).parent / "units.cpp"
CONFIGS = {"demo": HARDWARE["demo"], "96 inputs": HARDWARE["demo"].model_copy(update={"groups": 3, "lanes": 16})}
Ints = npt.NDArray[np.int64]


@pytest.fixture(scope="module", params=[UNOPTIMISED, OPTIMISED], ids=lambda flags: flags[0])
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    flags: tuple[str, ...] = request.param
    return flags


class Units:
    """The operators as functions on arrays."""

    def __init__(self, hardware: HardwareConfig, flags: tuple[str, ...]) -> None:
        self.hardware = hardware
        self._library = ctypes.CDLL(str(compile_kernels(hardware, [UNITS], "units.so", (*flags, "-shared", "-fPIC"))))

    def __call__(self, name: str, *arguments: Any) -> int:
        """Call `unit_NAME`; arrays go as pointers, numbers as 32-bit integers unless they are ctypes already."""
        values = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
        return int(getattr(self._library, f"unit_{name}")(*values))


@pytest.fixture(scope="module", params=CONFIGS)
def units(request: pytest.FixtureRequest, flags: tuple[str, ...]) -> Units:
    return Units(CONFIGS[request.param], flags)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def edges(rng: np.random.Generator, bits: int, count: int = 2000) -> Ints:
    """Signed values of `bits` bits: small ones, both ends, and random ones of every magnitude."""
    high = (1 << (bits - 1)) - 1
    ends = np.array([-high - 1, -high, high - 1, high], np.int64)
    scaled = rng.integers(-high - 1, high, count, np.int64, endpoint=True) >> rng.integers(0, bits, count)
    return np.concatenate([np.arange(-300, 300), ends, scaled]).astype(np.int64)


def test_round_half_up_shift(units: Units, rng: np.random.Generator) -> None:
    x = np.tile(edges(rng, 43, 200), arith.MAX_SHIFT + 1)
    shift = np.repeat(np.arange(arith.MAX_SHIFT + 1, dtype=np.uint8), x.size // (arith.MAX_SHIFT + 1))
    x[::3] = np.clip(
        (x[::3] >> 20 << shift[::3]) + ((np.int64(1) << shift[::3]) >> 1), -(1 << 42), (1 << 42) - 1
    )  # ties
    y = np.empty_like(x)
    units("round_half_up_shift", x, shift, y, x.size)
    np.testing.assert_array_equal(y, arith.round_half_up_shift(x, shift))


def test_saturate(units: Units, rng: np.random.Generator) -> None:
    x = np.concatenate([edges(rng, 44), np.arange(-33000, 33000)])
    y8, y16 = np.empty_like(x), np.empty_like(x)
    units("saturate", x, y8, y16, x.size)
    np.testing.assert_array_equal(y8, arith.saturate(x, 8))
    np.testing.assert_array_equal(y16, arith.saturate(x, 16))


def test_requantise(units: Units, rng: np.random.Generator) -> None:
    acc = np.tile(edges(rng, arith.ACC_BITS), 20)
    multiplier = rng.integers(0, 1 << arith.MULTIPLIER_BITS, acc.size).astype(np.uint16)
    shift = rng.integers(1, arith.MAX_SHIFT, acc.size, endpoint=True).astype(np.uint8)
    results = [np.empty_like(acc) for _ in range(3)]
    units("requantise", acc, multiplier, shift, *results, acc.size)
    for bits, result in zip((8, 10, 16), results, strict=True):
        np.testing.assert_array_equal(result, arith.requantise(acc, multiplier, shift, bits))


def test_rsqrt(units: Units, rng: np.random.Generator) -> None:
    powers = (np.int64(1) << np.arange(50)).repeat(3) + np.tile([-1, 0, 1], 50)
    variance = np.concatenate([np.arange(10000), powers, rng.integers(0, 1 << 50, 10000)])
    mantissa, exponent = np.empty_like(variance), np.empty_like(variance)
    units("rsqrt", variance, mantissa, exponent, variance.size)
    expected = norm.rsqrt(variance)
    np.testing.assert_array_equal(mantissa, expected[0])
    np.testing.assert_array_equal(exponent, expected[1])


def test_reciprocal(units: Units, rng: np.random.Generator) -> None:
    total = np.concatenate([np.arange(1, 5000), rng.integers(1, 255 * attention.MAX_TOKENS, 5000)])
    mantissa, exponent = np.empty_like(total), np.empty_like(total)
    units("reciprocal", total, mantissa, exponent, total.size)
    expected = attention.reciprocal(total)
    np.testing.assert_array_equal(mantissa, expected[0])
    np.testing.assert_array_equal(exponent, expected[1])


def test_fold_multiplier(units: Units, rng: np.random.Generator) -> None:
    mantissa, multiplier = rng.integers(0, 1 << 16, (2, 5000)).astype(np.uint16)
    mantissa[:4] = multiplier[:2] = 65535
    y = np.empty(5000, np.int64)
    units("fold_multiplier", mantissa, multiplier, y, y.size)
    expected = np.array([norm.fold_multiplier(a, int(b)) for a, b in zip(mantissa, multiplier, strict=True)])
    np.testing.assert_array_equal(y, expected & 0xFFFF)


def test_exp2_fixed_and_probability(units: Units) -> None:
    logit = np.arange(-32768, 32768).astype(np.int16)
    power = np.empty(logit.size, np.int64)
    units("exp2_fixed", logit, power, logit.size)
    np.testing.assert_array_equal(power, moe.exp2_fixed(logit))
    below = -np.arange(65536)
    p = np.empty_like(below)
    units("probability", below, p, below.size)
    np.testing.assert_array_equal(p, attention.probabilities(np.stack([np.zeros_like(below), below]).T)[:, 1])


@pytest.mark.parametrize("spread", [1, 300, 32767])
def test_layer_norm(units: Units, rng: np.random.Generator, spread: int) -> None:
    rows, dim = 40, 96
    residual = rng.integers(-spread, spread, (rows, dim), endpoint=True).astype(np.int16)
    residual[0], residual[1] = 5, np.where(np.arange(dim) % 2, 32767, -32768)
    coarse = rng.integers(0, norm.MAX_COARSE, dim, endpoint=True).astype(np.uint8)
    for multiplier, shift in ((40000, 12), (65535, 1), (32768, norm.MAX_ROW_SHIFT)):
        y = np.empty((rows, dim), np.int8)
        units("layer_norm", residual, coarse, rows, dim, multiplier, shift, y)
        np.testing.assert_array_equal(y, norm.layer_norm(residual, norm.Norm(norm.Requant(multiplier, shift), coarse)))


@pytest.mark.parametrize("tokens", [2, 31, 32, 33, 80])
def test_softmax(units: Units, rng: np.random.Generator, tokens: int) -> None:
    score = rng.integers(-3000, 3000, (20, tokens)).astype(np.int16)
    score[0], score[1] = -32768, np.where(np.arange(tokens) == 1, 32767, -32768)
    y = np.empty(score.shape, np.int64)
    units("softmax", score, 20, tokens, y)
    np.testing.assert_array_equal(y, attention.probabilities(score))


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize(("experts", "k"), [(1, 1), (8, 2), (16, 4), (50, 8), (1024, 3)])
def test_route(units: Units, rng: np.random.Generator, experts: int, k: int, renormalise: bool) -> None:
    rows = 80
    logit = rng.integers(-600, 600, (rows, experts)).astype(np.int16)
    logit[::2] //= 200  # many ties
    logit[0], logit[1] = -32768, 32767
    chosen, gate, token, queue_gate = (np.empty(rows * k, np.int64) for _ in range(4))
    used, first = np.empty(rows * k, np.int64), np.empty(rows * k + 1, np.int64)
    count = units("route", logit, rows, experts, k, int(renormalise), chosen, gate, used, first, token, queue_gate)
    expert_NK = moe.top_k(logit, k)
    gate_NK = moe.gates(logit, expert_NK, renormalise)
    np.testing.assert_array_equal(chosen.reshape(rows, k), expert_NK)
    np.testing.assert_array_equal(gate.reshape(rows, k), gate_NK)
    queues = moe.token_queues(expert_NK, gate_NK)
    assert used[:count].tolist() == [queue.expert for queue in queues]
    for i, queue in enumerate(queues):
        np.testing.assert_array_equal(token[first[i] : first[i + 1]], queue.token_Q)
        np.testing.assert_array_equal(queue_gate[first[i] : first[i + 1]], queue.gate_Q)
    assert first[count] == rows * k


@pytest.mark.parametrize("address", [0, 64, 192, 256, 960, 1024 + 320])
def test_weight_stream(units: Units, rng: np.random.Generator, address: int) -> None:
    memory = rng.integers(-128, 127, 1 << 14).astype(np.int8)
    for words in (1, 2, 3, 17, 100):
        y = np.empty((words, units.hardware.inputs), np.int8)
        units("stream", memory, ctypes.c_uint64(address), words, y)
        np.testing.assert_array_equal(y.reshape(-1), memory[address : address + y.size])


def test_pixels(units: Units, rng: np.random.Generator) -> None:
    memory = rng.integers(-128, 127, 1 << 14).astype(np.int8)
    for pixels in (1, 21, 22, 64, 65, 3000):
        y = np.empty(3 * pixels, np.uint8)
        units("pixels", memory, ctypes.c_uint64(1024), pixels, y)
        np.testing.assert_array_equal(y, memory[1024 : 1024 + y.size].view(np.uint8))


def verdict(units: Units, program: list[Op], memory_bytes: int) -> Error:
    data = np.frombuffer(b"".join(op.encode() for op in program), np.int8).copy()
    data = np.concatenate([data, np.zeros(1024, np.int8)])
    return Error(units("read_program", data, len(program), memory_bytes))


def test_program_errors(units: Units) -> None:
    """Each kind of error of a program; tests/hls/test_boards.py compares many more with the RTL."""
    sizes = {"dim": 96, "heads": 3, "expert_hidden": units.hardware.inputs, "mlp_hidden": 2 * units.hardware.inputs}
    pathway = synthetic.random_pathways(DEMO.model.model_copy(update=sizes), units.hardware).first
    program = list(pathway.program)
    size = pathway.image.size
    assert verdict(units, program, size) is Error.NONE
    assert verdict(units, program[:-1], size) is Error.OPERATION
    assert verdict(units, program[1:], size) is Error.OPERATION
    wide = Op(**(vars(program[1]) | {"in_features": 4096}))
    assert verdict(units, [program[0], wide, *program[2:]], size) is Error.SHAPE
    assert verdict(units, program, size // 2) is Error.ADDRESS
    moe_op = next(i for i, op in enumerate(program) if op.opcode is Opcode.MOE)
    far = Op(**(vars(program[moe_op]) | {"expert_base": program[moe_op].expert_base + 32}))
    assert verdict(units, [*program[:moe_op], far, *program[moe_op + 1 :]], size) is Error.ADDRESS


def test_strides_of_experts_are_whole_words(units: Units) -> None:
    sizes = {"dim": 96, "heads": 3, "expert_hidden": units.hardware.inputs, "mlp_hidden": 2 * units.hardware.inputs}
    pathway = synthetic.random_pathways(DEMO.model.model_copy(update=sizes), units.hardware).first
    for opcode in (Opcode.MOE, Opcode.MLP):
        place = next(i for i, op in enumerate(pathway.program) if op.opcode is opcode)
        op = replace(pathway.program[place], expert_stride=pathway.program[place].expert_stride - 32)
        program = [*pathway.program[:place], op, *pathway.program[place + 1 :]]
        assert verdict(units, program, pathway.image.size) is Error.ADDRESS


def test_rows_of_all_operations_must_be_those_of_the_image(units: Units) -> None:
    sizes = {"dim": 96, "heads": 3, "expert_hidden": units.hardware.inputs, "mlp_hidden": 2 * units.hardware.inputs}
    pathway = synthetic.random_pathways(DEMO.model.model_copy(update=sizes), units.hardware).first
    fewer = [replace(op, rows=op.rows - 1) for op in pathway.program]
    assert verdict(units, fewer, pathway.image.size) is Error.SHAPE


def test_an_expert_must_fit_half_the_weight_buffer(units: Units) -> None:
    """The RTL streams larger ones; here they would be written beyond the buffer."""
    hardware = units.hardware
    dim, hidden = hardware.max_dim, hardware.max_hidden // hardware.inputs * hardware.inputs
    program = [
        Op(opcode=Opcode.LOAD, rows=2, in_features=dim),
        Op(opcode=Opcode.LAYER_NORM, rows=2, in_features=dim, operands=(1, 1)),
        Op(opcode=Opcode.MLP, rows=2, in_features=dim, out_features=hidden, experts=1),
        Op(opcode=Opcode.STORE, rows=2, out_features=dim),
    ]
    fits = expert_words(dim, hidden, hardware) <= hardware.stream_words
    assert verdict(units, program, 1 << 20) is (Error.NONE if fits else Error.SHAPE)
    assert fits == (hardware.groups == 3)
