# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The batched integer model equals the golden executor in every bit of every layer, for all tasks."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from test_quantise import make_config, spread_out

from m3vit.model.config import RouterKind
from m3vit.model.integer_model import IntegerModel, IntNetwork
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Opcode
from m3vit.sim.repack import unpack_network

NAMES = ("norm1", "qkv", "attention", "proj", "norm2", "mlp")


def random_images(count: int, image_hw: tuple[int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, *image_hw), dtype=torch.uint8, generator=generator)


def golden_steps(pathways: Pathways, image: torch.Tensor, task: str) -> list[npt.NDArray[np.generic]]:
    steps: list[Step] = []
    Executor(pathways.task(task)).run(image.permute(1, 2, 0).contiguous().numpy(), steps.append)  # type: ignore[arg-type]
    return [step.result for step in steps if step.op.opcode is not Opcode.STORE]


def assert_equals_golden(pathways: Pathways, images: torch.Tensor, slices: int) -> int:
    """Compare every layer of every task; returns the number of compared integers."""
    seen: dict[str, torch.Tensor] = {}
    config = pathways.first.config.model
    network = IntNetwork.of(unpack_network(pathways, slices))
    with torch.no_grad():
        outputs = IntegerModel(network, config, seen.__setitem__)(images)
    layers = [f"blocks.{i}.{name}" for i in range(config.layers) for name in NAMES]
    count = 0
    for place, task in enumerate(config.tasks):
        for index, image in enumerate(images):
            *golden, output = golden_steps(pathways, image, task)
            for name, expected in zip(["patch_embed", *layers, "norm"], golden, strict=True):
                rows = seen[name]
                row = rows[index] if len(rows) == len(images) else rows[place * len(images) + index]
                np.testing.assert_array_equal(row.numpy(), expected, err_msg=f"{task} {name}")
                count += expected.size
            np.testing.assert_array_equal(outputs[task][index].numpy(), output, err_msg=task)
            count += output.size
    return count


@pytest.mark.parametrize(("router", "renormalise"), [("multi", False), ("single", True), ("task_conditioned", False)])
def test_every_layer_equals_golden(router: RouterKind, renormalise: bool) -> None:
    config = make_config(router, renormalise)
    images = random_images(3, config.model.image_hw)
    model = spread_out(config, seed=3)
    pathways = quantise(model, config, calibrate_units(model, config, images))
    assert assert_equals_golden(pathways, images, slices=2) > 400_000


def test_saturated_tensors_equal_golden() -> None:
    """Units from dark images, so that bright ones saturate everywhere; the executor is the judge."""
    config = make_config()
    images = random_images(2, config.model.image_hw)
    model = spread_out(config, seed=4)
    units = calibrate_units(model, config, images // 16)
    pathways = quantise(model, config, units)
    assert_equals_golden(pathways, images, slices=2)
