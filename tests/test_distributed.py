# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Training in two processes: the loss curve of one process, whole checkpoints, and resume after a real SIGKILL."""

import json
import os
import subprocess
import sys
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


def torchrun(*arguments: str, options: tuple[str, ...] = (), kill: bool = False) -> subprocess.Popen[str]:
    """Two processes through torchrun."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"KILL": "1"} if kill else {})
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


KILLER = '''
"""m3vit train, whose second process kills itself as it sends its last share of the checkpoint of step 10."""
import os, signal
from torch.distributed.tensor import DTensor
from m3vit.model import trainer
from m3vit.scripts.cli import run_verb
from m3vit.scripts.train import train

gather, update, shares = trainer.whole, trainer.Trainer.update, [0]

def watched(self, batch):
    scalars = update(self, batch)
    shares[:] = [self.step]
    return scalars

def killed(tensor):
    if isinstance(tensor, DTensor):
        shares.append(tensor)
        if shares[0] == 10 and len(shares) == 33:  # 2 layers of 4 tensors: weights, two moments, average
            os.kill(os.getpid(), signal.SIGKILL)
    return gather(tensor)

if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and "KILL" in os.environ:
    trainer.whole, trainer.Trainer.update = killed, watched
run_verb(train)
'''


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
    tree = config(steps=20, experts="sharded", ema=0.9, checkpoint_every=5).model_dump(mode="json")
    file, script = base / "config.toml", base / "killer.py"
    file.write_text(toml({key: tree[key] for key in ("model", "scenes", "train")}))
    script.write_text(KILLER)
    verb = (str(script), "--config", str(file), "--device", "cpu", "--threads", "1", "--out")

    def run(name: str, *more: str, kill: bool, restarts: int = 0) -> tuple[int, str]:
        options = (f"--max-restarts={restarts}",)
        process = torchrun(*verb, str(base / name), *more, options=options, kill=kill)
        printed, _ = process.communicate(timeout=400)
        return process.returncode, printed

    code, printed = run("whole", kill=False)
    assert code == 0, printed
    assert printed.count("wrote ") == 1  # the second process is silent
    code, printed = run("restarted", kill=True, restarts=1)
    assert code == 0, printed
    assert "exitcode: -9" in printed
    code, _ = run("resumed", kill=True)
    assert code != 0
    assert read_checkpoint(base / "resumed" / "resume.safetensors").step == 5
    code, printed = run("resumed", "--resume", kill=False)
    assert code == 0, printed
    return base


@pytest.mark.parametrize("name", ["restarted", "resumed"])
def test_run_with_a_killed_process_ends_with_the_same_bits(killed: Path, name: str) -> None:
    for file in ("resume.safetensors", "model.safetensors"):
        assert_same(read_checkpoint(killed / "whole" / file), read_checkpoint(killed / name / file))
    assert (killed / name / "metrics.json").read_bytes() == (killed / "whole" / "metrics.json").read_bytes()


def test_first_process_alone_writes_the_log(killed: Path) -> None:
    events = EventAccumulator(str(killed / "whole" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/total")] == [10, 20]
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
