# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Agreement of float and integers: noise, changed decisions and where they come from; float against float64."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from m3vit.model.agreement import (
    Flips,
    Power,
    TaskAgreement,
    agreement,
    float_choice,
    float_features,
    integer_features,
    operator_deviations,
)
from m3vit.model.checkpoint import Checkpoint, write_checkpoint
from m3vit.model.config import DEMO, Config, RouterKind
from m3vit.model.errors import UserError
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.vit import M3ViT, MoEBlock, normalise_image
from m3vit.scripts import cli
from m3vit.scripts.agreement import read_picture
from m3vit.sim.golden.executor import Executor, Step, head_map
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Opcode

IMAGES = 3


def make_config(router: RouterKind = "multi") -> Config:
    sizes = {"image_hw": (32, 32), "tasks": ("segmentation", "depth"), "router": router}
    return DEMO.model_copy(update={"model": DEMO.model.model_copy(update=sizes)})


def make_model(router: RouterKind = "multi") -> M3ViT:
    """Random, with the spread of a trained one."""
    torch.manual_seed(2)
    model = M3ViT(make_config(router).model).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(20 if "router" in name else 3 if parameter.ndim >= 2 else 1)
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Smooth ones, uint8."""
    noise = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (255 * nn.functional.interpolate(noise, size=(32, 32), mode="bilinear")).to(torch.uint8)


@pytest.fixture(scope="module")
def model() -> M3ViT:
    return make_model()


def integers(model: M3ViT, images: Tensor) -> Pathways:
    """The integer model, calibrated on the images that are not compared."""
    config = make_config()
    return quantise(model, config, calibrate_units(model, config, images[IMAGES:]))


@pytest.fixture(scope="module")
def pathways(model: M3ViT, images: Tensor) -> Pathways:
    return integers(model, images)


@pytest.fixture(scope="module")
def result(model: M3ViT, pathways: Pathways, images: Tensor) -> TaskAgreement:
    return agreement(model, pathways, images[:IMAGES])["depth"]


def test_sqnr() -> None:
    power = Power()
    power.add(np.array([3.0, 4.0]), np.array([3.0, 3.5]))
    assert power.sqnr_db == pytest.approx(20)
    power.add(np.array([5.0]), np.array([5.0]))
    assert power.sqnr_db == pytest.approx(10 * np.log10(200))
    assert Power(signal=1.0).sqnr_db == np.inf


def test_flips_are_counted_by_cause() -> None:
    reference = np.array([[0, 1], [0, 1], [0, 1], [0, 1], [0, 1], [0, 1]])
    free = np.array([[0, 1], [1, 0], [0, 2], [2, 1], [3, 0], [0, 1]])
    forced = np.array([[0, 1], [0, 1], [0, 3], [0, 1], [1, 0], [2, 3]])
    flips = Flips()
    flips.add(reference, free, forced)
    assert flips == Flips(tokens=6, free=3, free_first=3, forced=2, forced_first=2, inherited=2, healed=1)


def test_stages_follow_the_network(result: TaskAgreement) -> None:
    assert [str(stage) for stage in result.powers] == [
        "embedding", "0 attention", "0 mlp", "1 attention", "1 experts", "2 attention", "2 mlp", "3 attention",
        "3 experts", "head",
    ]  # fmt: skip
    ratios = [power.sqnr_db for power in result.powers.values()]
    assert all(20 < ratio < 80 for ratio in ratios)
    assert ratios[0] == max(ratios)


def test_the_heads_sqnr_is_that_of_the_coarse_maps(
    model: M3ViT, pathways: Pathways, images: Tensor, result: TaskAgreement
) -> None:
    pathway, signal, noise = pathways.task("depth"), 0.0, 0.0
    for image in images[:IMAGES]:
        integer = head_map(pathway, Executor(pathway).run(image.permute(1, 2, 0).numpy()).output_NC)
        with torch.no_grad():
            tokens = model.norm(model.forward_features(normalise_image(image[None]), "depth"))[0, 1:]
            cells = model.heads["depth"].get_submodule("linear")(tokens).double()
        grid = cells.reshape(4, 4, 4, 4).permute(0, 2, 1, 3).reshape(16, 16).numpy()
        signal, noise = signal + np.square(grid).sum(), noise + np.square(grid - integer[0]).sum()
    assert list(result.powers.values())[-1].sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)


def test_decisions_are_those_of_the_two_models(model: M3ViT, pathways: Pathways, images: Tensor) -> None:
    """The float model's own routing, and the queues that golden formed."""
    executor, image = Executor(pathways.task("depth")), images[0]
    with torch.no_grad():
        routings = model.forward_tasks(normalise_image(image[None]), ("depth",))["depth"].routings
    features = {str(stage): value for stage, value in float_features(model, image, "depth").items()}
    steps: list[Step] = []
    executor.run(image.permute(1, 2, 0).contiguous().numpy(), steps.append)
    queues = [step.queues for step in steps if step.op.opcode is Opcode.MOE]
    choices = integer_features(executor, image)[1]
    for layer, routing, formed in zip((1, 3), routings, queues, strict=True):
        chosen = float_choice(model, layer, features[f"{layer} attention"], "depth")
        np.testing.assert_array_equal(chosen, routing.expert_NK.numpy())
        pairs = {(int(token), queue.expert) for queue in formed for token in queue.token_Q}
        assert pairs == {(n, int(e)) for n, experts in enumerate(choices[layer]) for e in experts}


def test_noise_of_the_layers_before_is_inherited(model: M3ViT, images: Tensor, result: TaskAgreement) -> None:
    """Disturbing the experts of block 1 leaves block 1's decisions and block 3's forced ones (nearly) alone."""
    disturbed = copy.deepcopy(model)
    block = disturbed.blocks[1]
    assert isinstance(block, MoEBlock)
    with torch.no_grad():
        block.mlp.experts.fc2_weight.mul_(-2)
    integer = integers(disturbed, images)
    after = agreement(model, integer, images[:IMAGES])["depth"].flips
    before, tokens = result.flips, 17 * IMAGES
    assert all(flips.tokens == tokens for flips in (*before.values(), *after.values()))
    assert after[3].inherited > tokens // 4 > before[3].inherited
    assert after[3].forced <= tokens // 10
    assert after[1].free <= tokens // 10
    for flips in (*before.values(), *after.values()):
        assert flips.free == flips.forced - flips.healed + flips.inherited


def test_a_disturbed_router_is_forced(model: M3ViT, images: Tensor) -> None:
    disturbed = copy.deepcopy(model)
    with torch.no_grad():
        weight = disturbed.get_parameter("blocks.1.mlp.router.gates.depth.weight")
        weight.add_(weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    flips = agreement(model, integers(disturbed, images), images[:IMAGES])
    assert flips["depth"].flips[1].forced > 17 * IMAGES // 4
    assert flips["segmentation"].flips[1].forced <= 17 * IMAGES // 10


@pytest.mark.parametrize("router", ["multi", "single", "task_conditioned"])
def test_float_operators_agree_with_float64(router: RouterKind, images: Tensor) -> None:
    deviations = operator_deviations(make_model(router), normalise_image(images[0]), "depth")
    assert len(deviations) == 1 + 4 * 4 + 2 + 2
    assert all(deviation.largest < 1e-4 for deviation in deviations), deviations


def spoil(model: M3ViT, kind: str) -> None:
    """Make one operator compute something different from its equation."""
    block, moe = model.blocks[0], model.get_submodule("blocks.1.mlp")
    match kind:
        case "norm":
            block.get_submodule("norm1").eps = 1e-3  # type: ignore[assignment]
        case "attention":
            block.get_submodule("attn").num_heads, block.get_submodule("attn").head_dim = 4, 16  # type: ignore[assignment]
        case "mlp":
            block.get_submodule("mlp").act = nn.GELU(approximate="tanh")
        case "router":
            moe.router.gates["depth"].register_forward_hook(lambda _, __, y: y + 1e-3)  # type: ignore[union-attr,index]
        case "experts":
            moe.router.renormalise = True  # type: ignore[union-attr,assignment]
        case "patch_embed":
            model.patch_embed.proj.register_forward_hook(lambda _, __, y: y.flip(-1))


@pytest.mark.parametrize("kind", ["norm", "attention", "mlp", "router", "experts", "patch_embed"])
def test_a_wrong_operator_deviates_from_float64(kind: str, images: Tensor) -> None:
    model = make_model()
    spoil(model, kind)
    deviations = operator_deviations(model, normalise_image(images[0]), "depth")
    assert {deviation.kind for deviation in deviations if deviation.largest > 1e-4} == {kind}


def test_the_verb_writes_json_and_pictures(model: M3ViT, images: Tensor, tmp_path: Path) -> None:
    from PIL import Image

    checkpoint, picture = tmp_path / "model.safetensors", tmp_path / "picture.png"
    write_checkpoint(checkpoint, Checkpoint(make_config(), 0, model.state_dict(), {}))
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(picture)
    words = ["agreement", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), "--picture", str(picture)]
    result = CliRunner().invoke(cli.build_app(words[0]), words)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert set(report["tasks"]) == {"segmentation", "depth"}
    assert len(report["tasks"]["depth"]["sqnr_db"]) == 10
    assert set(report["tasks"]["depth"]["flips"]) == {"1", "3"}
    assert (tmp_path / "out" / "agreement.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out" / "agreement.svg").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no picture", "cannot read the picture"),
        ("a.float32.bin", bytes(8), "has 8 bytes where an image has 12,288"),
        ("a.float32.bin", np.full(3072, 0.3, np.float32).tobytes(), "multiples of 1/256"),
    ],
)
def test_wrong_pictures_get_a_sentence(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_picture(tmp_path / name, (32, 32))
