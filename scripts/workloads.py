# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Workloads that `m3vit bench` and `m3vit ablation` run, and what others published for them."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3vit.model import train as trainer
from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.config import (
    HARDWARE,
    MODELS,
    Config,
    HardwareConfig,
    ModelConfig,
    QuantConfig,
    SceneConfig,
    TaskName,
    TrainConfig,
)
from m3vit.model.errors import UserError
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.scenes import load_split
from m3vit.scripts.train import choose_device
from m3vit.scripts.verify import validation_images
from m3vit.sim.capacity import check_fits
from m3vit.sim.pathway import Pathways
from m3vit.sim.synthetic import random_image, random_pathways

TASKS: tuple[TaskName, ...] = ("segmentation", "depth")
"""Tasks of the full-size models; two suffice to switch between."""
RECIPE = TrainConfig(steps=300, batch=4, lr=1e-3, warmup=20, checkpoint_every=50)
"""A short training: routers as they form in training, not a good model."""


class Weights(StrEnum):
    """Where a workload's weights come from."""

    trained = "trained"
    random = "random"


@dataclass(frozen=True)
class Published:
    """A figure of others: whole encoder, time per frame. For orientation; boards and number formats differ."""

    design: str
    source: str
    board: str
    bits: str
    ms: float


@dataclass(frozen=True)
class Workload:
    """A model, the hardware it runs on, and how much of it a benchmark simulates.

    Attributes:
        model: the network.
        hardware: the design.
        tasks: how many of its tasks run.
        switch_rounds: how often the cost of a task switch is measured, with two more frames per task each time.
        published: what others state for this network.
        recipe: of its short training.
        goal_cycles, goal_ratio: most cycles of a frame with trained routers, and most over its bound.
    """

    model: ModelConfig
    hardware: HardwareConfig
    tasks: int = 1
    switch_rounds: int = 0
    published: tuple[Published, ...] = ()
    recipe: TrainConfig = RECIPE
    goal_cycles: int | None = None
    goal_ratio: float = 1.15

    @property
    def config(self) -> Config:
        """Of its short training, on just as many scenes as that sees."""
        scenes = SceneConfig(train_size=self.recipe.steps * self.recipe.batch, val_size=4)
        return Config(
            model=self.model.model_copy(update={"tasks": TASKS}),
            scenes=scenes,
            train=self.recipe,
            quant=QuantConfig(calibration_images=4),
            hardware=self.hardware,
        )


def many_experts(model: ModelConfig, experts: int) -> ModelConfig:
    """The same model with another number of experts."""
    return model.model_copy(update={"experts": experts, "name": f"{model.name}_{experts}_experts"})


TINY, SMALL = MODELS["m3vit_tiny_patch16"], MODELS["m3vit_small_patch16"]
ZCU104, ZCU102 = "ZCU104", "ZCU102"
WORKLOADS: dict[str, Workload] = {
    "demo": Workload(MODELS["m3vit_demo_patch8"], HARDWARE["demo"], tasks=2, switch_rounds=1),
    "tiny": Workload(
        TINY,
        HARDWARE["zcu104"],
        tasks=2,
        switch_rounds=25,
        goal_cycles=420_000,
        published=(
            Published("Edge-MoE", "arXiv 2305.18691", ZCU102, "W16 A32", 34.64),
            Published("UbiMoE", "arXiv 2502.05602", ZCU102, "W16 A32", 25.76),
            Published("CoQMoE", "arXiv 2506.08496", ZCU102, "INT8", 6.47),
        ),
    ),
    "tiny-64": Workload(many_experts(TINY, 64), HARDWARE["zcu104"]),
    "tiny-256": Workload(many_experts(TINY, 256), HARDWARE["zcu104"]),
    "small": Workload(
        SMALL,
        HARDWARE["zcu104"],
        published=(
            Published("M3ViT, reordered, their estimate", "arXiv 2210.14793", ZCU104, "not stated", 69.033),
            Published("M3ViT, expert cache, their estimate", "arXiv 2210.14793", ZCU104, "not stated", 637.478),
        ),
        recipe=RECIPE.model_copy(update={"steps": 60, "batch": 1, "checkpoint_every": 10}),
        goal_cycles=13_500_000,
    ),
}


def find_workload(name: str) -> Workload:
    """A workload by name.

    Raises:
        UserError: there is none.
    """
    if name not in WORKLOADS:
        raise UserError(f"workload '{name}' is unknown; choose one of {', '.join(WORKLOADS)}")
    return WORKLOADS[name]


def find_checkpoint(workload: Workload, weights: Weights, checkpoint: Path | None, folder: Path) -> Path | None:
    """The checkpoint that a workload runs with; None for random weights.

    Args:
        workload: what runs.
        weights: trained ones come from a short training in `folder`, which is continued or reused if it is there.
        checkpoint: a trained model that the user has; takes precedence.
        folder: of the training.

    Raises:
        UserError: `folder` holds something else, or a training with another config.
    """
    if checkpoint is not None or weights is Weights.random:
        return checkpoint
    resume = (folder / trainer.RESUME).exists()
    return trainer.train(workload.config, folder, resume, choose_device("auto"))


def make_pathways(
    workload: Workload, checkpoint: Path | None, images: int, seed: int
) -> tuple[Pathways, list[npt.NDArray[np.uint8]]]:
    """Pathways and input images of a workload.

    Args:
        workload: what to build.
        checkpoint: a trained model in place of the workload's; None draws random weights, whose routers are uneven.
        images: how many; validation scenes for a checkpoint, random ones for random weights.
        seed: of what is random.

    Raises:
        UserError: the checkpoint cannot be read, is of another model, or does not fit the hardware.
    """
    if checkpoint is None:
        model = workload.model.model_copy(update={"tasks": TASKS})
        pathways = random_pathways(model, workload.hardware, seed)
        return pathways, [random_image(model, seed + index) for index in range(images)]
    config, network = load_checkpoint(checkpoint)
    if config.model.model_copy(update={"tasks": workload.model.tasks}) != workload.model:
        raise UserError(f"{checkpoint} is a model '{config.model.name}', not the workload's '{workload.model.name}'")
    config = config.model_copy(update={"hardware": workload.hardware})
    check_fits(config.model, config.hardware)
    scenes = config.scenes.model_copy(update={"train_size": config.quant.calibration_images})
    calibration = load_split(scenes, config.model.image_hw, "train", progress=True)["image"]
    units = calibrate_units(network, config, calibration, progress=True)
    return quantise(network, config, units), list(validation_images(config, images))


def origin(checkpoint: Path | None) -> str:
    """What the weights are, in words."""
    return f"weights of {checkpoint}" if checkpoint else "random weights, uneven routers"
