# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Training in two processes: the loss curve of one process, whole checkpoints, and resume after a real SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from m3vit.model.checkpoint import Checkpoint, read_checkpoint
from m3vit.model.config import HARDWARE, Config, DataConfig, ModelConfig, SceneConfig, TrainConfig
from m3vit.model.datasets.synthetic import write
from m3vit.model.train import train

MODEL = ModelConfig(
    name="t", image_hw=(32, 32), patch=8, dim=8, layers=4, heads=2, mlp_hidden=8, experts=3, top_k=2, expert_hidden=4
)
SCENES = SceneConfig(train_size=7, val_size=3)

WORKER = '''
"""Losses and gradients of a few updates, as one of several processes."""
import json, sys
from pathlib import Path
import torch
from m3vit.model.checkpoint import write_checkpoint
from m3vit.model.config import Config
from m3vit.model.datasets import open_data
from m3vit.model.distributed import join_processes
from m3vit.model.trainer import Trainer

torch.set_num_threads(1)
out = Path(sys.argv[1])
with join_processes(torch.device("cpu")) as processes:
    for name, config in json.loads(sys.argv[2]).items():
        config = Config.model_validate(config)
        data = open_data(config, False).train(config, 0, processes.rank, processes.world)
        trainer = Trainer(config, torch.device("cpu"), processes)
        curve = [trainer.update(next(data)) for _ in range(config.train.steps)]
        held = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in trainer.model.parameters())
        checkpoint = trainer.checkpoint()
        (out / f"{name}-{processes.rank}-of-{processes.world}.json").write_text(json.dumps([curve, held]))
        if processes.first:
            write_checkpoint(out / f"{name}-of-{processes.world}.safetensors", checkpoint)
'''


def config(**recipe: object) -> Config:
    defaults: dict[str, object] = {"steps": 4, "batch": 4, "warmup": 2, "checkpoint_every": 2}
    train_config = TrainConfig.model_validate(defaults | recipe)
    return Config(model=MODEL, scenes=SCENES, train=train_config, hardware=HARDWARE["demo"])


def masked(root: Path) -> Config:
    """On images of which some have persons and others have no valid pixel of human parts."""
    data = DataConfig(dataset="pascal_context", root=root, workers=0)
    model = ModelConfig.model_validate(MODEL.model_dump() | {"classes": 21, "tasks": ("segmentation", "human_parts")})
    return config(accumulate=2).model_copy(update={"model": model, "data": data})


RECIPES: dict[str, dict[str, object]] = {
    "replicated": {"ema": 0.9},
    "sharded": {"experts": "sharded", "ema": 0.9, "weighting": "uncertainty"},
    "sharded sgd": {"experts": "sharded", "optimiser": "sgd", "lr": 0.01},
    "accumulated": {"accumulate": 2, "weighting": "uncertainty"},
    "sharded accumulated": {"accumulate": 2, "experts": "sharded"},
    "pcgrad": {"conflict": "pcgrad"},
}


def torchrun(*arguments: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Two processes through torchrun."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, *options, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the worker's results in one process and in two."""
    out = tmp_path_factory.mktemp("curves")
    script = out / "worker.py"
    script.write_text(WORKER)
    write("pascal_context", out / "PASCAL_MT")
    configs = {name: config(**recipe) for name, recipe in RECIPES.items()} | {"masked": masked(out / "PASCAL_MT")}
    recipes = json.dumps({name: one.model_dump(mode="json") for name, one in configs.items()})
    both = torchrun(str(script), str(out), recipes)
    subprocess.run([sys.executable, str(script), str(out), recipes], check=True, timeout=200)
    printed, _ = both.communicate(timeout=200)
    assert both.returncode == 0, printed
    return out


@pytest.mark.parametrize("name", [*RECIPES, "masked"])
def test_two_processes_follow_the_loss_curve_of_one(curves: Path, name: str) -> None:
    (one, whole), *two = (
        json.loads((curves / f"{name}-{rank}.json").read_text()) for rank in ("0-of-1", "0-of-2", "1-of-2")
    )
    for curve, held in two:
        for step, scalars in enumerate(curve):
            assert scalars == pytest.approx(one[step], rel=1e-5, abs=1e-6)
        assert (held < whole) == ("sharded" in name)
    assert len({scalars["loss/total"] for scalars in one}) == 4


@pytest.mark.parametrize("name", [*RECIPES, "masked"])
def test_checkpoint_of_two_processes_is_whole(curves: Path, name: str) -> None:
    one, two = (read_checkpoint(curves / f"{name}-of-{world}.safetensors") for world in (1, 2))
    for part in ("model", "optimiser", "average", "extra"):
        expected, actual = getattr(one, part), getattr(two, part)
        assert expected.keys() == actual.keys()
        for key, tensor in expected.items():
            # Adam divides gradients by their size: what is zero but for rounding moves by up to lr per step.
            torch.testing.assert_close(actual[key], tensor, rtol=1e-3, atol=2e-4)


def wait_for_step(path: Path, step: int) -> None:
    """Until the checkpoint has seen some updates."""
    deadline = time.monotonic() + 100
    while not (path.exists() and read_checkpoint(path).step >= step):
        assert time.monotonic() < deadline, f"{path} never reached step {step}"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Processes that a process started, in order."""
    return sorted(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def toml(tree: dict[str, object]) -> str:
    """A config as a file."""
    lines = []
    for key, value in tree.items():
        lines += [f"{key} = {json.dumps(value)}"] if not isinstance(value, dict) and value is not None else []
    tables = [f"[{key}]\n{toml(value)}" for key, value in tree.items() if isinstance(value, dict) and value]
    return "\n".join([*lines, *tables])


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    for part in ("model", "optimiser", "average"):
        old, new = getattr(a, part), getattr(b, part)
        assert old.keys() == new.keys()
        for key in old:
            torch.testing.assert_close(new[key], old[key], rtol=0, atol=0)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an uninterrupted run of two processes, and two runs of which one process was killed."""
    base = tmp_path_factory.mktemp("killed")
    recipe = config(steps=60, experts="sharded", ema=0.9, checkpoint_every=10)
    tree = recipe.model_dump(mode="json")
    (base / "config.toml").write_text(toml({key: tree[key] for key in ("model", "scenes", "train")}))
    verb = ("-m", "m3vit.scripts.train", "--config", str(base / "config.toml"), "--device", "cpu", "--threads", "1")
    whole = torchrun(*verb, "--out", str(base / "whole"))
    printed, _ = whole.communicate(timeout=200)
    assert whole.returncode == 0, printed
    assert printed.count("wrote ") == 1  # the second process is silent
    restarting = torchrun(*verb, "--out", str(base / "restarted"), options=("--max-restarts=1",))
    wait_for_step(base / "restarted" / "resume.safetensors", 10)
    os.kill(children(restarting.pid)[-1], signal.SIGKILL)
    printed, _ = restarting.communicate(timeout=200)
    assert restarting.returncode == 0, printed
    lost = torchrun(*verb, "--out", str(base / "resumed"))
    wait_for_step(base / "resumed" / "resume.safetensors", 10)
    os.kill(children(lost.pid)[-1], signal.SIGKILL)
    lost.communicate(timeout=200)
    assert lost.returncode != 0
    assert not (base / "resumed" / "model.safetensors").exists()
    again = torchrun(*verb, "--out", str(base / "resumed"), "--resume")
    printed, _ = again.communicate(timeout=200)
    assert again.returncode == 0, printed
    return base


@pytest.mark.parametrize("name", ["restarted", "resumed"])
def test_run_with_a_killed_process_ends_with_the_same_bits(killed: Path, name: str) -> None:
    for file in ("resume.safetensors", "model.safetensors"):
        assert_same(read_checkpoint(killed / "whole" / file), read_checkpoint(killed / name / file))
    assert (killed / name / "metrics.json").read_bytes() == (killed / "whole" / "metrics.json").read_bytes()


def test_first_process_alone_writes_the_log(killed: Path) -> None:
    events = EventAccumulator(str(killed / "whole" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/total")] == list(range(10, 61, 10))
    assert len(list((killed / "whole" / "tensorboard").iterdir())) == 1


def test_sharded_run_continues_in_one_process(killed: Path, tmp_path: Path) -> None:
    one, two = read_checkpoint(killed / "whole" / "resume.safetensors"), tmp_path / "one"
    two.mkdir()
    (two / "resume.safetensors").write_bytes((killed / "whole" / "resume.safetensors").read_bytes())
    model = train(one.config, two, True, torch.device("cpu"))
    assert_same(read_checkpoint(killed / "whole" / "model.safetensors"), read_checkpoint(model))


def test_mistakes_are_said_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    process = torchrun("-m", "m3vit.scripts.train", "--out", str(tmp_path), "--device", "cpu")
    printed, _ = process.communicate(timeout=100)
    assert process.returncode != 0
    assert printed.count(f"m3vit: {tmp_path} is not empty") == 1
    assert "exitcode  : 2" in printed
