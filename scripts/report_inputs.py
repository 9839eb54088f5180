# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Reads what a report is made of."""

from pathlib import Path

from m3vit.sim.energy import load_constants
from m3vit.sim.pathway import read_pathways
from m3vit.sim.report import Inputs, image_sha256
from m3vit.sim.results import RESULTS, check_results, read_results


def read_inputs(folder: Path, energy_constants: Path | None) -> Inputs:
    """Read everything that a report is made of.

    Raises:
        UserError: the pathways, the results or the constants are damaged.
    """
    pathways = read_pathways(folder)
    results = read_results(folder / RESULTS)
    stale = results is not None and results.image_sha256 != image_sha256(pathways)
    if results is not None and not stale:
        check_results(results, pathways, folder / RESULTS)
    return Inputs(pathways, None if stale else results, stale, load_constants(energy_constants), folder)
