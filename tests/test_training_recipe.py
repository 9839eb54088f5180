# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Recipes: schedules, optimisers, precision, averages, task weights, PCGrad, accumulation, and exact resume of each."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from m3vit.model import pcgrad, scenes
from m3vit.model.checkpoint import read_checkpoint, write_checkpoint
from m3vit.model.config import HARDWARE, Config, ModelConfig, SceneConfig, TrainConfig
from m3vit.model.ema import Average, decay_at
from m3vit.model.errors import UserError
from m3vit.model.evaluate import Split
from m3vit.model.moe import Routing, importance_loss
from m3vit.model.objective import joint
from m3vit.model.optimisers import make_optimiser
from m3vit.model.schedules import learning_rate
from m3vit.model.trainer import Trainer
from m3vit.model.vit import M3ViT, Prediction
from m3vit.model.weighting import make_weighting

CPU = torch.device("cpu")
MODEL = ModelConfig(
    name="t", image_hw=(32, 32), patch=8, dim=8, layers=2, heads=2, mlp_hidden=8, experts=3, top_k=2, expert_hidden=4
)
SCENES = SceneConfig(train_size=6, val_size=1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data() -> Split:
    return scenes.load_split(SCENES, MODEL.image_hw, "train", progress=False)


def config(**recipe: object) -> Config:
    defaults: dict[str, object] = {"steps": 6, "batch": 6, "warmup": 2}
    train = TrainConfig.model_validate(defaults | recipe)
    return Config(model=MODEL, scenes=SCENES, train=train, hardware=HARDWARE["demo"])


def run(trainer: Trainer, data: Split, steps: int) -> list[float]:
    return [trainer.update(data)["loss/total"] for _ in range(steps)]


def test_learning_rate_warms_up_and_falls() -> None:
    recipe = TrainConfig(steps=110, warmup=10, lr=1.0)
    rates = [learning_rate(recipe, step) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert learning_rate(TrainConfig(warmup=0, lr=1.0), 0) == 1


def test_poly_and_constant_schedules() -> None:
    poly = TrainConfig(steps=110, warmup=10, lr=2.0, schedule="poly", poly_power=2.0)
    assert learning_rate(poly, 10) == 2
    assert learning_rate(poly, 35) == pytest.approx(2 * 0.75**2)
    assert learning_rate(poly, 110) == 0
    constant = TrainConfig(steps=110, warmup=10, lr=2.0, schedule="constant")
    assert learning_rate(constant, 4) == 1
    assert {learning_rate(constant, step) for step in range(10, 111)} == {2.0}


def test_decay_skips_biases_norms_and_embeddings() -> None:
    model = M3ViT(MODEL.model_copy(update={"router": "task_conditioned"}))
    optimiser = make_optimiser(dict(model.named_parameters()), TrainConfig())
    decayed = {id(parameter) for parameter in optimiser.param_groups[0]["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert names == {n for n, p in model.named_parameters() if n.endswith("weight") and "norm" not in n}
    assert any("fc1_weight" in name for name in names)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.05, 0]
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(model.parameters()))


def test_sgd_step_is_momentum_and_decay() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimiser = make_optimiser({"weight": weight}, TrainConfig(optimiser="sgd", lr=0.1, momentum=0.5, weight_decay=0.2))
    expected, buffer = 2.0, 0.0
    for gradient in (1.0, -3.0, 0.5):
        weight.grad = torch.tensor([gradient])
        optimiser.step()
        buffer = 0.5 * buffer + gradient + 0.2 * expected
        expected -= 0.1 * buffer
        assert float(weight.detach()) == pytest.approx(expected)


def test_average_starts_quickly_and_then_keeps_its_decay() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.0]))
    average = Average({"weight": weight}, 0.5)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, -4.0, 8.0, 1.0, 1.0, 3.0, 5.0, 2.0, 7.0, 1.0)):
        torch.nn.init.constant_(weight, value)
        average.update(step)
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
        assert float(average.tensors["weight"]) == pytest.approx(expected)
    assert decay_at(0.5, 100) == 0.5
    assert decay_at(0.999, 0) == pytest.approx(0.1)


def test_averaged_weights_are_those_validated(data: Split) -> None:
    trainer = Trainer(config(ema=0.9), CPU)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    run(trainer, data, 1)
    model = trainer.validated_model()
    assert model is not None
    for name, tensor in model.state_dict().items():
        expected = 0.1 * before[name] + 0.9 * trainer.model.state_dict()[name]
        torch.testing.assert_close(tensor, expected)
    assert not torch.equal(model.norm.weight, trainer.model.norm.weight)


def test_uncertainty_weighting_is_kendalls() -> None:
    recipe = TrainConfig(weighting="uncertainty", loss_weights={"depth": 3.0})
    weighting = make_weighting(recipe, {"segmentation": 2.0, "depth": 1.0})
    for task, factor, scale in (("segmentation", 2.0, 1.0), ("depth", 3.0, 0.5)):
        loss = torch.tensor(0.7, requires_grad=True)
        value = weighting(task, loss, 1.0)
        variance = scale / factor
        assert float(value.detach()) == pytest.approx(scale / variance * 0.7 + math.log(math.sqrt(variance)))
        log_variance = dict(weighting.named_parameters())[f"log_variance.{task}"]
        gradient, slope = torch.autograd.grad(value, (loss, log_variance))
        assert float(gradient) == pytest.approx(factor)  # starts from the fixed factors
        assert float(slope) == pytest.approx(-factor * 0.7 + 0.5)
    assert float(
        make_weighting(TrainConfig(loss_weights={"depth": 3.0}), {"depth": 1.0})("depth", loss.detach(), 1.0)
    ) == (pytest.approx(2.1))


def test_learned_variances_grow_with_the_loss(data: Split) -> None:
    trainer = Trainer(config(weighting="uncertainty", lr=0.05, warmup=0, schedule="constant"), CPU)
    start = {name: float(p.detach()) for name, p in trainer.objective.weighting.named_parameters()}
    scalars = trainer.update(data)
    for name, parameter in trainer.objective.weighting.named_parameters():
        task = name.rpartition(".")[2]
        scale = 0.5 if task in ("depth", "normals") else 1.0
        slope = 0.5 - scale * math.exp(-start[name]) * scalars[f"loss/{task}"]
        assert float(parameter.detach()) == pytest.approx(start[name] - math.copysign(0.05, slope), abs=1e-4)  # Adam


def test_tasks_may_balance_the_experts_together() -> None:
    """Tasks that keep to different experts cost nothing together and much each by itself."""
    evens = torch.tensor([[9.0, 9.0, -9.0, -9.0]]).expand(6, 4)
    first, second = (
        Routing(logits, logits, logits.topk(2).indices, torch.full((6, 2), 0.5)) for logits in (evens, -evens)
    )
    images = torch.zeros(1)
    predictions = {"depth": Prediction(images, [first]), "edges": Prediction(images, [second])}
    (both,) = joint(predictions)  # type: ignore[arg-type]
    assert both.logits_NE.shape == (12, 4)
    assert float(importance_loss(both)) == pytest.approx(0, abs=1e-6)
    assert float(importance_loss(first)) == pytest.approx(1, rel=1e-3)
    assert both.load().tolist() == [0.25] * 4


def test_the_recipe_decides_whose_load_is_balanced(data: Split) -> None:
    together, alone = (
        Trainer(config(balance=balance, importance_loss=5.0, load_loss=0.0), CPU) for balance in ("all", "task")
    )
    first, second = run(together, data, 1), run(alone, data, 1)
    assert first != second
    assert 0 < second[0] - first[0] < 5, "the load of all tasks is more even than each task's"


def order(count: int) -> torch.Generator:
    return torch.Generator().manual_seed(count)


def test_pcgrad_removes_the_conflicting_part() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    projected_a = a - (-1 / 2) * b  # (0.5, 0.5), orthogonal to b
    projected_b = b - (-1 / 1) * a  # (0, 1), orthogonal to a
    torch.testing.assert_close(pcgrad.project([a, b], order(0)), projected_a + projected_b)
    agreeing = torch.tensor([3.0, 1.0])
    torch.testing.assert_close(pcgrad.project([a, agreeing], order(0)), a + agreeing)


def test_pcgrad_projects_onto_original_gradients_in_random_order() -> None:
    a, b, c = torch.tensor([1.0, 0.2]), torch.tensor([-1.0, 0.5]), torch.tensor([-0.3, -1.0])

    def one(own: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            own = own - min(0.0, float(own @ other)) / float(other @ other) * other
        return own

    possible = [
        one(a, *pair_a) + one(b, *pair_b) + one(c, *pair_c)
        for pair_a in ((b, c), (c, b))
        for pair_b in ((a, c), (c, a))
        for pair_c in ((a, b), (b, a))
    ]
    found = [pcgrad.project([a, b, c], order(seed)) for seed in range(40)]
    hits = {i for value in found for i, expected in enumerate(possible) if torch.allclose(value, expected, atol=1e-6)}
    assert all(any(torch.allclose(value, e, atol=1e-6) for e in possible) for value in found)
    assert len({tuple(possible[i].tolist()) for i in hits}) > 1
    assert torch.equal(pcgrad.project([a, b, c], order(3)), pcgrad.project([a, b, c], order(3)))


def test_pcgrad_leaves_what_one_task_uses_alone() -> None:
    shared, head = torch.tensor([1.0, 0.0]), torch.tensor([5.0])
    per_task: list[pcgrad.Gradients] = [(shared, head, None), (-0.5 * shared, None, None)]
    combined = pcgrad.combine(per_task, order(0))
    torch.testing.assert_close(combined[0], torch.zeros(2))  # opposite gradients cancel in both
    assert combined[1] is not None
    assert torch.equal(combined[1], head)
    assert combined[2] is None


def test_pcgrad_without_conflict_is_the_plain_gradient(data: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(**recipe: object) -> dict[str, Tensor]:
        trainer = Trainer(config(router_noise=0.0, grad_clip=1e9, **recipe), CPU)
        trainer.update(data)
        return {name: p.grad for name, p in trainer.parameters.items() if p.grad is not None}

    plain, projected = gradients(), gradients(conflict="pcgrad")
    worst = max(float((plain[name] - projected[name]).abs().max()) for name in plain)
    assert worst > 1e-4  # some tasks conflict at the start
    monkeypatch.setattr(pcgrad, "project", lambda parts, generator: torch.stack(parts).sum(0))
    summed = gradients(conflict="pcgrad")
    assert plain.keys() == summed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, summed[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("conflict", ["none", "pcgrad"])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(data: Split, weighting: str, conflict: str) -> None:
    # Balance losses and noise belong to the images seen at once, so they are off.
    recipe = {
        "router_noise": 0.0, "importance_loss": 0.0, "weighting": weighting, "conflict": conflict, "grad_clip": 1e9,
    }  # fmt: skip
    whole, parts = Trainer(config(**recipe), CPU), Trainer(config(accumulate=3, **recipe), CPU)
    first, second = whole.update(data), parts.update(data)
    assert first == pytest.approx(second, rel=1e-5)
    for name, parameter in whole.parameters.items():
        torch.testing.assert_close(parameter.grad, parts.parameters[name].grad, rtol=1e-4, atol=1e-6)


def test_every_part_and_step_has_its_own_noise(data: Split) -> None:
    trainer = Trainer(config(accumulate=3), CPU)
    draws = []
    for _ in range(2):
        noises = [trainer.router_noise(part) for part in range(3)]
        draws += [noise.sample(torch.zeros(4, 3)).tolist() for noise in noises if noise is not None]
        trainer.update(data)
    assert len({str(draw) for draw in draws}) == 6


def test_every_step_has_its_own_order_of_projections(data: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def recorded(per_task: list[pcgrad.Gradients], generator: torch.Generator) -> list[Tensor | None]:
        seeds.append(generator.initial_seed())
        return list(per_task[0])

    monkeypatch.setattr(pcgrad, "combine", recorded)
    for seed in (0, 1):
        run(Trainer(config(conflict="pcgrad", seed=seed), CPU), data, 2)
    assert len(set(seeds)) == 4


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_stays_close_and_keeps_float32_weights(data: Split, precision: str) -> None:
    whole, mixed = Trainer(config(router_noise=0.0), CPU), Trainer(config(router_noise=0.0, precision=precision), CPU)
    exact, rounded = whole.update(data), mixed.update(data)
    assert rounded["loss/total"] == pytest.approx(exact["loss/total"], rel=0.02)
    assert rounded["loss/total"] != exact["loss/total"]
    assert rounded["optimiser/gradient"] == pytest.approx(exact["optimiser/gradient"], rel=0.1)
    assert {p.dtype for p in mixed.model.parameters()} == {torch.float32}
    assert mixed.scaler.is_enabled() == (precision == "float16")


def test_float16_skips_an_overflow_and_gives_up_when_all_overflow(data: Split) -> None:
    trainer = Trainer(config(precision="float16"), CPU)
    before = trainer.model.norm.weight.detach().clone()
    hook = trainer.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    trainer.update(data)
    assert torch.equal(trainer.model.norm.weight, before)
    assert trainer.scaler.get_scale() == 2.0**15
    with pytest.raises(UserError, match="diverged at step"):
        run(trainer, data, 40)
    hook.remove()


def test_recipes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.batch 6 cannot be divided into 4 parts on 1 processes; make it a mul"):
        Trainer(config(accumulate=4), CPU)
    with pytest.raises(UserError, match=r'set train\.balance to "task"'):
        Trainer(config(balance="all", conflict="pcgrad"), CPU)


RECIPES: dict[str, dict[str, object]] = {
    "sgd, poly, accumulated, averaged": {"optimiser": "sgd", "schedule": "poly", "accumulate": 3, "ema": 0.9},
    "sgd without momentum": {"optimiser": "sgd", "momentum": 0.0, "schedule": "constant"},
    "uncertainty, averaged": {"weighting": "uncertainty", "ema": 0.99},
    "pcgrad, uncertainty, accumulated": {"conflict": "pcgrad", "weighting": "uncertainty", "accumulate": 2},
    "bfloat16, averaged": {"precision": "bfloat16", "ema": 0.9},
    "float16, pcgrad": {"precision": "float16", "conflict": "pcgrad"},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_resumed_run_equals_the_uninterrupted_one(data: Split, recipe: dict[str, object], tmp_path: Path) -> None:
    whole = Trainer(config(**recipe), CPU)
    losses = run(whole, data, 5)
    first = Trainer(config(**recipe), CPU)
    half = run(first, data, 3)
    write_checkpoint(tmp_path / "half", first.checkpoint())
    second = Trainer(config(**recipe), CPU)
    with torch.no_grad():
        for parameter in second.parameters.values():
            parameter.add_(1.0)  # nothing of the fresh start may survive
    second.restore(read_checkpoint(tmp_path / "half"), tmp_path / "half")
    assert half + run(second, data, 2) == losses
    expected, actual = whole.checkpoint(), second.checkpoint()
    assert actual.step == 5
    for name in ("model", "optimiser", "average", "extra"):
        old, new = getattr(expected, name), getattr(actual, name)
        assert old.keys() == new.keys()
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert bool(expected.average) == ("ema" in recipe)
    assert any(key.startswith("weighting.") for key in expected.extra) == ("weighting" in recipe)
    assert any(key.startswith("scaler.") for key in expected.extra) == (recipe.get("precision") == "float16")


@pytest.mark.parametrize("lost", ["optimiser", "average", "extra"])
def test_checkpoint_without_its_training_state_is_refused(data: Split, lost: str, tmp_path: Path) -> None:
    recipe = {"ema": 0.9, "weighting": "uncertainty"}
    trainer = Trainer(config(**recipe), CPU)
    run(trainer, data, 1)
    checkpoint = trainer.checkpoint()
    getattr(checkpoint, lost).clear()
    with pytest.raises(UserError, match="has no training state for"):
        Trainer(config(**recipe), CPU).restore(checkpoint, tmp_path)
