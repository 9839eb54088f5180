# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Line, branch and toggle coverage of the RTL, from the counts that Verilator writes.

A counts file has a line `C 'KEY=VALUE...' COUNT` for every point, with control characters as separators. Keys: f file,
l line, n column, t kind, o what, S the lines of a block (as 3-5,8), h instance. Points of all instances, parameters
and files are added up, so something is covered if it happened in any bench. A line is hit if any block or branch that
it belongs to was; a condition above its branch counts as a branch only. A bit has two points, to rise and to fall.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined

from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.rtl.generate import sources

HEADER = "# SystemC::Coverage-3"
POINT = re.compile(r"C '\x01(.*)' (\d+)")
KINDS = ("line", "branch", "toggle")
PAGE = "coverage.html.j2"


class Point(NamedTuple):
    """Something that can happen in a source file; kind is one of KINDS, lines are those of a block."""

    file: str
    line: int
    column: int
    kind: str
    what: str
    lines: tuple[int, ...]


def read(path: Path) -> Iterator[tuple[Point, int]]:
    """Points of one counts file and how often each happened.

    Raises:
        UserError: the file cannot be read, or is not such a file.
    """
    header, *rows = read_file(path).decode(errors="replace").splitlines() or [""]
    if header != HEADER:
        raise UserError(f"{path} is not a coverage file of this Verilator; run 'make coverage' again")
    for number, row in enumerate(rows, 2):
        try:
            yield _point(row)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"line {number} of {path} is damaged; run 'make coverage' again") from error


def _point(row: str) -> tuple[Point, int]:
    match = POINT.fullmatch(row)
    if match is None:
        raise ValueError(row)
    keys: dict[str, str] = dict(part.split("\x02") for part in match[1].split("\x01"))
    if keys["t"] not in KINDS:
        raise ValueError(keys["t"])
    point = Point(keys["f"], int(keys["l"]), int(keys["n"]), keys["t"], keys["o"], tuple(_lines(keys.get("S", ""))))
    return point, int(match[2])


def _lines(ranges: str) -> Iterator[int]:
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Share(NamedTuple):
    """How much of something was covered."""

    hit: int
    total: int

    @property
    def percent(self) -> float | None:
        """None if there is nothing to cover."""
        return 100 * self.hit / self.total if self.total else None


@dataclass
class Module:
    """Counts of one source file: by line, by branch (line, column, name), by transition of a bit."""

    path: Path
    lines: Counter[int] = field(default_factory=Counter)
    branches: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    toggles: Counter[str] = field(default_factory=Counter)

    def add(self, point: Point, count: int) -> None:
        """Count a point."""
        if point.kind == "toggle":
            self.toggles[point.what] += count
            return
        is_branch = point.kind == "branch" or point.what == "elsif"
        for line in point.lines:
            if not (is_branch and line == point.line and len(point.lines) > 1):
                self.lines[line] += count
        if is_branch:
            self.branches[point.line, point.column, point.what] += count

    def shares(self) -> dict[str, Share]:
        """Covered lines, branches and toggles."""
        counts: dict[str, Counter[Any]] = {"lines": self.lines, "branches": self.branches, "toggles": self.toggles}
        return {name: Share(sum(n > 0 for n in c.values()), len(c)) for name, c in counts.items()}

    @property
    def never_lines(self) -> list[int]:
        """Lines that were never hit."""
        return sorted(line for line, count in self.lines.items() if not count)

    @property
    def never_branches(self) -> list[tuple[int, str]]:
        """Line and name of branches that were never taken; an `else` need not be written in the source."""
        return sorted({(line, what) for (line, _, what), count in self.branches.items() if not count})

    @property
    def still(self) -> dict[str, int]:
        """Signals with transitions that were never seen, and how many."""
        names = (re.sub(r"\[\d+\]|:[01]->[01]", "", what) for what, count in self.toggles.items() if not count)
        return dict(sorted(Counter(names).items()))


def measure(counts: Iterable[Path], files: Sequence[Path]) -> list[Module]:
    """Merged coverage of some source files, found by their names; those without a point are left out.

    Raises:
        UserError: a counts file is damaged.
    """
    modules = {file.name: Module(file) for file in files}
    for path in counts:
        for point, count in read(path):
            if module := modules.get(Path(point.file).name):
                module.add(point, count)
    return [module for module in modules.values() if module.lines or module.toggles]


def total(modules: Iterable[Module]) -> dict[str, Share]:
    """Covered lines, branches and toggles of all modules together."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for module in modules:
        for name, share in module.shares().items():
            sums[name][0] += share.hit
            sums[name][1] += share.total
    return {name: Share(*pair) for name, pair in sums.items()}


def _tree(shares: Mapping[str, Share]) -> dict[str, Any]:
    return {name: {"hit": s.hit, "total": s.total, "percent": s.percent} for name, s in shares.items()}


def tree(modules: Sequence[Module]) -> dict[str, Any]:
    """What `coverage.json` holds."""
    return {
        "total": _tree(total(modules)),
        "modules": {
            module.path.stem: _tree(module.shares())
            | {
                "never_hit_lines": module.never_lines,
                "never_taken_branches": [{"line": line, "branch": what} for line, what in module.never_branches],
                "transitions_never_seen": module.still,
            }
            for module in modules
        },
    }


def annotate(module: Module) -> list[dict[str, Any]]:
    """Lines of a source: text, how often it was hit (None for lines without code), branches never taken."""
    missing = defaultdict(list)
    for line, what in module.never_branches:
        missing[line].append(what)
    return [
        {"number": number, "text": text, "count": module.lines.get(number), "missing": missing.get(number, [])}
        for number, text in enumerate(module.path.read_text().splitlines(), 1)
    ]


def _source(name: str) -> str:
    return resources.files("m3vit.scripts").joinpath("templates", name).read_text(encoding="utf-8")


def render(modules: Sequence[Module], runs: int) -> str:
    """One self-contained page: a bar per module, and the sources of modules with gaps."""
    made = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {"annotate": annotate, "total": total(modules)}
    return made.get_template(PAGE).render(modules=modules, runs=runs)


def report(folder: Path, out: Path) -> list[Module]:
    """Merge the counts in a folder into `coverage.json` and `coverage.html`.

    Raises:
        UserError: there are no counts, or a file is damaged, or `out` cannot be written.
    """
    counts = sorted(folder.glob("*.dat"))
    if not counts:
        raise UserError(f"{folder} holds no coverage counts; 'make coverage' makes them")
    _, *files = sources()  # not the package: Verilator inlines its functions and does not count them
    modules = measure(counts, files)
    write_atomically(out / "coverage.json", (json.dumps(tree(modules), indent=1) + "\n").encode())
    write_atomically(out / "coverage.html", render(modules, len(counts)).encode())
    return modules
