# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The command `m3vit VERB`.

How to add a verb: write `scripts/NAME.py` that defines a function `NAME` with typer annotations (dashes in the verb's
name become underscores in both). Nothing has to be registered: every module here that defines a function of its own
name is a verb, and the first line of that function's docstring is its line in `m3vit --help`. Only the module of the
verb that runs is imported, so help and usage errors stay fast. End the module with

    if __name__ == "__main__":
        run_verb(NAME)

and `python scripts/NAME.py` works as well. Mistakes of the user are raised as `UserError`; this module, and no other,
turns them into one line on stderr and exit code 2. Typer's own usage errors also exit with 2, an interrupt with 130.
"""

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from m3vit.model.errors import UserError

Verb = Callable[..., None]

PIPELINE = ("train", "export", "project", "verify", "report", "demo")
"""Order of the verbs in the help; any other verb follows in alphabetical order."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a user's mistake into one line and exit code 2, and an interrupt into exit code 130."""
    try:
        yield
    except UserError as error:
        typer.echo(f"m3vit: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        typer.echo("m3vit: interrupted", err=True)
        raise SystemExit(130) from None


def find_verbs(folder: Path) -> dict[str, str]:
    """Verbs in a folder, found without importing them.

    Args:
        folder: Holds one module per verb.

    Returns:
        The verb's name to the first line of its docstring, in the order of the help.
    """
    verbs = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == path.stem:
                verbs[path.stem.replace("_", "-")] = (ast.get_docstring(node) or "").partition("\n")[0]
    return {name: verbs[name] for name in sorted(verbs, key=_position)}


def _position(verb: str) -> tuple[int, str]:
    return (PIPELINE.index(verb) if verb in PIPELINE else len(PIPELINE)), verb


def _load(verb: str) -> Verb:
    name = verb.replace("-", "_")
    function: Verb = getattr(importlib.import_module(f"m3vit.scripts.{name}"), name)
    return function


def _new_app() -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def build_app(chosen: str | None) -> typer.Typer:
    """The application in which only the chosen verb is real; the others just have a name and a line of help."""
    app = _new_app()
    app.callback(no_args_is_help=True)(_all_verbs)
    for name, summary in find_verbs(Path(__file__).parent).items():
        if name == chosen:
            app.command(name)(plain_errors()(_load(name)))
        else:
            app.command(name, help=summary)(_all_verbs)
    return app


def _all_verbs() -> None:
    """Train an M3ViT, export its pathways, verify and report the accelerator that runs them."""


def run_verb(verb: Verb) -> None:
    """Entry of `python scripts/VERB.py`: run one verb on the command line's arguments and exit."""
    app = _new_app()
    app.command()(plain_errors()(verb))
    app()


def main() -> None:
    """Entry of `m3vit`."""
    with plain_errors():
        app = build_app(sys.argv[1] if len(sys.argv) > 1 else None)
    app(prog_name="m3vit")


if __name__ == "__main__":
    main()
