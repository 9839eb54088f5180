# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The comparison of variants: what is trained, equal FLOPs, relative gains, and a whole small comparison."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from m3vit.model.checkpoint import read_checkpoint
from m3vit.model.config import DEMO, Config, SceneConfig, TrainConfig
from m3vit.model.errors import UserError
from m3vit.model.gain import SINGLE, VARIANTS, delta_m, gains, mean_and_spread, plan, relative_gain
from m3vit.model.tasks import TASKS
from m3vit.scripts.cli import build_app
from m3vit.scripts.gain import task_gmac

TINY_RUN = """
[model]
name = "t"
image_hw = [16, 16]
patch = 8
dim = 32
layers = 2
heads = 1
mlp_hidden = 128
experts = 4
top_k = 2
expert_hidden = 64
tasks = ["depth", "edges"]
[scenes]
train_size = 8
val_size = 4
[train]
steps = 2
batch = 2
warmup = 1
checkpoint_every = 1
"""


def config(**model: Any) -> Config:
    return DEMO.model_copy(
        update={
            "model": DEMO.model.model_copy(update=model),
            "scenes": SceneConfig(train_size=8, val_size=4),
            "train": TrainConfig(steps=2, batch=2),
        }
    )


def test_single_task_models_learn_one_task_each_and_all_others_learn_all() -> None:
    base = config()
    runs = plan(base, VARIANTS, seeds=2)
    assert len(runs) == 2 * (len(base.model.tasks) + len(VARIANTS) - 1)
    assert len({run.folder(Path("out")) for run in runs}) == len(runs)
    single = [run for run in runs if run.variant.name == SINGLE and run.seed == 0]
    assert [run.config(base).model.tasks for run in single] == [(task,) for task in base.model.tasks]
    for run in runs:
        made = run.config(base)
        assert made.train == base.train.model_copy(update={"seed": run.seed})
        assert made.model.dense == (run.variant.name in (SINGLE, "dense"))
    routers = [run.config(base).model.router for run in runs if not run.config(base).model.dense and run.seed == 0]
    assert routers == ["single", "multi", "task_conditioned"]


def test_variants_differ_in_flops_by_the_router_only() -> None:
    base = config()
    model = base.model
    router = model.tokens * model.dim * model.experts * len(model.moe_layers) / 1e9
    gmac = {variant.name: task_gmac(base, variant) for variant in VARIANTS}
    assert gmac["dense"] == pytest.approx(gmac[SINGLE])
    for name in ("single-gate", "multi-gate", "task-conditioned"):
        assert gmac[name] - gmac["dense"] == pytest.approx(router)


def test_unequal_flops_are_refused() -> None:
    with pytest.raises(UserError, match="mlp_hidden 256 differs from top_k x expert_hidden = 128"):
        plan(config(top_k=1), VARIANTS, seeds=1)


def test_gain_is_relative_to_the_mean_single_task_model_and_has_the_metrics_direction() -> None:
    assert relative_gain(55, 50, True) == pytest.approx(10)
    assert relative_gain(0.45, 0.5, False) == pytest.approx(10)
    values = {
        SINGLE: {0: {"segmentation": 40.0, "depth": 0.4}, 1: {"segmentation": 60.0, "depth": 0.6}},
        "dense": {0: {"segmentation": 60.0, "depth": 0.6}},
    }
    result = gains(values, {"segmentation": TASKS["segmentation"], "depth": TASKS["depth"]})  # type: ignore[arg-type]
    assert result["dense"][0] == pytest.approx({"segmentation": 20, "depth": -20})
    assert delta_m(result["dense"][0]) == pytest.approx(0)
    assert delta_m(result[SINGLE][0]) == pytest.approx(0)
    assert mean_and_spread([1.0, 3.0]) == pytest.approx((2.0, 2**0.5))
    assert mean_and_spread([4.0]) == (4.0, 0.0)


def test_comparison_is_trained_told_and_continued(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(TINY_RUN)
    out = tmp_path / "out"
    arguments = ["gain", "--config", str(tmp_path / "c.toml"), "--out", str(out), "--seeds", "1", "--threads", "1"]
    first = CliRunner().invoke(build_app("gain"), [*arguments, "--variant", "dense"])
    assert first.exit_code == 2, "the other variants are not trained yet"
    stamp = (out / "dense" / "seed-0" / "model.safetensors").stat().st_mtime_ns
    second = CliRunner().invoke(build_app("gain"), arguments)
    assert second.exit_code == 0, second.output
    assert (out / "dense" / "seed-0" / "model.safetensors").stat().st_mtime_ns == stamp, "kept"
    tree = json.loads((out / "gain.json").read_text())
    assert list(tree["variants"]) == [variant.name for variant in VARIANTS]
    metrics = json.loads((out / "multi-gate" / "seed-0" / "metrics.json").read_text())["tasks"]
    assert tree["variants"]["multi-gate"]["values"]["0"] == {task: metrics[task]["value"] for task in tree["tasks"]}
    assert tree["variants"][SINGLE]["dm"]["0"] == pytest.approx(0)
    assert read_checkpoint(out / SINGLE / "edges-seed-0" / "model.safetensors").config.model.tasks == ("edges",)
    assert (out / "gain.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_variant_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(build_app("gain"), ["gain", "--variant", "sparse"])
    assert result.exit_code == 2
    assert "variant 'sparse' is unknown; choose one of single-task, dense" in result.output
