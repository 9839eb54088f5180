# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Units: the real value of one integer unit of every tensor of a quantised model, as one object.

`choose_units` decides them from a calibration; from then on a model is quantised without images, to the same bytes. A
checkpoint may carry them as tensors `quant.*`. docs/numbers.md says what each integer means.

Shapes: L layers, T tasks, E experts, H hidden channels of an expert, D channels of the residual stream.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from m3vit.model.calibrate import RESIDUAL, Calibration
from m3vit.model.checkpoint import read_checkpoint
from m3vit.model.config import Config, ModelConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.golden.linear import gelu_table
from m3vit.sim.golden.norm import Norm
from m3vit.sim.integerise import (
    LOG2_E,
    AttentionUnits,
    Floats,
    Hidden,
    attention_units,
    hidden_activation,
    norm_factors,
    requant,
)

INT16_MAX = 2**15 - 1
HIDDEN_SAMPLE = 1 << 17
OUTPUT_HEADROOM = 2.0


@dataclass(frozen=True)
class NormUnits:
    """Real value of one unit of a norm's output: scale * 2**coarse_D[d] in channel d."""

    scale: float
    coarse_D: npt.NDArray[np.uint8]

    @property
    def integers(self) -> Norm:
        """What the norm itself computes with."""
        return Norm(requant(1 / self.scale), self.coarse_D)


@dataclass(frozen=True)
class ExpertScales:
    """Real value of one unit of the experts' weights, per output channel; fc1's after the norm's gain is folded in."""

    fc1_EH: Floats
    fc2_ED: Floats


@dataclass(frozen=True)
class MlpUnits:
    """Units of an MLP or MoE layer with its norm.

    Attributes:
        norm: the norm's output.
        hidden: the GELU.
        centres: of each task's router, the middle of the largest logits in octaves; empty without experts.
        scales: of weights that are narrower than int8; otherwise they follow from the weights.
    """

    norm: NormUnits
    hidden: Hidden
    centres: dict[TaskName, float]
    scales: ExpertScales | None = None


@dataclass(frozen=True)
class BlockUnits:
    """Units of one transformer block: norm and attention, norm and MLP."""

    norm: NormUnits
    attention: AttentionUnits
    mlp: MlpUnits


@dataclass(frozen=True)
class Units:
    """Everything that calibration decides.

    Attributes:
        residual: one unit of the residual stream.
        blocks: of every block.
        norm: the final norm's output.
        outputs: one unit of each head's output.
    """

    residual: float
    blocks: tuple[BlockUnits, ...]
    norm: NormUnits
    outputs: dict[TaskName, float]


def choose_units(calibration: Calibration, config: Config) -> Units:
    """Units with the least error on calibration samples.

    Args:
        calibration: of the model.
        config: sizes, tasks and `quant.residual_headroom`.
    """
    model = config.model
    outputs = {task: calibration.largest(f"head.{task}") * OUTPUT_HEADROOM / INT16_MAX for task in model.tasks}
    return Units(
        residual=(calibration.largest(RESIDUAL) or 1.0) * config.quant.residual_headroom / INT16_MAX,
        blocks=tuple(choose_block(calibration, model, layer) for layer in range(model.layers)),
        norm=choose_norm(calibration, "norm"),
        outputs={task: output or 1.0 for task, output in outputs.items()},
    )


def choose_norm(calibration: Calibration, name: str) -> NormUnits:
    """Units of a norm's output."""
    return NormUnits(*norm_factors(calibration.values(name)))


def choose_block(calibration: Calibration, model: ModelConfig, layer: int) -> BlockUnits:
    """Units of one block."""
    name = f"blocks.{layer}"
    q_SD, k_SD, v_SD, output_SD = (calibration.values(f"{name}.{part}") for part in ("q", "k", "v", "attention"))
    return BlockUnits(
        norm=choose_norm(calibration, f"{name}.norm1"),
        attention=attention_units(q_SD, k_SD, v_SD, output_SD, model.dim // model.heads),
        mlp=choose_mlp(calibration, name, model.tasks if model.is_moe(layer) else ()),
    )


def choose_mlp(calibration: Calibration, name: str, tasks: tuple[TaskName, ...]) -> MlpUnits:
    """Units of an MLP, or of experts with the routers of `tasks`."""
    pre_S = calibration.values(f"{name}.hidden").ravel()
    pre_S = pre_S[:: pre_S.size // HIDDEN_SAMPLE | 1]  # an odd step meets all channels
    hidden = hidden_activation(pre_S, functional.gelu(torch.from_numpy(pre_S)).numpy())
    seen = {task: calibration.top_logits[name, task] for task in tasks}
    centres = {task: LOG2_E * (min(top) + max(top)) / 2 for task, top in seen.items()}
    return MlpUnits(choose_norm(calibration, f"{name}.norm2"), hidden, centres)


def units_to_tensors(units: Units) -> dict[str, Tensor]:
    """The units as named tensors, float64 but for the uint8 powers of two, stacked over blocks."""
    blocks, tasks = units.blocks, tuple(units.outputs)
    norms = {"norm1": [b.norm for b in blocks], "norm2": [b.mlp.norm for b in blocks], "norm": [units.norm]}
    attentions = [b.attention for b in blocks]
    hidden = [(h.input_scale, h.output_scale, h.zero) for h in (b.mlp.hidden for b in blocks)]
    arrays: dict[str, npt.ArrayLike] = {
        "residual": np.array([units.residual]),
        "outputs": [units.outputs[task] for task in tasks],
        "hidden": np.array(hidden, np.float64),
        "centres": [[b.mlp.centres.get(task, 0.0) for task in tasks] for b in blocks],
        "attention": [(a.q_D, a.k_D, a.v_D, a.output_D) for a in attentions],
        "score_shift": np.array([a.score_shift for a in attentions], np.uint8),
    }
    for name, group in norms.items():
        arrays[f"{name}.scale"] = [norm.scale for norm in group]
        arrays[f"{name}.coarse"] = np.array([norm.coarse_D for norm in group], np.uint8)
    if scales := [b.mlp.scales for b in blocks if b.mlp.scales is not None]:
        arrays |= {"experts.fc1": [s.fc1_EH for s in scales], "experts.fc2": [s.fc2_ED for s in scales]}
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def expected_shapes(config: ModelConfig, expert_scales: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of `units_to_tensors` for a model."""
    layers, dim, moe, experts = config.layers, config.dim, len(config.moe_layers), config.experts
    shapes: dict[str, tuple[int, ...]] = {
        "residual": (1,), "outputs": (len(config.tasks),), "hidden": (layers, 3),
        "centres": (layers, len(config.tasks)), "attention": (layers, 4, dim), "score_shift": (layers,),
    }  # fmt: skip
    for name, count in (("norm1", layers), ("norm2", layers), ("norm", 1)):
        shapes |= {f"{name}.scale": (count,), f"{name}.coarse": (count, dim)}
    if expert_scales:
        shapes |= {"experts.fc1": (moe, experts, config.expert_hidden), "experts.fc2": (moe, experts, dim)}
    return shapes


def units_from_tensors(tensors: dict[str, Tensor], config: ModelConfig) -> Units:
    """Inverse of `units_to_tensors`.

    Raises:
        UserError: tensors are missing or do not fit the model.
    """
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected_shapes(config, "experts.fc1" in found):
        raise UserError(
            f"the quantisation units in the checkpoint do not fit its model {config.name}; export a checkpoint without "
            f"them, or run `m3vit qat` again"
        )
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return Units(
        residual=float(arrays["residual"][0]),
        blocks=tuple(_block(arrays, config, layer) for layer in range(config.layers)),
        norm=_norm(arrays, "norm", 0),
        outputs={task: float(value) for task, value in zip(config.tasks, arrays["outputs"], strict=True)},
    )


def load_units(path: Path) -> Units | None:
    """The units in a checkpoint file, None if it has none.

    Raises:
        UserError: the file is not a checkpoint, or its units do not fit its model.
    """
    checkpoint = read_checkpoint(path)
    return units_from_tensors(checkpoint.quant, checkpoint.config.model) if checkpoint.quant else None


def _norm(arrays: dict[str, npt.NDArray[np.generic]], name: str, index: int) -> NormUnits:
    return NormUnits(float(arrays[f"{name}.scale"][index]), arrays[f"{name}.coarse"][index].astype(np.uint8))


def _block(arrays: dict[str, npt.NDArray[np.generic]], config: ModelConfig, layer: int) -> BlockUnits:
    moe = config.is_moe(layer)
    q_D, k_D, v_D, output_D = arrays["attention"][layer].astype(np.float64)
    attention = AttentionUnits(q_D, k_D, v_D, output_D, int(arrays["score_shift"][layer]))
    input_scale, output_scale, zero = (float(value) for value in arrays["hidden"][layer])
    table = gelu_table(input_scale, output_scale, int(zero))
    centres = {task: float(arrays["centres"][layer, index]) for index, task in enumerate(config.tasks)} if moe else {}
    scales = None
    if moe and "experts.fc1" in arrays:
        place = config.moe_layers.index(layer)
        scales = ExpertScales(*(arrays[f"experts.{fc}"][place].astype(np.float64) for fc in ("fc1", "fc2")))
    mlp = MlpUnits(_norm(arrays, "norm2", layer), Hidden(input_scale, output_scale, int(zero), table), centres, scales)
    return BlockUnits(_norm(arrays, "norm1", layer), attention, mlp)
