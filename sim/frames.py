# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Runs inside the simulator: drives the accelerator through the host driver, one MoE operation per case, and compares.

Started by `m3vit.sim.verification`; reads CASES, appends one JSON line per case to OUTCOME.
"""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from m3vit.sim import cosim
from m3vit.sim.driver import Accelerator

PATHWAY_VARIABLE = "M3VIT_PATHWAY"
CASES_VARIABLE = "M3VIT_CASES"
OUTCOME_VARIABLE = "M3VIT_OUTCOME"
SECONDS = 1.0
"""Limit of simulated time per operation, far beyond any real run."""


def run_case(accelerator: Accelerator, cases: Any, index: int) -> dict[str, Any]:
    """Run one case; its counters, and the elements in which it differs from golden."""
    task, op = str(cases["task"][index]), int(cases["op"][index])
    expected_ND = cases[f"expected{index}"]
    start = time.perf_counter()
    result_ND = accelerator.run_moe(task, op, cases[f"x{index}"], cases[f"residual{index}"], timeout=SECONDS)
    seconds = time.perf_counter() - start
    return {
        "case": index,
        "seconds": seconds,
        "elements": int(expected_ND.size),
        "mismatches": int(np.count_nonzero(result_ND != expected_ND)),
        **asdict(accelerator.counters(op)),
        "run_cycles": accelerator.run_cycles(),
    }


@cocotb.test()
async def frames(dut: Any) -> None:
    """Every case of the schedule in turn."""
    await cosim.reset(dut)
    accelerator, _ = cosim.connect(dut)

    def host() -> None:
        cases = np.load(os.environ[CASES_VARIABLE])
        accelerator.load(os.environ[PATHWAY_VARIABLE])
        accelerator.enable_interrupt()
        with Path(os.environ[OUTCOME_VARIABLE]).open("a") as outcome:
            for index in cases["schedule"]:
                print(json.dumps(run_case(accelerator, cases, int(index))), file=outcome, flush=True)

    await cocotb.task.bridge(host)()
