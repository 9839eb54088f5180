# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Training: exact resume after SIGKILL, checkpoints that are refused with a sentence, recipe arithmetic, the verb."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from m3vit.model import train as trainer
from m3vit.model.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, write_checkpoint
from m3vit.model.config import HARDWARE, Config, ModelConfig, SceneConfig, TrainConfig, load_config
from m3vit.model.errors import UserError
from m3vit.model.vit import M3ViT
from m3vit.scripts.cli import main

CPU = torch.device("cpu")
CONFIG = Config(
    model=ModelConfig(
        name="t", image_hw=(32, 32), patch=8, dim=8, layers=2, heads=2, mlp_hidden=8, experts=3, top_k=2,
        expert_hidden=4,
    ),
    scenes=SceneConfig(train_size=7, val_size=3),
    train=TrainConfig(steps=7, batch=3, warmup=2, checkpoint_every=2),
    hardware=HARDWARE["demo"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert trainer.train(CONFIG, out, resume=False, device=CPU) == out / "model.safetensors"
    return out


KILLER = '''
"""Runs the training once per moment in argv, each in a forked child that kills itself then, and at last to the end."""
import os, signal, sys
from pathlib import Path
import torch
from m3vit.model import checkpoint, errors, train
from m3vit.model.config import Config

torch.set_num_threads(1)
config, out = Config.model_validate_json(sys.argv[1]), Path(sys.argv[2])

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(moment):
    what, _, number = moment.partition(":")
    update, replace = train.Trainer.update, Path.replace
    if what == "update":  # after the step has changed weights and moments
        def killed(self, batch):
            scalars = update(self, batch)
            return kill() if self.step == int(number) else scalars
        train.Trainer.update = killed
    else:  # a file is written but not yet renamed
        writes = [0]
        def killed(self, target):
            writes[0] += 1
            return kill() if target.name == what and writes[0] == int(number) else replace(self, target)
        Path.replace = killed

for moment in [*sys.argv[3:], None]:
    child = os.fork()
    if child == 0:
        if moment:
            arm(moment)
        train.train(config, out, True, torch.device("cpu"))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9 if moment else status == 0, (moment, status)
'''


def test_killed_and_resumed_run_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    moments = [
        "resume.safetensors:1",  # the very first write
        "update:1",  # before any checkpoint of a trained model
        "update:4",  # between two checkpoints
        "resume.safetensors:1",  # while the checkpoint of step 4 is renamed
        "update:7",  # the last update
        "metrics.json:2",
        "model.safetensors:3",
    ]
    command = [sys.executable, "-c", KILLER, CONFIG.model_dump_json(), str(out), *moments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "resume.safetensors"):
        expected, actual = read_checkpoint(finished / name), read_checkpoint(out / name)
        assert (actual.step, actual.config) == (expected.step, expected.config) == (CONFIG.train.steps, CONFIG)
        for old, new in ((expected.model, actual.model), (expected.optimiser, actual.optimiser)):
            assert old.keys() == new.keys()
            assert all(torch.equal(old[key], new[key]) for key in old)
    assert {path.name for path in out.iterdir()} == {path.name for path in finished.iterdir()}
    assert (out / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()


def test_metrics_hold_every_task_beside_its_trivial_predictors(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert list(metrics["tasks"]) == list(CONFIG.model.tasks)
    for facts in metrics["tasks"].values():
        assert all(math.isfinite(facts[key]) for key in ("value", "trivial_constant", "trivial_per_pixel"))
    for router in metrics["routers"]["layers"].values():
        assert list(router["load"]) == list(CONFIG.model.tasks)
        assert all(sum(load) == pytest.approx(1) for load in router["load"].values())


def test_finished_run_loads_and_is_left_alone(finished: Path) -> None:
    config, model = load_checkpoint(finished / "model.safetensors")
    assert config == CONFIG
    _, resumed = load_checkpoint(finished / "resume.safetensors")
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(image, "depth"), resumed(image, "depth"))
    before = (finished / "model.safetensors").stat().st_mtime_ns
    trainer.train(CONFIG, finished, resume=True, device=CPU)
    assert (finished / "model.safetensors").stat().st_mtime_ns == before
    assert (finished / "tensorboard").is_dir()


def test_training_lowers_the_loss() -> None:
    train = CONFIG.train.model_copy(update={"steps": 60, "warmup": 5, "lr": 5e-3, "batch": 7})
    run = trainer.Trainer(CONFIG.model_copy(update={"train": train}), CPU)
    data = trainer.scenes.load_split(CONFIG.scenes, CONFIG.model.image_hw, "train", progress=False)
    losses = [run.update(data)["loss/total"] for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_loss_is_the_weighted_sum_of_its_parts() -> None:
    run = trainer.Trainer(CONFIG, CPU)
    data = trainer.scenes.load_split(CONFIG.scenes, CONFIG.model.image_hw, "val", progress=False)
    total, scalars = run.loss(data)
    parts = sum(trainer.tasks.TASKS[task].loss_weight * scalars[f"loss/{task}"] for task in CONFIG.model.tasks)
    largest = 2 * len(CONFIG.model.tasks) * 0.01 * (CONFIG.model.experts - 1)  # all tokens on one expert
    assert 0 < float(total.detach()) - parts < largest
    quiet = CONFIG.train.model_copy(update={"importance_loss": 0.0, "router_noise": 0.0})
    total, scalars = trainer.Trainer(CONFIG.model_copy(update={"train": quiet}), CPU).loss(data)
    parts = sum(trainer.tasks.TASKS[task].loss_weight * scalars[f"loss/{task}"] for task in CONFIG.model.tasks)
    assert float(total.detach()) == pytest.approx(parts)


def test_batches_are_permutations_one_after_the_other() -> None:
    recipe = TrainConfig(batch=3)
    order = torch.cat([trainer.batch_indices(recipe, 7, step) for step in range(7)])
    epochs = order.view(3, 7)
    assert torch.equal(epochs.sort().values, torch.arange(7).expand(3, 7))
    assert not torch.equal(epochs[0], epochs[1])
    assert len(trainer.batch_indices(TrainConfig(batch=20), 7, 1)) == 20


def test_learning_rate_warms_up_and_falls() -> None:
    recipe = TrainConfig(steps=110, warmup=10, lr=1.0)
    rates = [trainer.learning_rate(recipe, step) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert trainer.learning_rate(TrainConfig(warmup=0, lr=1.0), 0) == 1


def test_decay_skips_biases_norms_and_embeddings() -> None:
    model = M3ViT(CONFIG.model.model_copy(update={"router": "task_conditioned"}))
    optimiser = trainer.make_optimiser(model, CONFIG.train)
    decayed = {id(parameter) for parameter in optimiser.param_groups[0]["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert names == {n for n, p in model.named_parameters() if n.endswith("weight") and "norm" not in n}
    assert any("fc1_weight" in name for name in names)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(model.parameters()))


def test_diverging_run_says_so() -> None:
    run = trainer.Trainer(CONFIG, CPU)
    torch.nn.init.constant_(run.model.pos_embed, math.nan)
    data = trainer.scenes.load_split(CONFIG.scenes, CONFIG.model.image_hw, "val", progress=False)
    with pytest.raises(UserError, match="diverged at step 0"):
        run.update(data)


def test_unsuitable_folders_are_refused(finished: Path, tmp_path: Path) -> None:
    def refused(out: Path, resume: bool, words: str, config: Config = CONFIG) -> None:
        with pytest.raises(UserError, match=words):
            trainer.train(config, out, resume, CPU)

    refused(finished, False, "not empty; choose another --out")
    other = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"lr": 0.5})})
    refused(finished, True, r"another config \(train.lr is 0.003 there and 0.5 here\)", other)
    (tmp_path / "notes.txt").write_text("mine")
    refused(tmp_path, False, "not empty")
    refused(tmp_path, True, "holds no run to resume")
    refused(tmp_path / "notes.txt", False, "is a file")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_bad_checkpoints_are_refused_in_one_sentence(finished: Path, tmp_path: Path) -> None:
    good = (finished / "model.safetensors").read_bytes()
    path = tmp_path / "bad.safetensors"

    def refused(words: str) -> None:
        with pytest.raises(UserError, match=words) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)

    refused("cannot read")
    for length in (0, 4, 100, len(good) - 1):
        path.write_bytes(good[:length])
        refused("not a complete safetensors file")
    path.write_bytes(b"\xff" * 64)
    refused("not a complete safetensors file")
    save_file({"x": torch.zeros(1)}, path)
    refused("not an m3vit checkpoint")
    save_file({"x": torch.zeros(1)}, path, {"format": "m3vit-checkpoint", "version": "99"})
    refused("version 99")
    save_file({"x": torch.zeros(1)}, path, {"format": "m3vit-checkpoint", "version": "1", "step": "1"})
    refused("damaged header")
    metadata = {"format": "m3vit-checkpoint", "version": "1", "step": "1", "config": '{"model": 3}'}
    save_file({"x": torch.zeros(1)}, path, metadata)
    refused("not a valid m3vit config")


def test_checkpoint_that_does_not_fit_its_config_is_refused(finished: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(finished / "model.safetensors")
    path = tmp_path / "bad.safetensors"
    wrong_shape = checkpoint.model | {"pos_embed": torch.zeros(1, 2, 8)}
    missing = {name: tensor for name, tensor in checkpoint.model.items() if name != "norm.weight"}
    for model, name in ((wrong_shape, "pos_embed"), (missing, "norm.weight")):
        write_checkpoint(path, Checkpoint(checkpoint.config, 1, model, {}))
        with pytest.raises(UserError, match=f"does not fit its own config: tensor {name}"):
            load_checkpoint(path)


def run_verb(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `m3vit train ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["m3vit", "train", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


def test_verb_trains_with_overrides_and_refuses_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = CONFIG.model_dump(mode="json", exclude_none=True)
    file, out = tmp_path / "config.toml", tmp_path / "run"
    file.write_text("\n".join(f"[{key}]\n{_toml(tree[key])}" for key in ("model", "scenes", "train")))
    assert load_config(file) == CONFIG
    assert run_verb(monkeypatch, "--config", str(file), "--out", str(out), "--steps", "2", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*CONFIG.model.tasks, "per-pixel mean", "wrote"))
    assert read_checkpoint(out / "model.safetensors").step == 2
    assert run_verb(monkeypatch, "--out", str(out), "--resume", "--threads", "1") == 0  # takes the run's own config
    capsys.readouterr()
    for arguments, words in (
        (("--config", str(file), "--steps", "0"), "the command line is not a valid m3vit config: train.steps"),
        (("--config", str(file), "--device", "abacus"), "device 'abacus' cannot be used on this machine"),
        (("--config", str(tmp_path / "absent.toml")), "cannot read"),
        (("--out", str(out)), f"{out} is not empty"),
    ):
        assert run_verb(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"m3vit: {words}")
        assert error.count("\n") == 1


def _toml(tree: dict[str, object]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in tree.items())
