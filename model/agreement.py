# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""How far the integer model is from the float one: noise of the features layer by layer, and changed router decisions.

A router's decision changes for two reasons. *Forced*: golden's norm and router get the float model's residual stream,
rounded to int16, so only their own quantisation can change it. *Free*: the whole integer model ran; what changes here
and not in the forced comparison was inherited from the layers before, what changes only there was healed by them.

Shapes: N tokens, D channels, E experts, K chosen experts.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from math import inf, log10
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from m3vit.model.config import TaskName
from m3vit.model.moe import top_k_lower_index_first
from m3vit.model.reference import Reference
from m3vit.model.vit import DenseBlock, M3ViT, MoEBlock, normalise_image
from m3vit.sim.golden.arith import saturate
from m3vit.sim.golden.executor import Executor, State, Step
from m3vit.sim.golden.moe import router_logits, top_k
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Op, Opcode

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EMBEDDING, ATTENTION, MLP, EXPERTS, HEAD = "embedding", "attention", "mlp", "experts", "head"


@dataclass(frozen=True)
class Stage:
    """A place where float and integer features are compared."""

    layer: int | None
    """None for embedding and head."""
    part: str
    """embedding, head, or the part of the block that was added last: attention, mlp or experts."""

    def __str__(self) -> str:
        return self.part if self.layer is None else f"{self.layer} {self.part}"


@dataclass
class Power:
    """Sums of squares of the float values and of their difference to the integer model's."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: Floats, value: Floats) -> None:
        """Count one more pair of tensors."""
        self.signal += float(np.square(reference).sum())
        self.noise += float(np.square(reference - value).sum())

    @property
    def sqnr_db(self) -> float:
        """Signal to quantisation noise ratio; infinite without noise."""
        return 10 * log10(self.signal / self.noise) if self.noise and self.signal else (-inf if self.noise else inf)


@dataclass
class Flips:
    """Tokens whose decision differs from the float model's, in one router for one task."""

    tokens: int = 0
    free: int = 0
    """Another set of experts with the whole integer model."""
    free_first: int = 0
    """Another first choice with the whole integer model."""
    forced: int = 0
    """Another set on the float model's residual stream: by the router's own quantisation."""
    forced_first: int = 0
    inherited: int = 0
    """Another set when free, but not when forced."""
    healed: int = 0
    """Another set when forced, but not when free; free = forced - healed + inherited."""

    def add(self, reference_NK: Ints, free_NK: Ints, forced_NK: Ints) -> None:
        """Count the decisions on one image."""
        free_N, forced_N = (_other_set(reference_NK, x_NK) for x_NK in (free_NK, forced_NK))
        self.tokens += len(reference_NK)
        self.free += int(free_N.sum())
        self.forced += int(forced_N.sum())
        self.free_first += int((reference_NK[:, 0] != free_NK[:, 0]).sum())
        self.forced_first += int((reference_NK[:, 0] != forced_NK[:, 0]).sum())
        self.inherited += int((free_N & ~forced_N).sum())
        self.healed += int((forced_N & ~free_N).sum())


def _other_set(a_NK: Ints, b_NK: Ints) -> npt.NDArray[np.bool_]:
    return np.asarray((np.sort(a_NK, axis=1) != np.sort(b_NK, axis=1)).any(axis=1))


@dataclass
class TaskAgreement:
    """Comparison for one task."""

    powers: dict[Stage, Power] = field(default_factory=lambda: defaultdict(Power))
    flips: dict[int, Flips] = field(default_factory=lambda: defaultdict(Flips))
    """By block."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without noise the ratio is null."""
        ratios = {str(stage): power.sqnr_db for stage, power in self.powers.items()}
        return {
            "sqnr_db": {name: ratio if abs(ratio) < inf else None for name, ratio in ratios.items()},
            "flips": {str(layer): asdict(flips) for layer, flips in self.flips.items()},
        }


def agreement(
    model: M3ViT, pathways: Pathways, images: Tensor, progress: bool = False
) -> dict[TaskName, TaskAgreement]:
    """Compare a float model with its integer model.

    Args:
        model: in evaluation mode, on the CPU.
        pathways: what `quantise` made of it.
        images: uint8 (B, 3, H, W), best not those of the calibration.
        progress: show a progress bar.
    """
    results: dict[TaskName, TaskAgreement] = {}
    with tqdm(total=len(images) * len(pathways.tasks), desc="compare", disable=not progress) as bar:
        for task, pathway in pathways.tasks.items():
            executor, results[task] = Executor(pathway), TaskAgreement()
            for image in images:
                _compare(model, executor, image, task, results[task])
                bar.update()
    return results


def _compare(model: M3ViT, executor: Executor, image: Tensor, task: TaskName, result: TaskAgreement) -> None:
    reference, (integer, free) = float_features(model, image, task), integer_features(executor, image)
    assert list(reference) == list(integer)
    for stage, value in reference.items():
        result.powers[stage].add(value, integer[stage])
    for layer, free_NK in free.items():
        residual_ND = reference[Stage(layer, ATTENTION)]
        forced_NK = forced_choice(executor, layer, residual_ND)
        result.flips[layer].add(float_choice(model, layer, residual_ND, task), free_NK, forced_NK)


@torch.no_grad()
def float_features(model: M3ViT, image: Tensor, task: TaskName) -> dict[Stage, Floats]:
    """The residual stream (N, D) after every part, and the head's outputs (N - 1, C), for one uint8 image (3, H, W)."""
    seen: dict[Stage, Floats] = {}

    def keep(stage: Stage, x: Tensor) -> None:
        seen[stage] = x[0].double().numpy()

    with _watched(model, task, keep):
        model(normalise_image(image[None]), task)
    return seen


@contextmanager
def _watched(model: M3ViT, task: TaskName, keep: Any) -> Iterator[None]:
    """Within the context, `keep` gets the features of every forward pass, in order."""
    with ExitStack() as stack:

        def before(module: nn.Module, stage: Stage) -> None:
            stack.callback(module.register_forward_pre_hook(lambda _, inputs: keep(stage, inputs[0])).remove)

        def after(module: nn.Module, stage: Stage) -> None:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                keep(stage, output[0] if isinstance(output, tuple) else output)

            stack.callback(module.register_forward_hook(hook).remove)

        before(model.blocks[0], Stage(None, EMBEDDING))
        for index, block in enumerate(model.blocks):
            assert isinstance(block, DenseBlock | MoEBlock)
            before(block.norm2, Stage(index, ATTENTION))
            after(block, Stage(index, EXPERTS if isinstance(block, MoEBlock) else MLP))
        after(model.heads[task].get_submodule("linear"), Stage(None, HEAD))
        yield


@torch.no_grad()
def float_choice(model: M3ViT, layer: int, residual_ND: Floats, task: TaskName) -> Ints:
    """Experts (N, K) that a block's float router chooses for a residual stream before its second norm."""
    block = model.blocks[layer]
    assert isinstance(block, MoEBlock)
    x_ND: Tensor = block.norm2(torch.from_numpy(residual_ND).float())
    logits_NE = functional.linear(x_ND, *block.mlp.router.effective(task))
    return np.asarray(top_k_lower_index_first(logits_NE, model.config.top_k).numpy())


def integer_features(executor: Executor, image: Tensor) -> tuple[dict[Stage, Floats], dict[int, Ints]]:
    """The same features of the integer model in real units, and the experts (N, K) of every MoE block."""
    scales, layer = executor.pathway.scales, 0
    features: dict[Stage, Floats] = {}
    choices: dict[int, Ints] = {}

    def observe(step: Step) -> None:
        nonlocal layer
        stage = _stage(step.op, layer)
        if stage is None:
            return
        features[stage] = step.result.astype(np.float64) * (scales.output if stage.part == HEAD else scales.residual)
        if stage.part == EXPERTS:
            choices[layer] = _choice(executor, step.op, step.x_ND)
        layer += stage.part in (MLP, EXPERTS)

    executor.run(image.permute(1, 2, 0).contiguous().numpy(), observe)
    return features, choices


def _stage(op: Op, layer: int) -> Stage | None:
    match op.opcode:
        case Opcode.PATCH_EMBED:
            return Stage(None, EMBEDDING)
        case Opcode.LINEAR_RESIDUAL:
            return Stage(layer, ATTENTION)
        case Opcode.MLP:
            return Stage(layer, MLP)
        case Opcode.MOE:
            return Stage(layer, EXPERTS)
        case Opcode.HEAD:
            return Stage(None, HEAD)
        case _:
            return None


def _choice(executor: Executor, op: Op, x_ND: npt.NDArray[np.int8]) -> Ints:
    return top_k(router_logits(x_ND, executor.router(op)), op.top_k)


def forced_choice(executor: Executor, layer: int, residual_ND: Floats) -> Ints:
    """Experts (N, K) that golden's norm and router choose for a float residual stream, rounded to int16."""
    program = executor.pathway.program
    index = [i for i, op in enumerate(program) if op.opcode in (Opcode.MLP, Opcode.MOE)][layer]
    unit_ND = np.floor(residual_ND / executor.pathway.scales.residual + 0.5)
    state = State.of(residual_ND=saturate(unit_ND.astype(np.int64), 16).astype(np.int16))
    executor.step(index - 1, state)  # the norm stands directly before
    return _choice(executor, program[index], state.x_ND)


@dataclass(frozen=True)
class Deviation:
    """Largest differences between one operator of the float model and the float64 reference on equal input."""

    name: str
    kind: str
    largest: float
    """Of the outputs' differences."""
    magnitude: float
    """Of the reference's outputs."""


@torch.no_grad()
def operator_deviations(model: M3ViT, image_3HW: Tensor, task: TaskName) -> list[Deviation]:
    """Run the float64 reference on one normalised image and the float model's operators on its inputs.

    Args:
        model: in evaluation mode, on the CPU.
        image_3HW: float, in [-1, 1].
        task: one of the model's.
    """
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    deviations = []
    for operation in Reference(model.config, weights).run(image_3HW.double().numpy(), task):
        module, x = model.get_submodule(operation.name), torch.from_numpy(operation.input).float()[None]
        match operation.kind:
            case "router":
                y: Tensor = module(x[0], task).logits_NE
            case "experts":
                y = module(x, (task,))[0][0]
            case _:
                y = module(x)[0]
        difference = np.abs(y.double().numpy() - operation.output)
        largest, magnitude = float(difference.max()), float(np.abs(operation.output).max())
        deviations.append(Deviation(operation.name, operation.kind, largest, magnitude))
    return deviations
