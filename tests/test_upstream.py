# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Interchange with M3ViT's checkpoints: exact round trips, the same features, one sentence for every wrong file.

The checkpoints here are written from the names and shapes of upstream's source, not from our mapping.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from m3vit.model.checkpoint import Checkpoint, load_checkpoint, write_checkpoint
from m3vit.model.config import HARDWARE, Config, ModelConfig, RouterKind
from m3vit.model.errors import UserError
from m3vit.model.interchange import PIXELS, PixelsName, read_kept, write_kept
from m3vit.model.reference import attention, layer_norm, mlp, moe, patch_embed
from m3vit.model.upstream import export_upstream, import_upstream, read_upstream, write_upstream
from m3vit.model.vit import M3ViT, normalise_image
from m3vit.scripts import cli

State = dict[str, Tensor]
Floats = npt.NDArray[np.float64]

SIZES = ModelConfig(
    name="small_test", image_hw=(16, 32), patch=8, dim=32, layers=4, heads=2, mlp_hidden=48, experts=4, top_k=2,
    expert_hidden=40, task_embedding=6, tasks=("segmentation",),
)  # fmt: skip
PREFIX = "module.backbone."
ROUTERS: tuple[RouterKind, ...] = ("multi", "single", "task_conditioned")
HEADS = {"depth": 1, "semseg": 21}
"""Sorted, as torch's ModuleDict once did; upstream's gates are in the order semseg, depth."""
REPRESENT_SHAPES = {
    "fc1.weight": (6, 2), "fc1.bias": (6,), "fc2.weight": (6, 6), "fc2.bias": (6,), "norm.weight": (6,),
    "norm.bias": (6,),
}  # fmt: skip


def upstream_state(router: RouterKind, seed: int = 0, noisy: bool = True) -> State:
    """A checkpoint's tensors as VITA-Group/M3ViT names and shapes them, for the tasks semseg and depth.

    Args:
        router: kind of gates.
        seed: of the values.
        noisy: with upstream's gate type noisy, else noisy_vmoe.
    """
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, 32), "pos_embed": (1, 9, 32), "patch_embed.proj.weight": (32, 3, 8, 8),
        "patch_embed.proj.bias": (32,),
    }  # fmt: skip
    gate = {"multi": (32, 4), "single": (32, 4), "task_conditioned": (38, 4)}[router]
    for block in range(4):
        at = f"blocks.{block}."
        shapes |= {f"{at}{norm}.{part}": (32,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        shapes |= {f"{at}attn.qkv.weight": (96, 32), f"{at}attn.qkv.bias": (96,)}
        shapes |= {f"{at}attn.proj.weight": (32, 32), f"{at}attn.proj.bias": (32,)}
        if block % 2 == 0:
            shapes |= {f"{at}mlp.fc1.weight": (48, 32), f"{at}mlp.fc1.bias": (48,)}
            shapes |= {f"{at}mlp.fc2.weight": (32, 48), f"{at}mlp.fc2.bias": (32,)}
            continue
        shapes |= {f"{at}mlp.experts.htoh4.weight": (4, 40, 32), f"{at}mlp.experts.htoh4.bias": (4, 40)}
        shapes |= {f"{at}mlp.experts.h4toh.weight": (4, 32, 40), f"{at}mlp.experts.h4toh.bias": (4, 32)}
        gates = ("gate.0.", "gate.1.") if router == "multi" else ("gate.",)
        shapes |= {f"{at}mlp.{name}{part}": gate for name in gates for part in ("w_gate", "w_noise")[: 1 + noisy]}
    if router == "task_conditioned":
        shapes |= {f"gate_task_represent.{name}": shape for name, shape in REPRESENT_SHAPES.items()}
    shapes = {PREFIX + name: shape for name, shape in shapes.items()}
    for task, classes in HEADS.items():
        shapes |= {f"module.decoders.{task}.norm.weight": (32,), f"module.decoders.{task}.conv_0.weight": (8, 32, 3, 3)}
        shapes |= {f"module.decoders.{task}.conv_4.weight": (classes, 8, 1, 1)}
    generator = torch.Generator().manual_seed(seed)
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return state | {"module.decoders.depth.syncbn_fc_0.num_batches_tracked": torch.tensor(7)}


def save(state: Any, folder: Path, name: str = "checkpoint.pth.tar") -> Path:
    path = folder / name
    torch.save({"epoch": 3, "state_dict": state}, path)
    return path


def own_model(router: RouterKind, seed: int = 5) -> tuple[ModelConfig, State]:
    torch.manual_seed(seed)
    config = SIZES.model_copy(update={"router": router, "tasks": ("segmentation", "depth")})
    return config, {
        name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in M3ViT(config).state_dict().items()
    }


def equal(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("router", ROUTERS)
def test_their_checkpoint_comes_back_bit_by_bit(router: RouterKind, plain: bool, tmp_path: Path) -> None:
    theirs = upstream_state(router)
    imported = import_upstream(save(theirs, tmp_path), SIZES, None, "imagenet", 0)
    write_kept(tmp_path / "model.safetensors", imported.kept)
    kept = read_kept(tmp_path / "model.safetensors")
    write_upstream(tmp_path / "back.pth", export_upstream(imported.config, imported.state, kept, "unit", plain))
    back = read_upstream(tmp_path / "back.pth")
    own = {name for name in back if name.startswith("m3vit.")}
    assert bool(own) is not plain
    assert equal({name: tensor for name, tensor in back.items() if name not in own}, theirs)


@pytest.mark.parametrize("router", ["multi", "single"])
@pytest.mark.parametrize("pixels", list(PIXELS))
def test_our_model_comes_back_bit_by_bit(router: RouterKind, pixels: PixelsName, tmp_path: Path) -> None:
    config, ours = own_model(router)
    write_upstream(tmp_path / "file.pth", export_upstream(config, ours, None, pixels, plain=False))
    imported = import_upstream(tmp_path / "file.pth", SIZES, config.tasks, pixels, 0)
    assert imported.config == config
    assert imported.fresh == imported.left == ()
    assert equal(imported.state, ours)


def forward_upstream(state: State, router: RouterKind, noisy: bool, image_3HW: Floats, task: int) -> Floats:
    """Features after the last block, from upstream's equations and names; the image is normalised as it does."""
    w = {name.removeprefix(PREFIX): tensor.double().numpy() for name, tensor in state.items()}
    mean, std = (np.array(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    patches = patch_embed((image_3HW / 255 - mean) / std, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])
    x = np.concatenate([w["cls_token"][0], patches]) + w["pos_embed"][0]

    def pair(name: str) -> tuple[Floats, Floats]:
        return w[name + ".weight"], w[name + ".bias"]

    for block in range(4):
        at = f"blocks.{block}."
        normed = layer_norm(x, *pair(at + "norm1"))
        x = x + attention(normed, pair(at + "attn.qkv"), pair(at + "attn.proj"), 2)
        normed = layer_norm(x, *pair(at + "norm2"))
        if block % 2 == 0:
            x = x + mlp(normed, pair(at + "mlp.fc1"), pair(at + "mlp.fc2"))
            continue
        gate_input = normed
        if router == "task_conditioned":
            one_hot = np.eye(2)[task][None]
            feature = mlp(one_hot, pair("gate_task_represent.fc1"), pair("gate_task_represent.fc2"))
            feature = layer_norm(feature, *pair("gate_task_represent.norm"))
            gate_input = np.concatenate([normed, np.repeat(feature, len(normed), 0)], 1)
        gate = f"gate.{task}." if router == "multi" else "gate."
        logits = gate_input @ w[f"{at}mlp.{gate}w_gate"]
        chosen = np.argsort(-logits, axis=1)[:, :2]
        top = np.take_along_axis(logits, chosen, axis=1)
        gates = np.exp(top) / np.exp(top if noisy else logits).sum(axis=1, keepdims=True)
        experts = {"fc1": pair(at + "mlp.experts.htoh4"), "fc2": pair(at + "mlp.experts.h4toh")}
        layers = {f"{k}_{part}": v[i] for k, v in experts.items() for i, part in enumerate(("weight", "bias"))}
        x = x + moe(normed, chosen, gates, layers, "")
    return x


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize(("index", "task"), [(0, "segmentation"), (1, "depth")])
def test_features_are_upstreams(router: RouterKind, noisy: bool, index: int, task: Any, tmp_path: Path) -> None:
    theirs = upstream_state(router, 3, noisy)
    imported = import_upstream(save(theirs, tmp_path), SIZES, None, "imagenet", 0)
    model = M3ViT(imported.config).eval()
    model.load_state_dict(imported.state)
    image = torch.randint(0, 256, (3, 16, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        features = model.forward_features(normalise_image(image[None]), task)[0]
    expected = forward_upstream(theirs, router, noisy, image.double().numpy(), index)
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-4)
    assert np.abs(expected).max() > 1


def test_what_the_tensors_show_goes_into_the_config(tmp_path: Path) -> None:
    base = SIZES.model_copy(update={"experts": 8, "expert_hidden": 64})
    imported = import_upstream(save(upstream_state("task_conditioned"), tmp_path), base, None, "imagenet", 0)
    assert (imported.config.experts, imported.config.expert_hidden, imported.config.renormalise) == (4, 40, True)
    assert imported.config.tasks == ("segmentation", "depth")
    assert imported.config.classes == 21
    assert (imported.config.router, imported.config.task_embedding) == ("task_conditioned", 6)
    assert {name.split(".")[0] for name in imported.fresh} == {"norm", "heads"}
    expected = {name for name in upstream_state("task_conditioned") if "decoders" in name or "w_noise" in name}
    expected |= {f"{PREFIX}gate_task_represent.{name}" for name in REPRESENT_SHAPES}
    assert set(imported.left) == expected


def test_a_dense_backbone_is_recognised(tmp_path: Path) -> None:
    state = upstream_state("single")
    for block in (1, 3):
        state = {name: tensor for name, tensor in state.items() if f"blocks.{block}.mlp" not in name}
        state |= {n.replace("blocks.0", f"blocks.{block}"): t for n, t in state.items() if "blocks.0.mlp" in n}
    imported = import_upstream(save(state, tmp_path), SIZES, None, "imagenet", 0)
    assert imported.config.dense
    assert torch.equal(imported.state["blocks.3.mlp.fc1.weight"], state[PREFIX + "blocks.0.mlp.fc1.weight"])


def test_a_folder_of_ranks_is_the_file(tmp_path: Path) -> None:
    whole = upstream_state("multi")
    experts = [name for name in whole if "htoh4" in name or "h4toh" in name]
    for rank in range(2):
        part = {name: whole[name][2 * rank : 2 * rank + 2] for name in experts}
        save(part if rank else whole | part, tmp_path, f"{rank}.pth")
    assert equal(read_upstream(tmp_path), whole)


def test_a_patch_embedding_that_was_trained_on_is_unfolded(tmp_path: Path) -> None:
    theirs = upstream_state("multi")
    imported = import_upstream(save(theirs, tmp_path), SIZES, None, "imagenet", 0)
    weight, bias = (f"patch_embed.proj.{part}" for part in ("weight", "bias"))
    imported.state[bias] = imported.state[bias] + 1
    back = export_upstream(imported.config, imported.state, imported.kept, "imagenet", plain=True)
    torch.testing.assert_close(back[PREFIX + weight], theirs[PREFIX + weight])
    torch.testing.assert_close(back[PREFIX + bias], theirs[PREFIX + bias] + 1, atol=1e-5, rtol=0)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    torch.save({"state_dict": upstream_state("multi"), "extra": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match="code in a pickle is never run"):
        import_upstream(tmp_path / "bomb.pth", SIZES, None, "imagenet", 0)
    assert not (tmp_path / "ran").exists()


def without(state: State, name: str) -> State:
    return {key: tensor for key, tensor in state.items() if key != PREFIX + name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "blocks.2.attn.qkv.bias"), r"no tensor module.backbone.blocks.2.attn.qkv.bias"),
        (
            lambda s: s | {PREFIX + "pos_embed": torch.zeros(1, 10, 32)},
            r"pos_embed has shape \(1, 10, 32\) where small",
        ),
        (
            lambda s: s | {PREFIX + "pos_embed": torch.zeros(1, 9, 32).half()},
            r"pos_embed is torch.float16, not float32",
        ),
        (lambda _: {"conv1.weight": torch.zeros(3)}, r"not an M3ViT checkpoint: it has no tensors"),
        (lambda s: s | {"x.patch_embed.proj.weight": torch.zeros(1)}, r"it has 2 tensors named patch_embed"),
        (
            lambda s: s | {PREFIX + "blocks.1.mlp.gate.2.w_gate": torch.zeros(32, 4)},
            r"3 gates per block for the 2 tasks",
        ),
        (lambda s: s | {PREFIX + "blocks.4.norm1.bias": torch.zeros(32)}, r"has 5 blocks where small_test has 4"),
        (lambda s: {n: t for n, t in s.items() if "decoders" not in n}, r"name them with --tasks"),
        (lambda _: {}, r"holds no tensors by name"),
        (
            lambda s: s | {PREFIX + "blocks.3.mlp.experts.h4toh.bias": torch.zeros(5, 32)},
            r"blocks.3.mlp.experts.h4toh.bias has shape \(5, 32\)",
        ),
        (lambda s: s | {PREFIX + "blocks.1.mlp.experts.htoh4.weight": torch.zeros(1, 40, 32)}, r"top_k 2 exceeds"),
    ],
)
def test_wrong_checkpoints_get_a_sentence(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        import_upstream(save(change(upstream_state("multi")), tmp_path), SIZES, None, "imagenet", 0)


@pytest.mark.parametrize("size", [0, 3, 5000])
def test_a_truncated_file_gets_a_sentence(size: int, tmp_path: Path) -> None:
    path = save(upstream_state("multi"), tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"copy it again|not a file of tensors alone"):
        read_upstream(path)


def test_a_folder_with_a_gap_gets_a_sentence(tmp_path: Path) -> None:
    save(upstream_state("multi"), tmp_path, "1.pth")
    with pytest.raises(UserError, match=r"no files 0.pth, 1.pth"):
        read_upstream(tmp_path)


@pytest.mark.parametrize("imported", [True, False])
def test_learned_task_embeddings_cannot_be_exported(imported: bool, tmp_path: Path) -> None:
    config, ours = own_model("task_conditioned")
    kept = import_upstream(save(upstream_state("task_conditioned"), tmp_path), SIZES, None, "unit", 0).kept
    with pytest.raises(UserError, match=r"blocks.1.mlp.router.embedding.\w+ is a learned task embedding"):
        export_upstream(config, ours, kept if imported else None, "unit", plain=False)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.build_app(arguments[0]), list(arguments))


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    fields = SIZES.model_dump(exclude={"tasks"}) | {"image_hw": [16, 32]}
    lines = (
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in fields.items()
    )
    path.write_text("[model]\n" + "\n".join(lines) + "\n")
    return path


def test_the_verbs_import_and_export(tmp_path: Path, toml: Path) -> None:
    theirs = upstream_state("multi")
    model, back = tmp_path / "run" / "model.safetensors", tmp_path / "back.pth"
    result = run(
        "import-upstream", str(save(theirs, tmp_path)), "--out", str(model), "--model", str(toml), "--top-k", "3"
    )
    assert result.exit_code == 0, result.output
    assert load_checkpoint(model)[0].model.top_k == 3
    assert "module.decoders.semseg" in result.output
    assert "heads.depth.linear.weight" in result.output
    assert load_checkpoint(model)[0].model.tasks == ("segmentation", "depth")
    assert run("export-upstream", str(model), "--out", str(back), "--plain").exit_code == 0
    assert equal(read_upstream(back), theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import-upstream", "nothing.pth"), "cannot read nothing.pth"),
        (("import-upstream", "FILE", "--model", "vgg"), "model 'vgg' is unknown"),
        (("import-upstream", "FILE", "--tasks", "semseg,poses"), "task 'poses' is unknown"),
        (("import-upstream", "FILE", "--pixels", "hsv"), "pixels 'hsv' are unknown"),
        (("import-upstream", "FILE"), "has 3 blocks where m3vit_tiny_patch16 has 12; choose another model"),
        (("export-upstream", "MODEL", "--out", "x", "--to", "onnx"), "target 'onnx' is unknown"),
        (("export-upstream", "nothing.safetensors", "--out", "x"), "cannot read nothing.safetensors"),
    ],
)
def test_the_verbs_refuse_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    config, state = own_model("multi")
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, Checkpoint(Config(model=config, hardware=HARDWARE["demo"]), 0, state, {}))
    names = {"FILE": str(save({k: v for k, v in upstream_state("multi").items() if "blocks.3" not in k}, tmp_path))}
    words = [(names | {"MODEL": str(path)}).get(word, word) for word in arguments]
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stderr.count("\n") == 1


def test_a_damaged_kept_file_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.kept.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="is damaged"):
        read_kept(tmp_path / "model.safetensors")
