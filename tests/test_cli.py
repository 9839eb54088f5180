# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The command line: verbs are found without importing them, mistakes are one line, exit codes are fixed."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from m3vit.model.errors import UserError
from m3vit.scripts.cli import find_verbs, main, run_verb

SCRIPTS = Path(__file__).parent.parent / "scripts"


def verb(number: Annotated[int, typer.Option(help="What to do.")] = 0) -> None:
    """Do what the number says."""
    if number == 1:
        raise UserError("the number\n is 1; pass another")
    if number == 2:
        raise KeyboardInterrupt
    if number == 3:
        raise RuntimeError("a defect")
    typer.echo("done")


def exit_code(monkeypatch: pytest.MonkeyPatch, run: Callable[[], None], *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as info:
        run()
    assert isinstance(info.value.code, int)
    return info.value.code


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        ((), 0, "done\n", ""),
        (("--number", "1"), 2, "", "m3vit: the number is 1; pass another\n"),
        (("--number", "2"), 130, "", "m3vit: interrupted\n"),
    ],
)
def test_exit_codes(
    arguments: tuple[str, ...],
    code: int,
    out: str,
    err: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(monkeypatch, lambda: run_verb(verb), *arguments) == code
    assert capsys.readouterr() == (out, err)


def test_usage_errors_exit_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(monkeypatch, lambda: run_verb(verb), "--number", "many") == 2
    assert "--number" in capsys.readouterr().err
    assert exit_code(monkeypatch, main, "no-such-verb") == 2
    assert "no-such-verb" in capsys.readouterr().err


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--number", "3"])
    with pytest.raises(RuntimeError, match="a defect"):
        run_verb(verb)


def test_verbs_are_modules_with_a_function_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def other() -> None: ...")
    (tmp_path / "zebra.py").write_text('def zebra() -> None:\n    """Stripes.\n\n    More.\n    """\n')
    (tmp_path / "two_words.py").write_text('import absent\ndef two_words() -> None:\n    """Two."""\n')
    (tmp_path / "export.py").write_text('def export() -> None:\n    """Out."""\n')
    assert list(find_verbs(tmp_path).items()) == [("export", "Out."), ("two-words", "Two."), ("zebra", "Stripes.")]


def test_every_verb_has_a_line_of_help() -> None:
    verbs = find_verbs(SCRIPTS)
    assert "train" in verbs
    for name, summary in verbs.items():
        assert summary.endswith("."), name


def test_every_verb_runs_as_a_script() -> None:
    for name in find_verbs(SCRIPTS):
        tree = ast.parse((SCRIPTS / f"{name.replace('-', '_')}.py").read_text())
        assert "run_verb" in ast.unparse(tree.body[-1]), f"scripts/{name}.py must end by calling run_verb"


def test_help_does_not_import_torch() -> None:
    code = "\n".join(
        (
            "import sys",
            "sys.argv = ['m3vit', '--help']",
            "from m3vit.scripts.cli import main",
            "try:",
            "    main()",
            "except SystemExit:",
            "    sys.exit('torch' in sys.modules)",
        )
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout
