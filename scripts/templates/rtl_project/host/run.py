# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Self-test on a board: runs one Mixture-of-Experts operation of every task and compares it with the golden integers.

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
    index = int(data["op"])
    result_ND = accelerator.run_moe(vector.stem, index, data["x"], data["residual"])
    wrong = int(np.count_nonzero(result_ND != data["expected"]))
    print(f"{vector.stem}: operation {index}, {wrong} of {result_ND.size} integers differ")
    print(f"  {accelerator.counters(index)}")
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
