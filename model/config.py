# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The one frozen config tree: every parameter of model, data, training, quantisation and hardware lives here.

Everything else is derived: the SystemVerilog package, the register map, the Vivado project and the report read
these classes, so a size is never written in two places. Nothing here needs torch.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from m3vit.model.errors import UserError, read_file

TaskName = Literal["segmentation", "human_parts", "depth", "normals", "edges", "saliency"]
DatasetName = Literal["scenes", "nyud", "pascal_context", "cityscapes"]
SEGMENTATION_CLASSES = ("floor", "wall", "box", "sphere", "cylinder")
"""Names of the class ids of the scenes."""
HUMAN_PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
"""Names of the class ids of PASCAL-Context's human parts (ASTMT, arXiv 1904.08918)."""
RouterKind = Literal["single", "multi", "task_conditioned"]


class Frozen(BaseModel):
    """Base of all config nodes: immutable, keyword-only, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Frozen):
    """Architecture of an M3ViT (arXiv 2210.14793, section 3.1). Sizes in tokens, channels and pixels."""

    name: str
    image_hw: tuple[int, int]
    patch: int = Field(gt=0)
    dim: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    mlp_hidden: int = Field(gt=0)
    experts: int = Field(gt=0)
    top_k: int = Field(gt=0)
    expert_hidden: int = Field(gt=0)
    dense: bool = False
    """Every block holds the dense MLP: the baseline that the papers compare with (M3ViT, tables 1 and 4)."""
    router: RouterKind = "multi"
    renormalise: bool = False
    """Divide the top-k gates by their sum; M3ViT and V-MoE do not."""
    task_embedding: int = Field(default=16, gt=0)
    """Width of the task embedding that the task-conditioned router concatenates to each token."""
    head_grid: int = Field(default=4, gt=0)
    """Each token predicts head_grid x head_grid sub-patch cells."""
    classes: int = Field(default=len(SEGMENTATION_CLASSES), gt=1)
    """Classes of the segmentation task; the dataset's number."""
    tasks: tuple[TaskName, ...] = ("segmentation", "depth", "normals", "edges", "saliency")

    @model_validator(mode="after")
    def _check(self) -> Self:
        height, width = self.image_hw
        if height % self.patch or width % self.patch:
            raise ValueError(f"image {height}x{width} is not a multiple of the patch size {self.patch}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} exceeds the number of experts {self.experts}")
        if self.patch % self.head_grid:
            raise ValueError(f"patch {self.patch} is not a multiple of head_grid {self.head_grid}")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks must be a non-empty list without repetition")
        return self

    def channels(self, task: TaskName) -> int:
        """Output channels of a task's prediction."""
        match task:
            case "segmentation":
                return self.classes
            case "human_parts":
                return len(HUMAN_PARTS)
            case "normals":
                return 3
            case "depth" | "edges" | "saliency":
                return 1

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Patches per column and row."""
        return self.image_hw[0] // self.patch, self.image_hw[1] // self.patch

    @property
    def tokens(self) -> int:
        """Tokens per image, the class token included."""
        return self.grid_hw[0] * self.grid_hw[1] + 1

    def is_moe(self, layer: int) -> bool:
        """Every second block, the odd ones, holds experts (section 3.1), unless the model is dense."""
        return not self.dense and layer % 2 == 1

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Indices of the blocks with experts."""
        return tuple(i for i in range(self.layers) if self.is_moe(i))


class SceneConfig(Frozen):
    """The procedural scene dataset. Train and validation scenes never share a seed."""

    train_size: int = Field(default=4096, gt=0)
    val_size: int = Field(default=128, gt=0)
    seed: int = 2210


class DataConfig(Frozen):
    """Where images and targets come from, and how training images are augmented."""

    dataset: DatasetName = "scenes"
    root: Path | None = None
    """Folder of a dataset on disk; the scenes need none."""
    workers: int = Field(default=2, ge=0)
    """Loader processes of a dataset on disk."""
    flip: bool = True
    """Mirror half of the training images of a dataset on disk, targets (and normals' x) with them."""
    scale: tuple[float, float] = (0.75, 1.5)
    """Range of the random rescaling before the crop to the model's image size (MTI-Net, arXiv 2001.06902)."""
    colour_jitter: float = Field(default=0.2, ge=0)
    """Strength of brightness, contrast and saturation changes."""


class TrainConfig(Frozen):
    """Optimisation recipe. `steps` counts optimiser updates; each update sees all tasks."""

    steps: int = Field(default=500, gt=0)
    batch: int = Field(default=16, gt=0)
    """Images of one update, over all accumulated parts and all processes."""
    accumulate: int = Field(default=1, gt=0)
    """Parts of a batch that are computed one after the other."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD, and the first beta of AdamW."""
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: int = Field(default=50, ge=0)
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    poly_power: float = Field(default=0.9, gt=0)
    grad_clip: float = Field(default=1.0, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of matrix products in training (torch's autocast); parameters stay float32."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is then what is validated and shipped; 0: none."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """Task losses by fixed factors, or by learned variances (Kendall et al., arXiv 1705.07115)."""
    loss_weights: dict[TaskName, float] = Field(default_factory=dict)
    """Fixed factors in place of a task's own."""
    conflict: Literal["none", "pcgrad"] = "none"
    """Project conflicting task gradients (PCGrad, arXiv 2001.06782)."""
    pretrained: str | None = None
    """A timm model name or checkpoint file, whose weights the trunk and (upcycled) the experts start from."""
    experts: Literal["replicated", "sharded"] = "replicated"
    """With several processes: every process holds all experts, or an equal share of them."""
    router_noise: float = Field(default=1.0, ge=0)
    """Noise standard deviation times the number of experts (V-MoE, arXiv 2106.05974, section 2)."""
    importance_loss: float = Field(default=0.01, ge=0)
    load_loss: float = Field(default=0.01, ge=0)
    balance: Literal["task", "all"] = "task"
    """Whose load on the experts should be even: every task's by itself, or that of all tasks together."""
    checkpoint_every: int = Field(default=250, gt=0)
    seed: int = 0


class QuantConfig(Frozen):
    """Post-training quantisation and the widths that all executors share."""

    calibration_images: int = Field(default=64, gt=0)
    residual_headroom: float = Field(default=1.5, ge=1)
    """Factor between the largest residual seen in calibration and the int16 range."""
    expert_bits: Literal[4, 8] = 8
    """Width of the experts' weights; everything else is int8."""


class MemoryConfig(Frozen):
    """PS DDR4 behind the HP ports, as the design page fixes it. Cycles are cycles of the accelerator's clock."""

    ports: Literal[1, 2, 4] = 4
    """AXI ports that the accelerator uses, of the four that the board has."""
    port_bytes: Literal[16] = 16
    efficiency_percent: int = Field(default=80, gt=0, le=100)
    latency_cycles: int = Field(default=64, gt=0)

    @property
    def peak_bytes(self) -> int:
        """Bytes per cycle at 100 % efficiency over all ports."""
        return self.ports * self.port_bytes

    @property
    def bytes_per_cycle(self) -> float:
        """Sustained bytes per cycle."""
        return self.peak_bytes * self.efficiency_percent / 100


class BoardConfig(Frozen):
    """Resources of the target device; the default is the ZCU104's XCZU7EV (AMD DS891)."""

    name: str = "ZCU104"
    part: str = "xczu7ev-ffvc1156-2-e"
    board_file: str = "xilinx.com:zcu104:*"
    """Name of Vivado's board file, any version."""
    dsp: int = Field(default=1728, gt=0)
    bram36: int = Field(default=312, gt=0)
    uram: int = Field(default=96, ge=0)
    lut: int = Field(default=230_400, gt=0)
    ff: int = Field(default=460_800, gt=0)


BOARDS: dict[str, BoardConfig] = {
    board.name: board
    for board in (
        BoardConfig(),
        BoardConfig(
            name="ZCU102", part="xczu9eg-ffvb1156-2-e", board_file="xilinx.com:zcu102:*",
            dsp=2520, bram36=912, uram=0, lut=274_080, ff=548_160,
        ),
        BoardConfig(
            name="KV260", part="xck26-sfvc784-2LV-c", board_file="xilinx.com:kv260_som:*",
            dsp=1248, bram36=144, uram=64, lut=117_120, ff=234_240,
        ),
    )
}  # fmt: skip
"""Boards by name: ZCU104 and ZCU102 (AMD DS891), Kria KV260 (XCK26, AMD DS987). The ZCU102's XCZU9EG has no URAM."""


def find_board(name: str) -> BoardConfig:
    """A board by its name, in any case.

    Raises:
        UserError: there is none.
    """
    board = BOARDS.get(name.upper())
    if board is None:
        raise UserError(f"board '{name}' is unknown; choose one of {', '.join(BOARDS)}")
    return board


def _named_board(value: Any) -> Any:
    """A board's name stands for the board."""
    if not isinstance(value, str):
        return value
    try:
        return find_board(value)
    except UserError as error:
        raise ValueError(str(error)) from error


SHARE = {"dsp": 0.96, "bram36": 0.90, "uram": 0.90, "lut": 0.70, "ff": 0.70}
"""Part of a board's resources that a design may use and still be placed and routed."""
WORD_BYTES = 64
"""A DRAM word: one beat over all four ports."""
MAX_PORTS = 4
"""Ports that the accelerator's top module has; those beyond `MemoryConfig.ports` stay idle."""
UNIT_BYTES = 32
"""Inputs of one group of the linear engine. Channels per token and per head are multiples of it."""
MAX_TILES = 255
"""Tiles of output channels that the units of the accelerator count to."""


class HardwareConfig(Frozen):
    """Shape of one accelerator. Capacities bound what a program may ask for; the RTL takes them as parameters."""

    name: str
    lanes: Literal[8, 16, 32]
    """Output channels computed in parallel (PO)."""
    groups: int = Field(ge=2, le=4)
    """Groups of 32 input channels computed in parallel. MAC per cycle = 32 x groups x lanes."""
    max_tokens: int = Field(gt=1, le=4096)
    max_dim: int = Field(gt=0)
    """Channels per token, and outputs of a head."""
    max_hidden: int = Field(gt=0)
    """Hidden channels of an expert or of a slice of a dense MLP."""
    max_top_k: int = Field(default=4, gt=0, le=16)
    max_block: int = Field(gt=1)
    """Query rows of one attention block: their scores are kept on chip."""
    stream_words: int = Field(ge=64)
    """Capacity of the weight stream buffer in words of `inputs` bytes."""
    lend_words: int = Field(gt=1)
    """Words of the key-value buffer that the weight stream uses when a model leaves them free."""
    router_lanes: int = Field(default=8, gt=0)
    clock_mhz: float = Field(default=300.0, gt=0)
    """Assumed until a vendor tool closes timing."""
    memory: MemoryConfig = MemoryConfig()
    board: Annotated[BoardConfig, BeforeValidator(_named_board)] = BoardConfig()
    """A table of resources, or the name of one of BOARDS."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("max_dim", "max_hidden"):
            value = getattr(self, field)
            if value % UNIT_BYTES:
                raise ValueError(f"{field} {value} must be a multiple of {UNIT_BYTES}")
        for field in ("stream_words", "lend_words"):
            value = getattr(self, field)
            if value & (value - 1):
                raise ValueError(f"{field} {value} must be a power of two")
        tiles = MAX_TILES * self.lanes
        if self.max_dim > tiles or self.max_hidden > tiles:
            raise ValueError(f"max_dim {self.max_dim} and max_hidden {self.max_hidden} must be at most {tiles}")
        if 2 * self.max_dim > MAX_TILES * UNIT_BYTES:  # keys and values of a token
            raise ValueError(f"max_dim {self.max_dim} must be at most {MAX_TILES * UNIT_BYTES // 2}")
        words = self.max_tokens * -(-2 * self.max_dim // self.inputs)
        if self.lend_words >= words:
            raise ValueError(f"lend_words {self.lend_words} must be less than the key-value buffer's {words} words")
        return self

    @property
    def inputs(self) -> int:
        """Input channels computed in parallel (PI): bytes of a word of the on-chip buffers."""
        return UNIT_BYTES * self.groups

    @property
    def macs_per_cycle(self) -> int:
        """int8 multiply-accumulates per cycle of the linear engine."""
        return self.inputs * self.lanes


class Config(Frozen):
    """The whole tree, as `m3vit train --config FILE` reads it and every artefact stores it."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    scenes: SceneConfig = SceneConfig()
    train: TrainConfig = TrainConfig()
    quant: QuantConfig = QuantConfig()
    hardware: HardwareConfig


MODELS: dict[str, ModelConfig] = {
    m.name: m
    for m in (
        ModelConfig(
            name="m3vit_demo_patch8", image_hw=(64, 64), patch=8, dim=64, layers=4, heads=2, mlp_hidden=256,
            experts=8, top_k=2, expert_hidden=128,
        ),
        ModelConfig(
            name="m3vit_tiny_patch16", image_hw=(128, 256), patch=16, dim=192, layers=12, heads=3, mlp_hidden=768,
            experts=16, top_k=2, expert_hidden=384,
        ),
        ModelConfig(
            name="m3vit_small_patch16", image_hw=(512, 512), patch=16, dim=384, layers=12, heads=12, mlp_hidden=1536,
            experts=16, top_k=4, expert_hidden=384,
        ),
        ModelConfig(
            name="m3vit_small_nyud_patch16", image_hw=(480, 640), patch=16, dim=384, layers=12, heads=12,
            mlp_hidden=1536, experts=16, top_k=4, expert_hidden=384,
        ),
        ModelConfig(
            name="m3vit_base_patch16", image_hw=(512, 512), patch=16, dim=768, layers=12, heads=12, mlp_hidden=3072,
            experts=16, top_k=4, expert_hidden=768,
        ),
    )
}  # fmt: skip
"""Models registered with timm under the same names; `tiny`, `small` and `small_nyud` are the papers' workloads."""

HARDWARE: dict[str, HardwareConfig] = {
    h.name: h
    for h in (
        HardwareConfig(
            name="demo", lanes=8, groups=2, max_tokens=80, max_dim=128, max_hidden=128, max_top_k=8, max_block=80,
            stream_words=512, lend_words=128, router_lanes=8,
        ),
        HardwareConfig(
            name="zcu104", lanes=32, groups=3, max_tokens=1025, max_dim=384, max_hidden=384, max_block=136,
            stream_words=8192, lend_words=4096,
        ),
    )
}  # fmt: skip
"""`demo` simulates quickly; `zcu104` is the headline design at 3,072 MAC per cycle."""

DEMO = Config(model=MODELS["m3vit_demo_patch8"], hardware=HARDWARE["demo"])
"""What every verb uses when no config is given."""


def one_sentence(error: ValidationError) -> str:
    """The first validation error as one sentence that names the key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "config"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def config_from_dict(tree: dict[str, Any], source: str) -> Config:
    """Validate a parsed tree.

    Raises:
        UserError: a key is unknown, missing or out of range; `source` names the file in the message.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{source} is not a valid m3vit config: {one_sentence(error)}") from error


def load_config(path: Path | None) -> Config:
    """Read a TOML config; `model` and `hardware` may be a preset's name or a table. None gives the demo.

    Raises:
        UserError: the file is missing, is not TOML, or does not validate.
    """
    if path is None:
        return DEMO
    try:
        tree = tomllib.loads(read_file(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    presets: tuple[tuple[str, dict[str, Any]], ...] = (("model", dict(MODELS)), ("hardware", dict(HARDWARE)))
    for key, known in presets:
        name = tree.setdefault(key, getattr(DEMO, key).name)
        if isinstance(name, str):
            if name not in known:
                raise UserError(f"{path}: {key} '{name}' is unknown; choose one of {', '.join(known)}")
            tree[key] = known[name].model_dump()
    return config_from_dict(tree, str(path))
