# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `demo`: the whole road at demo size, by calling the other verbs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from m3vit.model.train import MODEL, RESUME
from m3vit.scripts.cli import run_verb
from m3vit.scripts.export import export
from m3vit.scripts.project import Backend, project
from m3vit.scripts.report import report
from m3vit.scripts.train import train
from m3vit.scripts.verify import verify


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("runs/demo"),
    images: Annotated[int, typer.Option(min=1, help="Validation scenes to verify.")] = 2,
) -> None:
    """Train, export, write both projects, verify RTL and HLS, and report, at demo size.

    An interrupted training continues and a finished one is reused: remove the folder to start anew. Every task's whole
    program runs in RTL and in HLS C-simulation, from the image to the head's output.
    """
    took: dict[str, float] = {}
    checkpoint, pathway = out / "train" / MODEL, out / "pathway"
    with stage("train", took):
        # One thread: on a busy machine OpenMP threads that wait for each other cost ten times more than they gain.
        resume = (out / "train" / RESUME).exists()
        train(config=None, out=out / "train", resume=resume, steps=None, batch=None, seed=None, threads=1)
    with stage("export", took):
        export(checkpoint=checkpoint, out=pathway, hardware=None, images=None, hls=True)
    with stage("project", took):
        for backend in Backend:
            project(pathway=pathway, backend=backend, out=out / f"project-{backend}")
    with stage("verify", took):
        verify(pathway=pathway, images=images, task=None, stall=0, mode=None, wave=False, hls=True)
    with stage("report", took):
        report(pathway=pathway, out=out, energy_constants=None)
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items())
    typer.echo(f"{stages}; {sum(took.values()) / 60:.1f} min in all")
    typer.echo(f"open {out / 'report.html'}")


@contextmanager
def stage(name: str, took: dict[str, float]) -> Iterator[None]:
    """A titled section of the output whose time is noted."""
    Console().rule(f"m3vit {name}")
    start = time.monotonic()
    yield
    took[name] = time.monotonic() - start


if __name__ == "__main__":
    run_verb(demo)
