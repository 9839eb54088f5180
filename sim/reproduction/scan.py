# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Which way of counting would give the published FLOPs of the ResNets: every combination of what papers differ in.

A published column that is right in itself was counted in one way. The scan counts all rows in many ways and says how
many rows each way brings within the limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import get_args

from m3vit.model.baselines.backbone import Depth, OutputStride
from m3vit.model.baselines.counts import FLOPS_PER_MAC, GIGA, NETWORKS, Decoded, network_macs
from m3vit.model.baselines.datasets import NYUD, PASCAL
from m3vit.model.baselines.heads import MakeHead, deeplab, fcn
from m3vit.sim.reproduction.figures import LIMIT_PERCENT
from m3vit.sim.reproduction.network_tables import Case

HEADS: dict[str, MakeHead] = {"DeepLabV3": deeplab, "FCN": fcn}
SIZES = (PASCAL.image_hw, NYUD.image_hw)


@dataclass(frozen=True)
class Way:
    """A way of counting.

    Attributes:
        depth: of the ResNets.
        output_stride: of the ResNets.
        head: kind of decoder, a key of HEADS.
        image_hw: input size in pixels.
        decoded: whose decoders run.
        flops_per_mac: operations counted per multiply-accumulate.
    """

    depth: Depth
    output_stride: OutputStride
    head: str
    image_hw: tuple[int, int]
    decoded: Decoded
    flops_per_mac: int

    def text(self) -> str:
        """In words."""
        height, width = self.image_hw
        return (
            f"ResNet-{self.depth}, output stride {self.output_stride}, {self.head}, {height} x {width}, decoders: "
            f"{self.decoded}, {self.flops_per_mac} FLOP per MAC"
        )


@dataclass(frozen=True)
class Fit:
    """What a way of counting gives: 10^9 operations by the key of the row, and the rows within the limit."""

    way: Way
    gflops: dict[str, float]
    rows: tuple[str, ...]


def ways() -> Iterator[Way]:
    """All combinations."""
    operations = (1, FLOPS_PER_MAC)
    for values in product(get_args(Depth), get_args(OutputStride), HEADS, SIZES, get_args(Decoded), operations):
        yield Way(*values)


def scan(case: Case, tried: Sequence[Way]) -> list[Fit]:
    """Count a table's rows on ResNets in many ways; the ways that fit most rows come first, those that fit none last.

    Args:
        case: the table.
        tried: ways of counting.
    """
    macs: dict[Way, dict[str, int]] = {}
    for way in {replace(way, flops_per_mac=1): None for way in tried}:
        macs[way] = _count(case, way)
    fits = [_fit(case, way, macs[replace(way, flops_per_mac=1)]) for way in tried]
    return sorted(fits, key=lambda fit: -len(fit.rows))


def _count(case: Case, way: Way) -> dict[str, int]:
    dataset = replace(case.dataset, image_hw=way.image_hw)
    keys = [row.key for row in case.published.rows if row.key in NETWORKS]
    head = HEADS[way.head]
    return {key: network_macs(key, dataset, way.depth, way.decoded, head, way.output_stride) for key in keys}


def _fit(case: Case, way: Way, macs: dict[str, int]) -> Fit:
    gflops = {key: way.flops_per_mac * value / GIGA for key, value in macs.items()}
    close = {key: abs(value / case.published.row(key).gflops - 1) for key, value in gflops.items()}
    return Fit(way, gflops, tuple(key for key, error in close.items() if 100 * error <= LIMIT_PERCENT))
