# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Quantisation of a small model with random, spread-out weights: the integer model is close to the float one."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from m3vit.model.accuracy import Int8Predictor, evaluate_int8, with_accuracy
from m3vit.model.calibrate import RESIDUAL, calibrate
from m3vit.model.checkpoint import Checkpoint, write_checkpoint
from m3vit.model.config import DEMO, Config, RouterKind
from m3vit.model.datasets import SceneData
from m3vit.model.errors import UserError
from m3vit.model.heads import grid_to_map, upsample
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.scenes import load_split
from m3vit.model.vit import M3ViT, normalise_image
from m3vit.scripts import cli
from m3vit.sim.golden.executor import Executor, Step, head_map
from m3vit.sim.pathway import Pathways, read_pathways
from m3vit.sim.program import Opcode

Split = dict[str, torch.Tensor]


def make_config(router: RouterKind = "multi", renormalise: bool = False) -> Config:
    model = DEMO.model.model_copy(
        update={"layers": 2, "tasks": ("segmentation", "depth"), "router": router, "renormalise": renormalise}
    )
    scenes = DEMO.scenes.model_copy(update={"train_size": 16, "val_size": 8})
    quant = DEMO.quant.model_copy(update={"calibration_images": 8})
    return DEMO.model_copy(update={"model": model, "scenes": scenes, "quant": quant})


def spread_out(config: Config, seed: int = 0) -> M3ViT:
    """A model with the spread of a trained one: larger weights, gains and biases that are not 1 and 0."""
    torch.manual_seed(seed)
    model = M3ViT(config.model).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pos_embed" in name or "cls_token" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif "router" in name:
                parameter.mul_(20)
            elif parameter.ndim >= 2:
                parameter.mul_(3)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def sqnr_db(reference: npt.NDArray[np.float64], approximation: npt.NDArray[np.float64]) -> float:
    noise = np.square(reference - approximation).sum()
    return float(10 * np.log10(np.square(reference).sum() / noise))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def train() -> Split:
    return load_split(make_config().scenes, DEMO.model.image_hw, "train", progress=False, workers=1)


@pytest.fixture(scope="module")
def model() -> M3ViT:
    return spread_out(make_config())


@pytest.fixture(scope="module")
def pathways(model: M3ViT, train: Split) -> Pathways:
    return quantise(model, make_config(), calibrate_units(model, make_config(), train["image"][:8]))


@torch.no_grad()
def float_grid(model: M3ViT, image: torch.Tensor, task: str) -> npt.NDArray[np.float64]:
    """Coarse map of the float model, before upsampling."""
    tokens_BND = model.norm(model.forward_features(normalise_image(image[None]), task))  # type: ignore[arg-type]
    grid_BNC = model.heads[task].get_submodule("linear")(tokens_BND[:, 1:])
    grid = grid_to_map(grid_BNC, grid_BNC.shape[-1] // 16, model.config.grid_hw, model.config.head_grid)
    return grid[0].double().numpy()


def head_sqnr(model: M3ViT, pathways: Pathways, images: torch.Tensor, task: str) -> float:
    pathway = pathways.task(task)
    executor = Executor(pathway)
    integer = [head_map(pathway, executor.run(image.permute(1, 2, 0).numpy()).output_NC) for image in images]
    return sqnr_db(np.stack([float_grid(model, image, task) for image in images]), np.stack(integer))


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_heads_are_close_on_unseen_images(model: M3ViT, pathways: Pathways, train: Split, task: str) -> None:
    assert head_sqnr(model, pathways, train["image"][8:], task) > 30


@pytest.mark.parametrize(("router", "renormalise"), [("single", False), ("task_conditioned", False), ("multi", True)])
def test_other_routers(train: Split, router: RouterKind, renormalise: bool) -> None:
    config = make_config(router, renormalise)
    model = spread_out(config, seed=1)
    pathways = quantise(model, config, calibrate_units(model, config, train["image"][:8]))
    assert head_sqnr(model, pathways, train["image"][8:12], "depth") > 30


def test_routing_agrees_with_float(model: M3ViT, pathways: Pathways, train: Split) -> None:
    """The same experts for nearly all tokens, and nearly the same gates."""
    agree = total = 0
    errors: list[float] = []
    for image in train["image"][8:12]:
        steps: list[Step] = []
        Executor(pathways.task("depth")).run(image.permute(1, 2, 0).numpy(), steps.append)
        queues = next(step.queues for step in steps if step.op.opcode is Opcode.MOE)
        with torch.no_grad():
            routing = model.forward_tasks(normalise_image(image[None]), ["depth"])["depth"].routings[0]
        expected = {
            (n, int(e)): float(g)
            for n in range(65)
            for e, g in zip(routing.expert_NK[n], routing.gate_NK[n], strict=True)
        }
        found = {(int(n), q.expert): g / 2**15 for q in queues for n, g in zip(q.token_Q, q.gate_Q, strict=True)}
        both = expected.keys() & found.keys()
        agree, total = agree + len(both), total + len(expected)
        errors += [abs(expected[key] - found[key]) for key in both]
    assert agree / total > 0.95
    assert float(np.mean(errors)) < 0.01


def test_no_activation_saturates_much(pathways: Pathways, train: Split) -> None:
    shares: dict[Opcode, list[float]] = {}

    def observe(step: Step) -> None:
        limit = np.iinfo(step.result.dtype).max
        shares.setdefault(step.op.opcode, []).append(float((step.result >= limit).mean()))

    for image in train["image"][8:12]:
        Executor(pathways.first).run(image.permute(1, 2, 0).numpy(), observe)
    assert max(shares[Opcode.LAYER_NORM]) < 0.01
    assert max(shares[Opcode.LINEAR]) < 0.01
    for opcode in (Opcode.MOE, Opcode.MLP, Opcode.LINEAR_RESIDUAL, Opcode.PATCH_EMBED, Opcode.HEAD):
        assert max(shares[opcode]) == 0


def test_calibration_sees_every_branch(model: M3ViT, train: Split) -> None:
    calibration = calibrate(model, train["image"][:8])
    image = normalise_image(train["image"][:8])
    with torch.no_grad():
        largest = max(float(model.forward_features(image, task).abs().max()) for task in model.config.tasks)
    assert calibration.largest(RESIDUAL) >= largest
    names = {"norm1", "norm2", "q", "k", "v", "attention", "hidden"}
    assert all(len(calibration.values(f"blocks.{i}.{name}")) > 500 for i in range(2) for name in names)
    assert not any(module._forward_hooks for module in model.modules())


def test_only_the_first_slice_of_an_mlp_has_the_bias(model: M3ViT, pathways: Pathways) -> None:
    """Together the slices hold all of fc1 and fc2; behind the first, the bias is the zero of GELU times the weights."""
    op = next(op for op in pathways.first.program if op.opcode is Opcode.MLP)
    first, second = Executor(pathways.first).experts(op)
    bias, total = second.fc2.bias_M.astype(int), second.fc2.weight_MK.astype(int).sum(axis=1)
    zero = round(bias @ total / (total @ total))
    assert zero > 0
    np.testing.assert_array_equal(bias, zero * total)
    assert (first.fc2.bias_M != zero * first.fc2.weight_MK.astype(int).sum(axis=1)).mean() > 0.9
    weight = model.get_submodule("blocks.0.mlp.fc2").get_parameter("weight").detach().numpy()
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    for part, channels in ((first, slice(None, 128)), (second, slice(128, None))):
        assert np.abs(weight[:, channels] / scale - part.fc2.weight_MK).max() <= 0.501


def test_ungated_expert_outputs_count_as_residual(train: Split) -> None:
    """The hardware holds them in the residual's units before the gate shrinks them."""
    model = spread_out(make_config())
    layer = model.get_submodule("blocks.1.mlp")
    with torch.no_grad():
        layer.get_parameter("experts.fc2_bias").fill_(100.0)
        for parameter in layer.get_submodule("router").parameters():
            parameter.zero_()
    calibration = calibrate(model, train["image"][:4])
    assert calibration.largest(RESIDUAL) > 95


def test_quantising_is_deterministic(model: M3ViT, pathways: Pathways, train: Split) -> None:
    again = quantise(model, make_config(), calibrate_units(model, make_config(), train["image"][:8]))
    np.testing.assert_array_equal(again.first.image, pathways.first.image)


def test_predictions_are_the_executors(model: M3ViT, pathways: Pathways, train: Split) -> None:
    """The batched predictor gives what the golden executor's head outputs become."""
    images, pathway = train["image"][8:10], pathways.task("segmentation")
    maps = [head_map(pathway, Executor(pathway).run(image.permute(1, 2, 0).numpy()).output_NC) for image in images]
    expected = upsample(torch.from_numpy(np.stack(maps)).float(), DEMO.model.image_hw)
    prediction = Int8Predictor(pathways)(images)["segmentation"]
    assert prediction.shape == (2, 5, 64, 64)
    torch.testing.assert_close(prediction, expected, rtol=1e-6, atol=1e-6)


def test_accuracy_is_measured_on_the_first_images(model: M3ViT, pathways: Pathways) -> None:
    data = SceneData(make_config(), progress=False)
    measured = with_accuracy(pathways, model, data, limit=4)
    assert evaluate_int8(pathways, [{name: tensor[:4] for name, tensor in data.val_split.items()}]) == {
        task: pathway.accuracy.int8 for task, pathway in measured.tasks.items() if pathway.accuracy
    }
    depth = measured.task("depth").accuracy
    assert depth is not None
    assert depth.images == 4
    assert abs(depth.loss_percent) < 5


def test_export_verb(model: M3ViT, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    write_checkpoint(checkpoint, Checkpoint(make_config(), 0, model.state_dict(), {}))
    app, out = cli.build_app("export"), tmp_path / "out"
    done = CliRunner().invoke(app, ["export", "--checkpoint", str(checkpoint), "--out", str(out), "--images", "2"])
    assert done.exit_code == 0, done.output
    assert "segmentation" in done.output
    accuracy = read_pathways(out).task("depth").accuracy
    assert accuracy is not None
    assert accuracy.images == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "nothing.safetensors"], "nothing.safetensors"),
        (["--hardware", "toaster"], "choose one of demo, zcu104"),
        (["--out", "."], "not a pathway folder"),
    ],
)
def test_export_mistakes(
    model: M3ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path("model.safetensors"), Checkpoint(make_config(), 0, model.state_dict(), {}))
    arguments = ["export", "--checkpoint", "model.safetensors", "--out", "out", *options]
    done = CliRunner().invoke(cli.build_app("export"), arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_model_without_weights_is_quantised() -> None:
    """Nothing to calibrate on is no reason to search for scales for ever."""
    config = make_config()
    model = M3ViT(config.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    black = torch.zeros(2, 3, *config.model.image_hw, dtype=torch.uint8)
    pathways = quantise(model, config, calibrate_units(model, config, black))
    assert not Executor(pathways.first).run(np.zeros((*config.model.image_hw, 3), np.uint8)).output_NC.any()


def test_weights_that_are_not_finite_are_refused() -> None:
    config = make_config()
    model = spread_out(config)
    with torch.no_grad():
        model.norm.weight[3] = torch.nan
    with pytest.raises(UserError, match=r"^the model has weights that are not finite numbers; train it again"):
        calibrate_units(model, config, torch.zeros(2, 3, *config.model.image_hw, dtype=torch.uint8))
