# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Self-test on a board: runs a whole frame of every task and compares the result with the golden integers.

Usage: python3 run.py [m3vit.bit]   (as root, PYNQ needs that). Exit code 0 if every integer is equal.
"""

import sys
from pathlib import Path

import numpy as np

from m3vit.sim.driver import Accelerator, AcceleratorError

HERE = Path(__file__).resolve().parent


def check_task(accelerator: Accelerator, vector: Path) -> bool:
    """Run the vector of one task and print what came out."""
    data = np.load(vector)
    result_RC = accelerator.run(vector.stem, data["source"])
    wrong = int(np.count_nonzero(result_RC != data["expected"]))
    cycles = accelerator.run_cycles()  # 0 if the accelerator does not count them
    print(f"{vector.stem}: {wrong} of {result_RC.size} integers differ" + (f", {cycles} cycles" if cycles else ""))
    return wrong == 0


def main() -> int:
    """Configure the FPGA, load the pathway, test every task."""
    bitstream = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "output" / "m3vit.bit"
    try:
        accelerator = Accelerator.from_overlay(bitstream)
        accelerator.load(HERE.parent / "pathway")
        passed = [check_task(accelerator, vector) for vector in sorted((HERE / "vectors").glob("*.npz"))]
        accelerator.close()
    except AcceleratorError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    print("all equal" if all(passed) else "NOT equal")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
