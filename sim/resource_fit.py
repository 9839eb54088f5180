# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Fits the resource model to Yosys' counts: `python -m m3vit.sim.resource_fit`.

Counts what is missing of the designs in sim/resource_samples.py (hours from nothing; a run that is cut short goes on
where it stopped, and changed RTL costs its blocks only), fits LUTs and flip-flops of every block to the designs for
training, writes resource_fit.json, and prints the errors. Coefficients are not negative, and errors are weighed
relatively, so that a small instance counts as much as a large one.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Literal

import numpy as np
from scipy.optimize import nnls

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError, write_atomically
from m3vit.sim.resource_blocks import MODELS, shape
from m3vit.sim.resource_samples import HELD_OUT, TRAINING, Sample, committed, held_out, refresh, training
from m3vit.sim.resources import FIT, block_cells, coefficients, estimate
from m3vit.sim.synthesis import BLOCKS, Cells, Record, fingerprint

Kind = Literal["lut", "ff"]
KINDS: tuple[Kind, ...] = ("lut", "ff")
EXACT = ("dsp", "bram36", "uram")


def fit_block(samples: list[Sample], kind: Kind) -> dict[str, float]:
    """Coefficients of one block's features.

    Args:
        samples: counts of the block.
        kind: LUTs or flip-flops.
    """
    shapes = [shape(sample.module, sample.hardware) for sample in samples]
    features = [getattr(made, kind) for made in shapes]
    counts = np.array([getattr(sample.cells, kind) for sample in samples], dtype=np.float64)
    known = np.array([getattr(made.known, kind) for made in shapes], dtype=np.float64)
    matrix = np.array([list(sizes.values()) for sizes in features], dtype=np.float64)
    solution, _ = nnls(matrix / counts[:, None], (counts - known) / counts)
    return {name: round(float(value), 4) for name, value in zip(features[0], solution, strict=True)}


def fit(samples: Iterable[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Coefficient by block, LUTs or flip-flops, and feature.

    Raises:
        UserError: a block has no counts of the present RTL. (SciPy before 1.18 crashes on no rows, its issue 24861.)
    """
    by_block: dict[str, list[Sample]] = {module: [] for module in MODELS}
    for sample in samples:
        by_block[sample.module].append(sample)
    if missing := [module for module, some in by_block.items() if not some]:
        raise UserError(f"there are no counts of {', '.join(missing)} as the RTL is now; run `make synthesis` first")
    return {module: {kind: fit_block(some, kind) for kind in KINDS} for module, some in by_block.items()}


def write(known: dict[str, Record]) -> None:
    """Fit the model to the counts for training and rewrite resource_fit.json."""
    tree = {
        "source": f"fitted by python -m m3vit.sim.resource_fit to counts of {tools(known)}",
        "training": [each.hardware.name for each in TRAINING],
        "held_out": [each.hardware.name for each in HELD_OUT],
        "blocks": fit(training(known)),
    }
    write_atomically(FIT, (json.dumps(tree, indent=1) + "\n").encode())
    coefficients.cache_clear()


def tools(known: dict[str, Record]) -> str:
    """Synthesisers that counted, with their versions."""
    return ", ".join(sorted({record.tool for record in known.values()}))


def counted(hardware: HardwareConfig, known: dict[str, Record]) -> Cells:
    """Counts of a whole accelerator.

    Raises:
        KeyError: a block has not been counted.
    """
    blocks = (known[fingerprint(module, hardware)].cells.times(block.copies(hardware))
              for module, block in MODELS.items())  # fmt: skip
    return sum(blocks, Cells())


def errors(samples: Iterable[Sample], kind: Kind) -> list[float]:
    """Relative errors of the model."""
    return [
        getattr(block_cells(sample.module, sample.hardware), kind) / getattr(sample.cells, kind) - 1
        for sample in samples
    ]


def wrong(samples: Iterable[Sample]) -> int:
    """Samples in which DSPs or RAMs differ from Yosys' count."""
    return sum(
        any(getattr(block_cells(each.module, each.hardware), name) != getattr(each.cells, name) for name in EXACT)
        for each in samples
    )


def block_lines(known: dict[str, Record]) -> Iterator[str]:
    """Errors of each block."""
    yield f"{'':32}{'counts':>9}{'DSP, RAM':>10}{'LUT, largest error':>22}{'FF, largest error':>22}"
    yield f"{'fitted + held out':>41}{'wrong':>10}" + f"{'fitted':>11}{'held out':>11}" * 2
    samples = training(known), held_out(known)
    for module, title in BLOCKS.items():
        fitted, held = ([sample for sample in some if sample.module == module] for some in samples)
        worst = [largest(errors(some, kind)) for kind in KINDS for some in (fitted, held)]
        yield f"{title:32}{len(fitted):>5} +{len(held):>2}{wrong([*fitted, *held]):>10}" + "".join(worst)


def largest(some: list[float]) -> str:
    """The error of the largest size, in percent."""
    return f"{100 * max(some, key=abs):>+10.1f}%" if some else f"{'':>11}"


def design_lines(known: dict[str, Record]) -> Iterator[str]:
    """Errors of whole accelerators, all blocks together."""
    yield f"{'':12}" + "".join(f"{name:>10}{'model':>10}{'':>7}" for name in ("DSP", "BRAM36", "URAM", "LUT", "FF"))
    for title, designs in (("fitted", TRAINING), ("held out", HELD_OUT)):
        yield f"{title}:"
        for each in designs:
            if len(each.blocks) < len(BLOCKS):
                continue
            count, model = asdict(counted(each.hardware, known)), asdict(estimate(each.hardware))
            yield f"{each.hardware.name:12}" + "".join(
                f"{value:>10g}{model[name]:>10g}{100 * (model[name] / value - 1):>+6.1f}%"
                for name, value in count.items()
            )


def main() -> None:
    """Count, fit, write, print."""
    refresh(lambda sentence: print(sentence, flush=True))
    known = committed()
    write(known)
    print(*block_lines(known), "", *design_lines(known), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"m3vit: {error}")
