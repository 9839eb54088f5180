# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Losses, metrics and trivial predictors against hand-computed values and naive loops."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from m3vit.model.config import SceneConfig, TaskName
from m3vit.model.datasets import INFOS, NYUD, PASCAL_CONTEXT, SCENES, DatasetInfo
from m3vit.model.metrics import ImageMaxF, MaxF, MeanAngle, MeanIoU, RootMeanSquare
from m3vit.model.scenes import SEGMENTATION_CLASSES, load_split
from m3vit.model.tasks import (
    METRICS,
    TASKS,
    decode,
    loss,
    loss_sum,
    make_metric,
    tasks_of,
    trivial_prediction,
    valid_count,
    valid_pixels,
)

NAMES: list[TaskName] = list(TASKS)
OFFERED = [(info, task) for info in INFOS.values() for task in info.tasks]
"""Every task of every dataset."""
by_offer = pytest.mark.parametrize(("info", "task"), OFFERED, ids=lambda value: getattr(value, "name", value))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Tensor]:
    torch.set_num_threads(1)
    return load_split(SceneConfig(train_size=24, seed=3), (32, 32), "train", progress=False, workers=1)


def perfect(task: TaskName, target: Tensor) -> Tensor:
    """Model output that decodes to the target."""
    if task == "segmentation":
        return torch.nn.functional.one_hot(target.long(), TASKS[task].channels).permute(0, 3, 1, 2).float() * 20
    if task == "depth":
        return (target.float() - SCENES.depth_offset_m) / SCENES.depth_scale_m
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
    assert decode("depth", torch.zeros(1, 1, 1, 1)).item() == 3.75
    assert decode("depth", torch.ones(1, 1, 1, 1)).item() == 5.25
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
    assert loss("depth", zero, zero + 3.75 + 3 * 1.5).item() == pytest.approx(3)
    assert loss("saliency", zero, mixed).item() == pytest.approx(math.log(2))
    sharp = torch.tensor([[[[2.0, 2.0]]]])
    on, off = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    balanced = (0.85 * on + 0.15 * off) / 2
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
    lambda: loss("human_parts", torch.zeros(1, 7, 2, 2), torch.zeros(1, 2, 2)),  # not of the scenes
    lambda: decode("saliency", torch.zeros(1, 1, 2, 2), NYUD),
]


@pytest.mark.parametrize("call", CALLS)
def test_misuse_raises(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"unknown task|needs|does not match"):
        call()


def holes(task: TaskName, target: Tensor) -> tuple[Tensor, Tensor]:
    """A target with "no value" in the upper half and in every third column, and which pixels (H, W) keep theirs."""
    kept = torch.ones(target.shape[-2:], dtype=torch.bool)
    kept[: len(kept) // 2], kept[:, ::3] = False, False
    return torch.where(kept, target, 0 if task in ("depth", "normals") else 255), kept


def random_target(task: TaskName, info: DatasetInfo, count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    if task in ("segmentation", "human_parts"):
        return torch.randint(0, info.channels(task), (count, size, size), generator=generator)
    if task == "normals":
        return torch.nn.functional.normalize(torch.randn(count, 3, size, size, generator=generator), dim=1)
    uniform = torch.rand(count, 1, size, size, generator=generator)
    return 0.5 + 9 * uniform if task == "depth" else (uniform < 0.2).float()


def output(task: TaskName, info: DatasetInfo, count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, info.channels(task), size, size, generator=generator)


@by_offer
def test_pixels_without_a_value_count_in_no_loss(info: DatasetInfo, task: TaskName) -> None:
    """The loss is that of the kept pixels alone, laid out as another image; the others get no gradient."""
    target, pred = random_target(task, info, 2, 12), output(task, info, 2, 12).requires_grad_()
    punched, kept = holes(task, target)
    value = loss(task, pred, punched, info)
    alone = loss(task, pred[..., kept].unsqueeze(-2), target[..., kept].unsqueeze(-2), info)
    assert value.item() == pytest.approx(alone.item(), rel=1e-5)
    assert abs(value.item() - loss(task, pred, target, info).item()) > 1e-4
    value.backward()  # type: ignore[no-untyped-call]
    assert pred.grad is not None
    assert not pred.grad[..., ~kept].any()
    assert pred.grad[..., kept].any()


@by_offer
def test_losses_of_parts_add_up(info: DatasetInfo, task: TaskName) -> None:
    target, pred = holes(task, random_target(task, info, 4, 12))[0], output(task, info, 4, 12)
    target[0] = 0 if task in ("depth", "normals") else 255  # so that the parts have unequal numbers of pixels
    sums, counts = zip(
        *(loss_sum(task, pred[part], target[part], info) for part in (slice(0, 3), slice(3, 4))), strict=True
    )
    whole, count = loss_sum(task, pred, target, info)
    assert int(sum(counts)) == int(count) == int(valid_count(task, target)) == int(valid_pixels(task, target).sum()) > 0
    assert float(sum(sums) / sum(counts)) == pytest.approx(loss(task, pred, target, info).item(), rel=1e-5)
    assert float(whole) == pytest.approx(float(sum(sums)), rel=1e-5)


@by_offer
def test_an_image_without_any_value_has_loss_zero(info: DatasetInfo, task: TaskName) -> None:
    pred = output(task, info, 1, 6).requires_grad_()
    target = torch.full_like(random_target(task, info, 1, 6), 0 if task in ("depth", "normals") else 255)
    value = loss(task, pred, target, info)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert pred.grad is not None
    assert not pred.grad.any()
    assert loss_sum(task, pred, target, info)[1] == 0
    metric = make_metric(task, info)
    metric.update(pred.detach(), target)
    assert math.isnan(metric.value()) or task == "saliency"


@pytest.mark.parametrize(
    ("info", "task"), [(i, t) for i, t in OFFERED if t != "edges"], ids=lambda v: getattr(v, "name", v)
)
def test_pixels_without_a_value_count_in_no_metric(info: DatasetInfo, task: TaskName) -> None:
    target, pred = random_target(task, info, 3, 12), output(task, info, 3, 12)
    punched, kept = holes(task, target)
    metric, alone, all_pixels = (make_metric(task, info) for _ in range(3))
    metric.update(pred, punched)
    alone.update(pred[..., kept].unsqueeze(-2), target[..., kept].unsqueeze(-2))
    all_pixels.update(pred, target)
    assert metric.value() == pytest.approx(alone.value(), rel=1e-9)
    assert abs(metric.value() - all_pixels.value()) > 1e-3


def test_edges_without_a_value_are_neither_predicted_nor_true() -> None:
    target, prob = torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 6, 8)
    target[..., 2], prob[..., 3] = 1, 0.9
    prob[..., 6] = 0.9  # a wrong line ...
    target[..., 5:] = 255  # ... where there is no ground truth
    metric = MaxF(1.0, 1)
    metric.update(prob, target)
    assert metric.value() == pytest.approx(100)
    target[..., 2] = 255
    prob[..., 2] = 0.9
    target[:, :, 0, 1] = 1
    metric = MaxF(1.0, 0)
    metric.update(prob, target)  # column 3 is wrong; no threshold finds the one true pixel but the lowest
    known = 6 * 4
    assert metric.value() == pytest.approx(100 * 2 / (known + 1))


def test_edge_tolerance_is_a_share_of_the_diagonal() -> None:
    """30 x 40 pixels, diagonal 50: a share of 0.06 allows 3 pixels, no more."""
    for offset, hit in ((3, True), (4, False)):
        target, prob = torch.zeros(1, 1, 30, 40), torch.zeros(1, 1, 30, 40)
        target[..., 10], prob[..., 10 + offset] = 1, 0.9
        metric = MaxF(1.0, 1, share=0.06)
        metric.update(prob, target)
        assert (metric.value() > 99.9) == hit


def test_image_max_f_by_hand() -> None:
    """Two images: precision 1/2 and 1, recall 1 and 1/2 below 0.6; above, the first predicts nothing."""
    target = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 255]]).view(2, 1, 1, 4)
    prob = torch.tensor([[0.6, 0.6, 0, 0], [0.8, 0.1, 0.1, 0.9]]).view(2, 1, 1, 4)
    metric = ImageMaxF()
    metric.update(prob[:1], target[:1])
    metric.update(prob[1:], target[1:].to(torch.uint8))
    assert metric.value() == pytest.approx(100 * 0.75)
    only = ImageMaxF()
    only.update(prob, torch.where(target == 1, 0, target))
    assert only.value() == 0
    assert math.isnan(ImageMaxF().value())


def test_saliency_is_measured_as_the_datasets_literature_does() -> None:
    """The two images of the test above; pooled over pixels the best F is another."""
    target = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 255]]).view(2, 1, 1, 4)
    prob = torch.tensor([[0.6, 0.6, 0.01, 0.01], [0.8, 0.1, 0.1, 0.9]]).view(2, 1, 1, 4)
    values = {}
    for info in (PASCAL_CONTEXT, SCENES):
        metric = make_metric("saliency", info)
        metric.update(prob.logit(), target)
        values[info.name] = metric.value()
    assert values["pascal_context"] == pytest.approx(75)
    assert values["scenes"] == pytest.approx(100 * 1.3 * 1 * (1 / 3) / (0.3 * 1 + 1 / 3))  # the pixel of 0.8 alone


def test_half_precision_outputs_are_summed_in_float32() -> None:
    pred = random_output("depth", 2, 32).bfloat16()
    target = torch.full((2, 1, 32, 32), 3.0)
    value = loss("depth", pred, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss("depth", pred.float(), target))


def test_tasks_of_a_dataset() -> None:
    tasks = tasks_of(PASCAL_CONTEXT)
    assert list(tasks) == ["segmentation", "human_parts", "normals", "saliency", "edges"]
    assert [task.channels for task in tasks.values()] == [21, 7, 3, 1, 1]
    assert [task.loss_weight for task in tasks.values()] == [1, 2, 10, 5, 50]
    assert [task.loss_weight for task in TASKS.values()] == [1, 1, 1, 4, 1]
    assert (tasks["edges"].metric, TASKS["edges"].metric) == ("F by dilation (%)", "odsF (%)")
    assert set(METRICS) == {task for info in INFOS.values() for task in info.tasks}


def test_depth_of_another_dataset_has_its_own_scale() -> None:
    zero = torch.zeros(1, 1, 1, 1)
    assert decode("depth", zero, NYUD).item() == NYUD.depth_offset_m
    assert loss("depth", zero, zero + NYUD.depth_offset_m + 0.5, NYUD).item() == pytest.approx(0.5)


@by_offer
def test_trivial_predictors_leave_pixels_without_a_value_out(info: DatasetInfo, task: TaskName) -> None:
    """As the mean of what is left; where nothing is left, the mean over everything stands."""
    target = random_target(task, info, 6, 12)
    punched, kept = holes(task, target)
    constant = trivial_prediction(task, punched, False, info)
    alone = trivial_prediction(task, target[..., kept].unsqueeze(-2), False, info)
    assert torch.allclose(constant[..., 0, 0], alone[..., 0, 0], atol=1e-5)
    per_pixel = trivial_prediction(task, punched, True, info)
    assert torch.allclose(per_pixel[..., kept], trivial_prediction(task, target, True, info)[..., kept], atol=1e-5)
    assert torch.equal(per_pixel[..., ~kept], constant[..., ~kept])
