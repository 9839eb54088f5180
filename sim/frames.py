# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Runs inside the simulator: drives the accelerator through the host driver, one whole frame per case, and compares.

Started by `m3vit.sim.verification`; reads CASES, appends one JSON line per frame to OUTCOME.
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
from m3vit.sim.driver import Accelerator, Mode

PATHWAY_VARIABLE = "M3VIT_PATHWAY"
CASES_VARIABLE = "M3VIT_CASES"
OUTCOME_VARIABLE = "M3VIT_OUTCOME"
SECONDS = 10.0
"""Limit of simulated time per frame (10^9 cycles), far beyond any real run."""


def run_case(accelerator: Accelerator, cases: Any, index: int) -> dict[str, Any]:
    """Run one frame; its counters, and the elements in which it differs from golden."""
    task = str(cases["task"][index])
    expected_RC = cases[f"expected{index}"]
    start = time.perf_counter()
    result_RC = accelerator.run(task, cases[f"source{index}"], timeout=SECONDS)
    seconds = time.perf_counter() - start
    return {
        "case": index,
        "seconds": seconds,
        "elements": int(expected_RC.size),
        "mismatches": int(np.count_nonzero(result_RC != expected_RC)),
        "cycles": accelerator.run_cycles(),
        "ops": [asdict(accelerator.counters(op)) for op in range(accelerator.image.task(task).operations)],
    }


@cocotb.test()
async def frames(dut: Any) -> None:
    """Every case of the schedule in turn."""
    await cosim.reset(dut)
    accelerator, dram = cosim.connect(dut)

    def host() -> None:
        cases = np.load(os.environ[CASES_VARIABLE])
        dram.order(stall_percent=int(cases["stall_percent"]))
        accelerator.load(os.environ[PATHWAY_VARIABLE])
        accelerator.mode = Mode(int(cases["mode"]))
        accelerator.enable_interrupt()
        with Path(os.environ[OUTCOME_VARIABLE]).open("a") as outcome:
            for index in cases["schedule"]:
                print(json.dumps(run_case(accelerator, cases, int(index))), file=outcome, flush=True)

    await cocotb.task.bridge(host)()
