# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Interchange with Edge-MoE's dumps, on invented ones and, where there is one, on the published one.

M3VIT_EDGE_MOE names the folder of the published dump; without it the tests that need it are skipped.
"""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from m3vit.model.agreement import agreement, float_features, operator_deviations
from m3vit.model.config import HARDWARE, MODELS, Config, ModelConfig
from m3vit.model.edge_moe import export_dump, import_dump
from m3vit.model.errors import UserError
from m3vit.model.interchange import Imported, read_kept, write_kept
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.reference import attention, layer_norm, mlp, patch_embed, router_logits
from m3vit.model.vit import M3ViT, normalise_image
from m3vit.scripts import cli
from m3vit.scripts.agreement import read_picture

Arrays = dict[str, npt.NDArray[np.float32]]

SIZES = ModelConfig(
    name="small_test", image_hw=(16, 32), patch=8, dim=32, layers=12, heads=2, mlp_hidden=48, experts=4, top_k=2,
    expert_hidden=40,
)  # fmt: skip
TOLERANCE = 1e-4
FOLDER = os.environ.get("M3VIT_EDGE_MOE")
needs_dump = pytest.mark.skipif(FOLDER is None, reason="M3VIT_EDGE_MOE names no dump")


def invented(tasks: int = 1, matrices: bool = False) -> Arrays:
    """Arrays of a dump of two blocks, named and shaped as Edge-MoE's testbench reads them."""
    shapes: dict[str, tuple[int, ...]] = {
        "image": (3, 16, 32), "patch_embed_weight": (32, 3, 8, 8), "patch_embed_bias": (32,), "pos_embed": (9, 32),
        "l0_fc1_weight": (48, 32), "l0_fc1_bias": (48,), "l0_fc2_weight": (32, 48), "l0_fc2_bias": (32,),
        "l1_htoh4_bias": (4, 40), "l1_h4toh_bias": (4, 32),
    }  # fmt: skip
    for block in ("l0", "l1"):
        shapes |= {f"{block}_norm{i}_{part}": (32,) for i in (1, 2) for part in ("weight", "bias")}
        shapes |= {f"{block}_qkv_weight": (96, 32), f"{block}_qkv_bias": (96,)}
        shapes |= {f"{block}_attn_proj_weight": (32, 32), f"{block}_attn_proj_bias": (32,)}
    shapes |= {f"l1_w_gate_T_task{task}": (4, 32) for task in range(tasks)}
    shapes |= {"l1_htoh4_weight": (4, 40, 32), "l1_h4toh_weight": (4, 32, 40)} if matrices else {}
    rng = np.random.default_rng(4)
    arrays = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    arrays["image"] = (rng.integers(0, 256, (3, 16, 32)) / 256).astype(np.float32)
    arrays["pos_embed"][0, 0] = -0.0
    return arrays


def write(arrays: Arrays, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        (folder / f"{name}.float32.bin").write_bytes(array.astype("<f4").tobytes())
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def round_trip(imported: Imported, folder: Path) -> dict[str, bytes]:
    """Export what was imported, its kept tensors read from their file."""
    write_kept(folder / "model.safetensors", imported.kept)
    kept = read_kept(folder / "model.safetensors")
    left_out = export_dump(imported.config, imported.state, kept, folder / "back")
    assert left_out == imported.fresh
    return files(folder / "back")


@pytest.mark.parametrize(("tasks", "matrices"), [(1, False), (2, True)])
def test_a_dump_comes_back_byte_by_byte(tasks: int, matrices: bool, tmp_path: Path) -> None:
    dump = write(invented(tasks, matrices), tmp_path / "dump")
    imported = import_dump(dump, SIZES, None, None if matrices else "zero", 0)
    assert imported.config.layers == 2
    assert imported.config.tasks == ("segmentation", "depth")[:tasks]
    back, original = round_trip(imported, tmp_path), files(dump)
    assert {name: back[name] for name in original} == original
    extra = set() if matrices else {"l1_htoh4_weight.float32.bin", "l1_h4toh_weight.float32.bin"}
    assert set(back) - set(original) == extra
    assert imported.left == ("image",)


def test_missing_matrices_are_zero_drawn_or_from_elsewhere(tmp_path: Path) -> None:
    dump = write(invented(), tmp_path / "dump")
    name = "blocks.1.mlp.experts.fc1_weight"
    zero = import_dump(dump, SIZES, None, "zero", 0)
    drawn, again, other = (import_dump(dump, SIZES, None, f"draw:{seed}", 0) for seed in (1, 1, 2))
    whole = invented(matrices=True)
    elsewhere = import_dump(dump, SIZES, None, str(write(whole, tmp_path / "whole")), 0)
    assert not zero.state[name].any()
    assert torch.equal(drawn.state[name], again.state[name])
    assert not torch.equal(drawn.state[name], other.state[name])
    assert float(drawn.state[name].std()) == pytest.approx(float(np.std(invented()["l0_fc1_weight"])), rel=0.05)
    np.testing.assert_array_equal(elsewhere.state[name], whole["l1_htoh4_weight"])
    assert (zero.kept.experts, drawn.kept.experts) == ("zero", "draw:1")
    assert import_dump(tmp_path / "whole", SIZES, None, "zero", 0).kept.experts == "file"


def test_the_class_token_of_a_trained_model_goes_into_row_0(tmp_path: Path) -> None:
    imported = import_dump(write(invented(), tmp_path / "dump"), SIZES, None, "zero", 0)
    state = imported.state | {"cls_token": torch.full((1, 1, 32), 2.0)}
    export_dump(imported.config, state, None, tmp_path / "back")
    position = np.fromfile(tmp_path / "back" / "pos_embed.float32.bin", "<f4").reshape(9, 32)
    expected = invented()["pos_embed"]
    np.testing.assert_array_equal(position[1:], expected[1:])
    np.testing.assert_allclose(position[0], expected[0] + 2, rtol=1e-6)


def test_pixels_are_256ths(tmp_path: Path) -> None:
    arrays = invented()
    imported = import_dump(write(arrays, tmp_path / "dump"), SIZES, None, "zero", 0)
    model = M3ViT(imported.config)
    model.load_state_dict(imported.state)
    image = read_picture(tmp_path / "dump" / "image.float32.bin", (16, 32))
    with torch.no_grad():
        patches = model.patch_embed(normalise_image(image[None]))[0].numpy()
    names = ("image", "patch_embed_weight", "patch_embed_bias")
    np.testing.assert_allclose(patches, patch_embed(*(arrays[name].astype(np.float64) for name in names)), atol=2e-5)


@pytest.mark.parametrize(
    ("change", "experts", "message"),
    [
        ({}, None, r"lacks l1_htoh4_weight.float32.bin and other experts' matrices; pass --experts zero"),
        ({"l0_qkv_bias": np.zeros(95)}, "zero", r"l0_qkv_bias.float32.bin has 380 bytes where .* \(96,\) has 384"),
        ({"l1_norm1_bias": None}, "zero", r"cannot read .*l1_norm1_bias.float32.bin: no such file"),
        ({"l1_w_gate_T_task0": None}, "zero", r"or no gates"),
        ({}, "nowhere", r"nowhere has no files"),
    ],
)
def test_wrong_dumps_get_a_sentence(
    change: dict[str, npt.NDArray[np.float64] | None], experts: str | None, message: str, tmp_path: Path
) -> None:
    arrays = {name: array for name, array in (invented() | change).items() if array is not None}
    with pytest.raises(UserError, match=message):
        import_dump(write(arrays, tmp_path / "dump"), SIZES, None, experts, 0)


def test_half_a_float_gets_a_sentence(tmp_path: Path) -> None:
    dump = write(invented(), tmp_path / "dump")
    (dump / "l0_norm1_bias.float32.bin").write_bytes(bytes(127))
    with pytest.raises(UserError, match="127 bytes, which are no float32 values"):
        import_dump(dump, SIZES, None, "zero", 0)


def test_the_verbs_state_what_is_not_trained(tmp_path: Path) -> None:
    toml = tmp_path / "small.toml"
    sizes = SIZES.model_dump(exclude={"tasks", "dense", "renormalise", "image_hw"})
    toml.write_text("[model]\nimage_hw = [16, 32]\n" + "".join(f"{key} = {value!r}\n" for key, value in sizes.items()))
    dump, model = write(invented(), tmp_path / "dump"), tmp_path / "model.safetensors"
    runner = CliRunner()
    words = ["import-upstream", str(dump), "--out", str(model), "--model", str(toml)]
    refused = runner.invoke(cli.build_app(words[0]), words)
    assert refused.exit_code == 2
    assert "pass --experts" in refused.stderr
    result = runner.invoke(cli.build_app(words[0]), [*words, "--experts", "draw:7"])
    assert result.exit_code == 0, result.output
    assert "NOT TRAINED: the experts' matrices, which the source lacks, are 'draw:7'" in result.output
    words = ["export-upstream", str(model), "--out", str(tmp_path / "back")]
    result = runner.invoke(cli.build_app(words[0]), words)
    assert result.exit_code == 0, result.output
    assert "NOT TRAINED: the experts' matrices were 'draw:7'" in result.output
    assert files(dump).items() <= files(tmp_path / "back").items()


@pytest.mark.parametrize("router", ["single", "task_conditioned"])
def test_routers_without_a_gate_per_task_are_refused(router: str, tmp_path: Path) -> None:
    config = ModelConfig.model_validate(SIZES.model_dump() | {"router": router})
    with pytest.raises(UserError, match="no gate per task"):
        export_dump(config, M3ViT(config).state_dict(), None, tmp_path)


@pytest.fixture(scope="module")
def published() -> tuple[Imported, M3ViT]:
    assert FOLDER is not None
    imported = import_dump(Path(FOLDER), MODELS["m3vit_tiny_patch16"], None, "draw:0", 0)
    model = M3ViT(imported.config).eval()
    model.load_state_dict(imported.state)
    return imported, model


@needs_dump
def test_the_published_dump_comes_back_byte_by_byte(published: tuple[Imported, M3ViT], tmp_path: Path) -> None:
    assert FOLDER is not None
    original = files(Path(FOLDER))
    assert len(original) > 70
    back = round_trip(published[0], tmp_path)
    assert {name: back[name] for name in original} == original


def dumped(name: str, *shape: int) -> npt.NDArray[np.float64]:
    assert FOLDER is not None
    return np.fromfile(Path(FOLDER) / f"{name}.float32.bin", "<f4").reshape(shape).astype(np.float64)


@needs_dump
def test_features_up_to_the_first_router_are_those_of_the_raw_files(published: tuple[Imported, M3ViT]) -> None:
    """Embedding, block 0, attention of block 1 and its router, in float64 from the files alone, all running freely."""
    assert FOLDER is not None
    model = published[1]
    image = read_picture(Path(FOLDER) / "image.float32.bin", (128, 256))
    features = {str(stage): value for stage, value in float_features(model, image, "segmentation").items()}
    weight, bias = dumped("patch_embed_weight", 192, 3, 16, 16), dumped("patch_embed_bias", 192)
    x = dumped("pos_embed", 129, 192)
    x[1:] += patch_embed(dumped("image", 3, 128, 256), weight, bias)
    np.testing.assert_allclose(features["embedding"], x, atol=TOLERANCE)
    for block in (0, 1):
        normed = layer_norm(x, dumped(f"l{block}_norm1_weight", 192), dumped(f"l{block}_norm1_bias", 192))
        qkv = dumped(f"l{block}_qkv_weight", 576, 192), dumped(f"l{block}_qkv_bias", 576)
        proj = dumped(f"l{block}_attn_proj_weight", 192, 192), dumped(f"l{block}_attn_proj_bias", 192)
        x = x + attention(normed, qkv, proj, 3)
        np.testing.assert_allclose(features[f"{block} attention"], x, atol=TOLERANCE)
        normed = layer_norm(x, dumped(f"l{block}_norm2_weight", 192), dumped(f"l{block}_norm2_bias", 192))
        if block == 0:
            fc1 = dumped("l0_fc1_weight", 768, 192), dumped("l0_fc1_bias", 768)
            x = x + mlp(normed, fc1, (dumped("l0_fc2_weight", 192, 768), dumped("l0_fc2_bias", 192)))
            np.testing.assert_allclose(features["0 mlp"], x, atol=TOLERANCE)
    gate = {"gates.segmentation.weight": dumped("l1_w_gate_T_task0", 16, 192)}
    with torch.no_grad():
        normed_ND = model.blocks[1].get_submodule("norm2")(torch.from_numpy(features["1 attention"]).float())
        logits = model.get_submodule("blocks.1.mlp.router")(normed_ND, "segmentation").logits_NE.numpy()
    np.testing.assert_allclose(logits, router_logits(normed, gate, "", "segmentation"), atol=TOLERANCE)


@needs_dump
def test_every_operator_agrees_with_float64(published: tuple[Imported, M3ViT]) -> None:
    assert FOLDER is not None
    image = read_picture(Path(FOLDER) / "image.float32.bin", (128, 256))
    deviations = operator_deviations(published[1], normalise_image(image), "segmentation")
    kinds = [deviation.kind for deviation in deviations]
    assert [kinds.count(kind) for kind in ("norm", "attention", "mlp", "router")] == [13, 6, 3, 3]
    assert all(deviation.largest < TOLERANCE for deviation in deviations), deviations
    assert all(deviation.magnitude > 0.1 for deviation in deviations)


@needs_dump
def test_the_integer_model_of_the_dump_is_close(published: tuple[Imported, M3ViT]) -> None:
    assert FOLDER is not None
    image = read_picture(Path(FOLDER) / "image.float32.bin", (128, 256))[None]
    config = Config(model=published[0].config, hardware=HARDWARE["zcu104"])
    result = agreement(
        published[1], quantise(published[1], config, calibrate_units(published[1], config, image.flip(-1))), image
    )["segmentation"]
    assert all(power.sqnr_db > 25 for power in result.powers.values())
    assert [flips.tokens for flips in result.flips.values()] == [129, 129, 129]
    assert all(flips.free < 0.1 * flips.tokens for flips in result.flips.values())
