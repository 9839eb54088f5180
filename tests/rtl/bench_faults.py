# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Every fault that the accelerator must report instead of hanging, through the host driver."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from m3vit.sim.driver import AcceleratorError
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import CHECK_WORD, Op, Opcode
from m3vit.sim.regmap import Error, Status, task_entry
from rtl.frames import DRAM_BYTES, HARDWARE
from rtl.host import FRAME, WORD, Host, on_host

SOON = 5_000
"""Cycles within which a fault must be reported that needs no computation."""
BEYOND = DRAM_BYTES + (1 << 20)
"""Address behind the end of the DRAM."""


@dataclass(frozen=True)
class Fault:
    """What is wrong and what the accelerator must say."""

    name: str
    error: Error
    op: bytes | None = None
    registers: dict[str, int] = field(default_factory=dict)
    limit: int = SOON


def reseal(words: list[int]) -> bytes:
    """Encode an operation from raw words with a right checksum."""
    check = CHECK_WORD
    for word in words[:15]:
        check ^= word
    return b"".join(word.to_bytes(4, "little") for word in [*words[:15], check])


def operation_faults(op: Op) -> Iterator[Fault]:
    """Operations that are damaged, of another version, or of another kind."""
    words = op.words()
    yield Fault("checksum", Error.OPERATION, bytes([*op.encode()[:-1], op.encode()[-1] ^ 0x80]))
    for word in range(15):
        damaged = [value ^ (1 << 7 if index == word else 0) for index, value in enumerate(words)]
        yield Fault(f"bit in word {word}", Error.OPERATION, b"".join(value.to_bytes(4, "little") for value in damaged))
    for version in (0, 2, 255):
        yield Fault(f"version {version}", Error.OPERATION, reseal([words[0] & 0xFFFFFF | version << 24, *words[1:]]))
    for opcode in (0, 9, 99, 255):
        yield Fault(f"opcode {opcode}", Error.UNSUPPORTED, reseal([words[0] & ~0xFF | opcode, *words[1:]]))
    yield Fault("not in this hardware", Error.UNSUPPORTED, replace(op, opcode=Opcode.MLP).encode())


def shape_faults(op: Op) -> Iterator[Fault]:
    """Every size at zero, just beyond the capacity, at its largest, and not a multiple of what it must be."""
    sizes: dict[str, tuple[int, ...]] = {
        "rows": (0, HARDWARE.max_tokens + 1, 0xFFFF),
        "in_features": (0, 32, HARDWARE.max_dim + 8, HARDWARE.max_dim + 64, 0xFFC0),
        "out_features": (0, 32, 72, HARDWARE.max_hidden + 64, 0xFFC0),
        "experts": (0, op.top_k - 1, 1025, 0xFFFF),
        "top_k": (0, HARDWARE.max_top_k + 1, 255),
    }
    for name, values in sizes.items():
        for value in values:
            changed: dict[str, Any] = {name: value} | ({"experts": 1024} if name == "top_k" else {})
            yield Fault(f"{name} {value}", Error.SHAPE, replace(op, **changed).encode())
    yield Fault("top_k beyond experts", Error.SHAPE, replace(op, top_k=8, experts=7).encode())


def address_faults(op: Op, image_bytes: int) -> Iterator[Fault]:
    """Offsets behind the image, across its end, and not aligned to words; memory that does not answer."""
    end = image_bytes
    for name, early in (("weights", True), ("table", True), ("expert_base", False)):
        limit = SOON if early else FRAME
        for value in (end, end - WORD, 0xFFFFFFC0, getattr(op, name) + 4):
            moved: dict[str, Any] = {name: value}
            yield Fault(f"{name} {value}", Error.ADDRESS, replace(op, **moved).encode(), limit=limit)
    yield Fault("stride", Error.ADDRESS, replace(op, expert_stride=end, expert_base=WORD).encode(), limit=FRAME)
    yield Fault("image of no bytes", Error.ADDRESS, registers={"MEMORY_BYTES": 0})
    yield Fault("image cut inside the router", Error.ADDRESS, registers={"MEMORY_BYTES": op.weights + WORD})
    yield Fault("source", Error.AXI_READ, registers={"SOURCE_LO": BEYOND})
    yield Fault("source, high bits", Error.AXI_READ, registers={"SOURCE_HI": 0xFF})
    yield Fault("source across the end", Error.AXI_READ, registers={"SOURCE_LO": DRAM_BYTES - 1024})
    yield Fault("image", Error.AXI_READ, registers={"MEMORY_LO": BEYOND})
    yield Fault("result", Error.AXI_WRITE, registers={"RESULT_LO": BEYOND}, limit=FRAME)
    yield Fault("result across the end", Error.AXI_WRITE, registers={"RESULT_LO": DRAM_BYTES - 4096}, limit=FRAME)


def task_faults(pathway: Pathway) -> Iterator[Fault]:
    """Tasks and ranges that do not exist."""
    count = len(pathway.program)
    for task in (3, 15, 16, 17, 0xFFFFFFFF):  # empty slots, and slots that do not exist
        yield Fault(f"task {task}", Error.TASK, registers={"TASK": task})
    for first, ops in ((count, 1), (count, 0), (0, count + 1), (1, count), (0xFFFF, 1), (0xFFFF, 0xFFFF)):
        yield Fault(f"operations {first} + {ops}", Error.TASK, registers={"FIRST_OP": first, "OP_COUNT": ops})


@on_host
def faults(host: Host) -> None:
    """Each fault is reported with its code, in time, with an interrupt, and the next frame is exact."""
    op, pathway, seen = host.pathway.program[0], host.pathway, set()
    host.clean()
    all_faults = [
        *operation_faults(op), *shape_faults(op), *address_faults(op, pathway.image.size), *task_faults(pathway),
    ]  # fmt: skip
    for number, fault in enumerate(all_faults):
        check_fault(host, fault, op)
        seen.add(fault.error)
        host.clean(seed=number % 3)
    assert seen == set(Error) - {Error.NONE}


def check_fault(host: Host, fault: Fault, op: Op) -> None:
    """Provoke a fault on top of the registers of the frame before, and mend it again."""
    before = {name: host.read(name) for name in fault.registers}
    if fault.op is not None:
        host.poke_operation(fault.op)
    for name, value in fault.registers.items():
        host.write(name, value)
    host.start()
    host.until_interrupt(fault.limit)
    got = (host.status(), Error(host.read("ERROR_CODE")))
    assert got == (Status.ERROR, fault.error), f"{fault.name}: {got}, expected {fault.error!r}"
    assert host.read("OPS_DONE") == 0
    assert host.read("RUN_CYCLES") <= fault.limit, fault.name
    for name, value in before.items():
        host.write(name, value)
    host.poke_operation(op.encode())


@on_host
def driver_reports_the_code(host: Host) -> None:
    """The driver turns an error into an exception with its code."""
    step, _ = host.clean()
    host.accelerator._registers.write(task_entry(0) + 4, 0)  # task table: no program
    with pytest.raises(AcceleratorError) as caught:
        host.clean()
    assert caught.value.code is Error.TASK
    host.load("base")
    host.clean()
    assert step.queues
