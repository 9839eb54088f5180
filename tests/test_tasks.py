# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Losses, metrics and trivial predictors against hand-computed values and naive loops."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from m3vit.model.config import SceneConfig, TaskName
from m3vit.model.metrics import MaxF, MeanAngle, MeanIoU, RootMeanSquare
from m3vit.model.scenes import SEGMENTATION_CLASSES, load_split
from m3vit.model.tasks import (
    DEPTH_OFFSET_M,
    DEPTH_SCALE_M,
    EDGE_POSITIVE_WEIGHT,
    TASKS,
    decode,
    loss,
    make_metric,
    trivial_prediction,
)

NAMES: list[TaskName] = list(TASKS)


@pytest.fixture(scope="module")
def scenes() -> dict[str, Tensor]:
    torch.set_num_threads(1)
    return load_split(SceneConfig(train_size=24, seed=3), (32, 32), "train", progress=False, workers=1)


def perfect(task: TaskName, target: Tensor) -> Tensor:
    """Model output that decodes to the target."""
    if task == "segmentation":
        return torch.nn.functional.one_hot(target.long(), TASKS[task].channels).permute(0, 3, 1, 2).float() * 20
    if task == "depth":
        return (target.float() - DEPTH_OFFSET_M) / DEPTH_SCALE_M
    return target.float() if task == "normals" else target.float() * 40 - 20


def random_output(task: TaskName, count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, TASKS[task].channels, size, size, generator=generator)


def naive_f(prob: Tensor, target: Tensor, beta2: float, tolerance: int) -> float:
    """The docstring of MaxF, literally."""
    images, _, height, width = prob.shape

    def near(mask: Tensor, b: int, row: int, column: int) -> bool:
        rows = range(max(0, row - tolerance), min(height, row + tolerance + 1))
        columns = range(max(0, column - tolerance), min(width, column + tolerance + 1))
        return any(bool(mask[b, 0, r, c]) for r in rows for c in columns)

    best = 0.0
    for threshold in range(256):
        positive, true = prob >= threshold / 256, target > 0
        at = [(b, r, c) for b in range(images) for r in range(height) for c in range(width)]
        predicted = [p for p in at if positive[p[0], 0, p[1], p[2]]]
        actual = [p for p in at if true[p[0], 0, p[1], p[2]]]
        precision = sum(near(true, *p) for p in predicted) / max(len(predicted), 1)
        recall = sum(near(positive, *p) for p in actual) / max(len(actual), 1)
        if precision + recall:
            best = max(best, (1 + beta2) * precision * recall / (beta2 * precision + recall))
    return 100 * best


def test_task_table() -> None:
    assert NAMES == ["segmentation", "depth", "normals", "edges", "saliency"]
    assert [TASKS[n].channels for n in NAMES] == [len(SEGMENTATION_CLASSES), 1, 3, 1, 1]
    assert [TASKS[n].higher_is_better for n in NAMES] == [True, False, False, True, True]
    assert all(TASKS[n].name == n and TASKS[n].loss_weight > 0 for n in NAMES)


def test_miou_by_hand() -> None:
    metric = MeanIoU(4)
    metric.update(torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 1]]]))
    assert metric.value() == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    metric.update(torch.tensor([[[2, 2]]]), torch.tensor([[[0, 0]]]))
    assert metric.value() == pytest.approx(100 * (1 / 4 + 2 / 3 + 0) / 3)


def test_rmse_by_hand() -> None:
    metric = RootMeanSquare()
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]))
    metric.update(torch.tensor([0.0]), torch.tensor([3.0]))
    assert metric.value() == pytest.approx(math.sqrt(18 / 3))


def test_mean_angle_by_hand() -> None:
    metric = MeanAngle()
    x, diagonal = torch.tensor([1.0, 0, 0]), torch.tensor([1.0, 1, 0]) / math.sqrt(2)
    for other in (x, -x, diagonal, torch.tensor([0, 0, 1.0])):
        metric.update(x.view(1, 3, 1, 1), other.view(1, 3, 1, 1))
    assert metric.value() == pytest.approx((0 + 180 + 45 + 90) / 4, abs=1e-4)


def test_max_f_by_hand() -> None:
    """A line predicted one pixel off is perfect with tolerance 1 and worth only 'all positive' without."""
    target, prob = torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
    target[..., 2], prob[..., 3] = 1, 0.9
    tolerant, strict = MaxF(1.0, 1), MaxF(1.0, 0)
    tolerant.update(prob, target)
    strict.update(prob, target)
    assert tolerant.value() == pytest.approx(100)
    assert strict.value() == pytest.approx(100 * 2 * (1 / 6) / (1 + 1 / 6))


@pytest.mark.parametrize(("beta2", "tolerance"), [(1.0, 1), (0.3, 0)])
def test_max_f_equals_the_naive_loop(beta2: float, tolerance: int) -> None:
    generator = torch.Generator().manual_seed(2)
    target = (torch.rand(2, 1, 6, 7, generator=generator) < 0.15).float()
    prob = (0.4 * target + 0.6 * torch.rand(target.shape, generator=generator)).clamp(0, 1)
    metric = MaxF(beta2, tolerance)
    metric.update(prob[:1], target[:1])
    metric.update(prob[1:], target[1:].to(torch.uint8))
    assert metric.value() == pytest.approx(naive_f(prob, target, beta2, tolerance), abs=1e-9)


@pytest.mark.parametrize("task", NAMES)
def test_perfect_prediction(task: TaskName, scenes: dict[str, Tensor]) -> None:
    metric = make_metric(task)
    metric.update(perfect(task, scenes[task]), scenes[task])
    ideal = 100.0 if TASKS[task].higher_is_better else 0.0
    assert metric.value() == pytest.approx(ideal, abs=1e-4)


@pytest.mark.parametrize("task", NAMES)
def test_metric_does_not_depend_on_batches_or_target_type(task: TaskName, scenes: dict[str, Tensor]) -> None:
    target, pred = scenes[task], random_output(task, 24, 32)
    whole, parts = make_metric(task), make_metric(task)
    whole.update(pred, target)
    for start, stop in ((0, 1), (1, 17), (17, 24)):
        part = target[start:stop]
        parts.update(pred[start:stop], part.long() if task == "segmentation" else part.float())
    assert whole.value() == pytest.approx(parts.value(), rel=1e-9)
    assert abs(whole.value() - (100.0 if TASKS[task].higher_is_better else 0.0)) > 1


@pytest.mark.parametrize("task", NAMES)
def test_metric_without_data_is_nan(task: TaskName) -> None:
    assert math.isnan(make_metric(task).value())


def test_decode_spaces() -> None:
    assert decode("depth", torch.zeros(1, 1, 1, 1)).item() == DEPTH_OFFSET_M
    assert decode("depth", torch.ones(1, 1, 1, 1)).item() == DEPTH_OFFSET_M + DEPTH_SCALE_M
    assert decode("normals", torch.tensor([3.0, 0, 4]).view(1, 3, 1, 1)).flatten().tolist() == pytest.approx(
        [0.6, 0, 0.8]
    )
    assert decode("edges", torch.zeros(1, 1, 1, 1)).item() == 0.5
    assert decode("segmentation", random_output("segmentation", 2, 4)).shape == (2, 4, 4)


def test_losses_by_hand() -> None:
    zero = torch.zeros(1, 1, 1, 2)
    mixed = torch.tensor([[[[1.0, 0.0]]]])
    classes = len(SEGMENTATION_CLASSES)
    uniform = loss("segmentation", torch.zeros(1, classes, 1, 2), torch.tensor([[[0, 3]]]))
    assert uniform.item() == pytest.approx(math.log(classes))
    assert loss("depth", zero, zero + DEPTH_OFFSET_M + 3 * DEPTH_SCALE_M).item() == pytest.approx(3)
    assert loss("saliency", zero, mixed).item() == pytest.approx(math.log(2))
    sharp = torch.tensor([[[[2.0, 2.0]]]])
    on, off = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    balanced = (EDGE_POSITIVE_WEIGHT * on + (1 - EDGE_POSITIVE_WEIGHT) * off) / 2
    assert loss("edges", sharp, mixed).item() == pytest.approx(balanced)
    up, right = torch.tensor([0, 1.0, 0]).view(1, 3, 1, 1), torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1)
    assert loss("normals", right, up).item() == pytest.approx(1 + 3 / 3)


@pytest.mark.parametrize("task", NAMES)
def test_loss_prefers_the_truth_and_has_gradients(task: TaskName, scenes: dict[str, Tensor]) -> None:
    target, pred = scenes[task], random_output(task, 24, 32).requires_grad_()
    value = loss(task, pred, target)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.ndim == 0
    assert pred.grad is not None
    assert pred.grad.abs().sum() > 0
    assert loss(task, perfect(task, target), target) < 0.01 < value
    other_type = target.long() if task == "segmentation" else target.double()
    assert loss(task, pred, other_type).item() == pytest.approx(value.item(), rel=1e-6)


def test_trivial_segmentation_is_the_majority() -> None:
    targets = torch.tensor([[[0, 1], [1, 2]], [[0, 2], [1, 2]], [[0, 2], [1, 0]]])
    constant = trivial_prediction("segmentation", targets, per_pixel=False)
    assert constant.shape == (len(SEGMENTATION_CLASSES), 2, 2)
    counts = targets.flatten().bincount()
    assert (constant.argmax(0) == counts.argmax()).all()
    assert trivial_prediction("segmentation", targets, per_pixel=True).argmax(0).tolist() == [[0, 2], [1, 2]]


def test_trivial_depth_scores_the_standard_deviation(scenes: dict[str, Tensor]) -> None:
    depth = scenes["depth"].double()
    expected = {
        False: depth.std(correction=0).item(),
        True: depth.var(0, correction=0).mean().sqrt().item(),
    }
    for per_pixel, deviation in expected.items():
        assert score("depth", scenes, per_pixel) == pytest.approx(deviation, rel=1e-5)


def test_trivial_normals_is_the_mean_direction(scenes: dict[str, Tensor]) -> None:
    mean = scenes["normals"].double().mean((0, 2, 3))
    constant = trivial_prediction("normals", scenes["normals"], per_pixel=False)
    assert torch.allclose(constant[:, 5, 7].double(), mean / mean.norm(), atol=1e-6)
    assert torch.allclose(trivial_prediction("normals", scenes["normals"], True).norm(dim=0), torch.ones(32, 32))


def test_trivial_saliency_constant_is_all_positive(scenes: dict[str, Tensor]) -> None:
    share = scenes["saliency"].double().mean().item()
    assert score("saliency", scenes, False) == pytest.approx(100 * 1.3 * share / (0.3 * share + 1))


def score(task: TaskName, scenes: dict[str, Tensor], per_pixel: bool) -> float:
    metric = make_metric(task)
    metric.update(trivial_prediction(task, scenes[task], per_pixel).expand(24, -1, -1, -1), scenes[task])
    return metric.value()


@pytest.mark.parametrize("task", NAMES)
def test_trivial_per_pixel_is_the_stronger_on_its_training_set(task: TaskName, scenes: dict[str, Tensor]) -> None:
    gain = score(task, scenes, True) - score(task, scenes, False)
    assert gain > 0 if TASKS[task].higher_is_better else gain < 0


CALLS: list[Callable[[], object]] = [
    lambda: loss("colour", torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)),  # type: ignore[arg-type]
    lambda: make_metric("colour"),  # type: ignore[arg-type]
    lambda: trivial_prediction("colour", torch.zeros(1, 1, 2, 2), True),  # type: ignore[arg-type]
    lambda: loss("normals", torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2)),
    lambda: decode("depth", torch.zeros(1, 2, 2)),
    lambda: make_metric("depth").update(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 4, 4)),
    lambda: loss("depth", torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2)),
]


@pytest.mark.parametrize("call", CALLS)
def test_misuse_raises(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"unknown task|needs|does not match"):
        call()
