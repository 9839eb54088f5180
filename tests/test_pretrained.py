# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Weights to start from: timm's Vision Transformers, checkpoints of ours, and experts made of a dense MLP."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from m3vit.model.checkpoint import Checkpoint, write_checkpoint
from m3vit.model.config import HARDWARE, Config, ModelConfig, SceneConfig, TrainConfig
from m3vit.model.errors import UserError
from m3vit.model.pretrained import Source, fold_normalisation, pretrained_weights
from m3vit.model.train import train
from m3vit.model.trainer import Trainer
from m3vit.model.upcycling import DenseMlp, hidden_channels, upcycle
from m3vit.model.vit import M3ViT, normalise_image

MODEL = ModelConfig(
    name="t", image_hw=(32, 32), patch=8, dim=32, layers=4, heads=2, mlp_hidden=64, experts=8, top_k=2, expert_hidden=32
)
DENSE = MODEL.model_copy(update={"dense": True, "name": "d"})


def trained_like(model: torch.nn.Module) -> dict[str, Tensor]:
    """A state dict with weights of the size that training leaves, so that every part of the function counts."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        fan = tensor[0].numel() if tensor.ndim > 1 else 10
        state[name] = 1 + 0.1 * noise if "norm" in name and name.endswith("weight") else noise / fan**0.5
    return state


def timm_vit(patch: int = 8, size: int = 32, **other: object) -> VisionTransformer:
    return VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=32, depth=4, num_heads=2, mlp_ratio=2, num_classes=7, **other
    )


def start(source: Path, config: ModelConfig) -> M3ViT:
    torch.manual_seed(3)
    model = M3ViT(config)
    model.load_state_dict(pretrained_weights(str(source), config, model.state_dict()))
    return model.eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_dense_model_computes_what_timms_does(suffix: str, tmp_path: Path) -> None:
    vit = timm_vit().eval()
    vit.load_state_dict(trained_like(vit))
    file = tmp_path / f"vit{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": vit.state_dict()}, file)
    else:
        save_file(vit.state_dict(), file)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        model = start(file, DENSE)
        ours = model.norm(model.forward_features(image, "depth"))
        torch.testing.assert_close(ours, vit.forward_features(image))


def test_embeddings_are_resampled(tmp_path: Path) -> None:
    vit = timm_vit(patch=4, size=16)
    vit.load_state_dict(trained_like(vit))
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    wide = DENSE.model_copy(update={"image_hw": (32, 64)})  # 4 x 8 patches of 8 instead of 4 x 4 of 4
    model = start(tmp_path / "vit.safetensors", wide)
    positions = vit.pos_embed[0, 1:].T.reshape(1, 32, 4, 4)
    expected = functional.interpolate(positions, size=(4, 8), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(model.pos_embed[0, 1:], expected[0].flatten(1).T, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.pos_embed[0, 0], vit.pos_embed[0, 0])
    # An enlarged patch gives the token that the patch gave (FlexiViT, arXiv 2212.08013, section 3.4).
    patch = torch.randn(4, 3, 4, 4)
    large = functional.interpolate(patch, size=(8, 8), mode="bicubic", antialias=True, align_corners=False)
    with torch.no_grad():
        token, expected = model.patch_embed.proj(large), vit.patch_embed.proj(patch)
    torch.testing.assert_close(token, expected, rtol=1e-3, atol=1e-3)


def test_another_normalisation_is_folded_into_the_patch_embedding() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    kernel, bias = torch.randn(5, 3, 4, 4), torch.randn(5)
    image = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    foreign = (image / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    source = Source("x", {}, (1, 1), mean, std)
    ours = functional.conv2d(normalise_image(image), *fold_normalisation(kernel, bias, source))
    torch.testing.assert_close(ours, functional.conv2d(foreign, kernel, bias), rtol=1e-4, atol=1e-4)


def dense_mlp(hidden: int) -> DenseMlp:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    return DenseMlp(draw(hidden, 32), draw(hidden), draw(32, hidden), draw(32), 1 + 0.1 * draw(32), 0.1 * draw(32))


def moe_error(config: ModelConfig) -> float:
    """Relative difference of an upcycled layer from its MLP on tokens behind the norm."""
    torch.manual_seed(0)
    layer = M3ViT(config).blocks[1].mlp
    mlp = dense_mlp(config.mlp_hidden)
    router = {k.removeprefix("router."): v for k, v in layer.state_dict().items() if k.startswith("router.")}
    layer.load_state_dict(upcycle(mlp, router, config))
    x = functional.layer_norm(torch.randn(16, 16, 32), (32,)) * mlp.norm_weight_D + mlp.norm_bias_D
    dense = functional.linear(functional.gelu(functional.linear(x, mlp.fc1_MD, mlp.bias_M)), mlp.fc2_DM, mlp.bias_D)
    with torch.no_grad():
        sparse, _ = layer(x, ("depth",))
    return float((sparse - dense).norm() / dense.norm())


@pytest.mark.parametrize("router", ["single", "multi", "task_conditioned"])
@pytest.mark.parametrize(("top_k", "hidden"), [(2, 64), (2, 32), (4, 16), (4, 32)])
def test_upcycled_layer_starts_close_to_its_mlp(top_k: int, hidden: int, router: str) -> None:
    config = MODEL.model_copy(update={"top_k": top_k, "expert_hidden": hidden, "router": router})
    assert moe_error(config) < 0.1
    assert moe_error(config.model_copy(update={"renormalise": True})) < 1e-6  # exact: the gates of a group are equal


def test_slices_that_a_token_cannot_all_meet_are_a_coarser_start() -> None:
    few = MODEL.model_copy(update={"top_k": 1, "expert_hidden": 32})  # half of the channels at a time
    assert 0.1 < moe_error(few) < 1.5


def test_every_expert_takes_its_own_hidden_channels() -> None:
    assert hidden_channels(MODEL).tolist() == [list(range(32)), list(range(32, 64))] * 4
    odd = MODEL.model_copy(update={"expert_hidden": 24, "experts": 3})
    assert hidden_channels(odd)[2].tolist() == [*range(48, 64), *range(8)]


def test_moe_model_starts_close_to_timms(tmp_path: Path) -> None:
    vit = timm_vit().eval()
    vit.load_state_dict(trained_like(vit))
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        reference = vit.forward_features(image)
        model = start(tmp_path / "vit.safetensors", MODEL)
        error = (model.norm(model.forward_features(image, "depth")) - reference).norm() / reference.norm()
    assert 0 < error < 0.1


def run_config(model: ModelConfig, **recipe: object) -> Config:
    train_config = TrainConfig.model_validate({"steps": 2, "batch": 2, "warmup": 1} | recipe)
    return Config(
        model=model, scenes=SceneConfig(train_size=4, val_size=2), train=train_config, hardware=HARDWARE["demo"]
    )


def test_own_dense_multi_task_checkpoint_becomes_an_m3vit(tmp_path: Path) -> None:
    dense = train(run_config(DENSE), tmp_path / "dense", False, torch.device("cpu"))
    state = trained_like(M3ViT(DENSE))
    write_checkpoint(dense, Checkpoint(run_config(DENSE), 2, state, {}))
    sparse = start(dense, MODEL)
    source = M3ViT(DENSE)
    source.load_state_dict(state)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for task in MODEL.tasks:
            error = (sparse(image, task) - source(image, task)).norm() / source(image, task).norm()
            assert error < 0.1
    out = train(run_config(MODEL, pretrained=str(dense), ema=0.9), tmp_path / "sparse", False, torch.device("cpu"))
    assert out.exists()
    resumed = train(run_config(MODEL, pretrained=str(dense), ema=0.9), tmp_path / "sparse", True, torch.device("cpu"))
    assert resumed == out


def test_own_checkpoint_with_other_tasks_keeps_what_fits(tmp_path: Path) -> None:
    few = MODEL.model_copy(update={"tasks": ("depth", "edges")})
    state = trained_like(M3ViT(few))
    write_checkpoint(tmp_path / "m.safetensors", Checkpoint(run_config(few), 2, state, {}))
    model = start(tmp_path / "m.safetensors", MODEL.model_copy(update={"tasks": ("normals", "depth")}))
    new = model.state_dict()
    torch.manual_seed(3)
    random = M3ViT(model.config).state_dict()
    for name, tensor in new.items():
        assert torch.equal(tensor, random[name] if "normals" in name else state[name])


def test_first_weights_are_the_pretrained_ones(tmp_path: Path) -> None:
    state = trained_like(M3ViT(DENSE))
    write_checkpoint(tmp_path / "d.safetensors", Checkpoint(run_config(DENSE), 2, state, {}))
    trainer = Trainer(run_config(DENSE, ema=0.5), torch.device("cpu"))
    trainer.load_weights(pretrained_weights(str(tmp_path / "d.safetensors"), DENSE, trainer.weights()))
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, state[name])
        assert torch.equal(trainer.weights()[name], state[name])  # the average starts there too


def refused(name: str, words: str, config: ModelConfig = MODEL) -> None:
    with pytest.raises(UserError, match=words) as caught:
        pretrained_weights(name, config, M3ViT(config).state_dict())
    assert "\n" not in str(caught.value)


def test_foreign_weights_are_refused_by_the_first_tensor_that_does_not_fit(tmp_path: Path) -> None:
    file = str(tmp_path / "vit.safetensors")
    good = timm_vit().state_dict()

    def saved(change: dict[str, Tensor | None]) -> None:
        tensors = {key: value for key, value in (good | change).items() if value is not None}
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)

    saved({"blocks.2.attn.proj.weight": None})
    refused(file, r"tensor blocks.2.attn.proj.weight is missing, expected \(32, 32\)")
    saved({"norm.weight": torch.zeros(31)})
    refused(file, r"tensor norm.weight is \(31,\), expected \(32,\)")
    saved({"blocks.1.mlp.fc1.weight": torch.zeros(48, 32)})
    refused(file, r"tensor blocks.1.mlp.fc1.weight is \(48, 32\), expected \(64, 32\)")
    saved({"blocks.4.norm1.weight": torch.zeros(32)})
    refused(file, "tensor blocks.4.norm1.weight has no place in it")
    saved({"pos_embed": torch.zeros(1, 18, 32)})
    refused(file, r"tensor pos_embed is \(1, 18, 32\), expected \(1, 17, 32\)")
    saved({})
    refused(
        file,
        "an expert of 128 hidden channels cannot start from an MLP of 64",
        MODEL.model_copy(update={"expert_hidden": 128}),
    )
    save_file({"conv1.weight": torch.zeros(3)}, file)
    refused(file, r"does not fit the model: tensor cls_token is missing")


def test_unreadable_weights_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(str(tmp_path / "absent.pth"), "there is no such file")
    (tmp_path / "text.pth").write_text("weights")
    refused(str(tmp_path / "text.pth"), "is not a state dict of tensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x80")
    refused(str(tmp_path / "cut.safetensors"), "is not a state dict of tensors")
    refused("vit_of_nobody", "neither a file nor a timm model")
    monkeypatch.setattr(timm, "create_model", unreachable)
    refused(
        "vit_tiny_patch16_224",
        r"downloaded \(ConnectionError\); pass --pretrained vit_tiny_patch16_224@FILE",
    )


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no route")


class Code:
    """Pickles to a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"cls_token": Code()}, tmp_path / "evil.pth")
    refused(str(tmp_path / "evil.pth"), "is not a state dict of tensors")
    assert not (tmp_path / "executed").exists()


def test_named_file_takes_the_models_normalisation(tmp_path: Path) -> None:
    tiny = ModelConfig(
        name="tiny", image_hw=(32, 32), patch=16, dim=192, layers=12, heads=3, mlp_hidden=768, experts=2, top_k=1,
        expert_hidden=768, dense=True,
    )  # fmt: skip
    vit = timm.create_model("deit_tiny_patch16_224", img_size=32)
    file = tmp_path / "deit.safetensors"
    save_file(vit.state_dict(), file)
    facts = timm.get_pretrained_cfg("deit_tiny_patch16_224")
    assert facts.mean != (0.5, 0.5, 0.5)
    weights = pretrained_weights(f"deit_tiny_patch16_224@{file}", tiny, M3ViT(tiny).state_dict())
    source = replace(Source("x", {}, (2, 2)), mean=facts.mean, std=facts.std)
    kernel, bias = fold_normalisation(vit.patch_embed.proj.weight, vit.patch_embed.proj.bias, source)
    torch.testing.assert_close(weights["patch_embed.proj.weight"], kernel)
    torch.testing.assert_close(weights["patch_embed.proj.bias"], bias)
    plain = pretrained_weights(str(file), tiny, M3ViT(tiny).state_dict())
    assert torch.equal(plain["patch_embed.proj.weight"], vit.patch_embed.proj.weight)
