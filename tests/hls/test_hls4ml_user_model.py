# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A model of the user's own with one of our MoE layers: the examples of docs/hls4ml.md, and MoeBlock by itself."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hls.hls4ml_project import Function, convert, forward, run_test_bench, tokens
from m3vit.hls.plugin.moe_block import MoeBlock
from m3vit.model.config import HARDWARE, MODELS
from m3vit.model.errors import UserError
from m3vit.model.moe import MoE
from m3vit.sim.golden.executor import Step, run

PAGE = Path(__file__).parents[2] / "docs" / "hls4ml.md"
CONFIG = MODELS["m3vit_demo_patch8"]
TOKENS = 10


def blocks() -> list[str]:
    """Python of the page, in order."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Variables of the page's first example after it ran, and its folder."""
    folder, names = tmp_path_factory.mktemp("example"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(blocks()[0], str(PAGE), "exec"), names)
    return names | {"folder": folder / "classifier"}


def test_example_is_close_to_pytorch(example: Any) -> None:
    """The page names the bound."""
    assert "at most 1/256" in PAGE.read_text()
    assert example["prediction"].shape == (16, 24, 10)
    assert 0 < np.median(example["difference"]) < 1 / 512
    assert (example["difference"] <= 1 / 256).mean() > 0.99
    assert np.abs(example["prediction"].sum(-1) - 1).max() < 10 / 2**10


def test_moe_part_of_the_example_is_exact(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's output is what MoeBlock makes of the engine's input."""
    graph, model, x = example["graph"], example["model"], example["samples"].numpy()
    monkeypatch.chdir(example["folder"].parent)
    for node in graph.get_layers():
        node.set_attr("trace", True)
    _, traced = graph.trace(x)
    seen = torch.from_numpy(traced["embed"].reshape(16, 24, CONFIG.dim).astype(np.float32))
    expected = model.block(seen).numpy().reshape(traced["block"].shape)
    assert (traced["block"] == expected).all()
    assert np.abs(traced["block"].ravel() - seen.numpy().ravel()).max() > 0.5  # the experts do something
    exact = model.embed(example["samples"]).detach()
    assert float((seen - exact).abs().max()) < 2.0**-10
    alike = experts(model.block, seen) == experts(model.block, exact)
    assert alike.mean() > 0.99
    assert (example["difference"].ravel()[alike] <= 1 / 256).all()


def experts(block: MoeBlock, x_BND: Tensor) -> Any:
    """The chosen experts of each token, as text."""
    chosen = []
    for x_ND in x_BND:
        places: list[list[int]] = [[] for _ in x_ND]

        def observe(step: Step, places: list[list[int]] = places) -> None:
            for queue in step.queues:
                for token in queue.token_Q:
                    places[token].append(queue.expert)

        run(block.pathway, np.rint(x_ND.numpy() * 2.0**block.fraction).astype(np.int16), observe)
        chosen += [str(place) for place in places]
    return np.array(chosen)


def test_example_has_one_engine_and_memory_ports(example: Any) -> None:
    project, pathway = example["folder"], example["model"].block.pathway
    top = (project / "firmware" / "myproject.cpp").read_text()
    assert top.count("stream_engine<") == 1
    for port in ("hp0", "hp1", "hp2", "hp3"):
        assert f"#pragma HLS INTERFACE m_axi port={port} bundle={port} offset=off" in top
    for register in ("memory", "memory_bytes", "error", "return"):
        assert f"#pragma HLS INTERFACE s_axilite port={register} bundle=ctrl" in top
    weights = project / "firmware" / "weights"
    assert (weights / "image.bin").read_bytes() == pathway.image.tobytes()
    assert not list(weights.glob("*.txt"))


def test_bench_of_the_example_under_sanitizers(example: Any) -> None:
    """What Vitis HLS runs as C-simulation gives what the library gave, and says if there is no image."""
    project, x = example["folder"], example["samples"].numpy()[:2]
    run_test_bench(project, x, example["prediction"][:2])
    bench = project / "run" / "bench"
    alone = subprocess.run([str(bench)], cwd=project, check=False, capture_output=True, text=True)
    assert alone.returncode == 1
    assert "ERROR: engine 65536" in alone.stdout


def test_second_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: Any = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks()[1], str(PAGE), "exec"), names)
    pathway = names["pathways"].task("segmentation")
    expected = np.stack([run(pathway, image).output_NC for image in names["images"]])
    assert (names["result"].reshape(expected.shape) == expected).all()


def test_the_page_has_no_other_examples() -> None:
    assert len(blocks()) == 2


def layer(**changes: Any) -> tuple[MoE, nn.LayerNorm]:
    """A MoE layer and its norm with random weights."""
    torch.manual_seed(3)
    moe, norm = MoE(CONFIG.model_copy(update=changes)), nn.LayerNorm(CONFIG.dim)
    for parameter in moe.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1)
    nn.init.normal_(norm.weight, 1.0, 0.2)
    return moe, norm


def samples(count: int = 16) -> Tensor:
    return torch.from_numpy(tokens(count, TOKENS, CONFIG.dim))


def test_block_is_close_to_the_float_layer() -> None:
    """On tokens that it was not calibrated with; the page names the bound. Tokens may change experts."""
    assert "25 dB" in PAGE.read_text()
    moe, norm = layer()
    x = torch.from_numpy(tokens(16, TOKENS, CONFIG.dim, seed=9))
    block = MoeBlock(moe, norm, samples(), task="depth")
    with torch.no_grad():
        branch = moe(norm(x), ["depth"])[0]
        error = block(x) - (x + branch)
    assert 10 * np.log10(float(branch.square().mean() / error.square().mean())) > 25


@pytest.mark.parametrize("changes", [{"router": "single", "renormalise": True}, {"router": "task_conditioned"}])
def test_block_takes_every_router(changes: dict[str, Any]) -> None:
    moe, norm = layer(**changes)
    x = samples(4)
    block = MoeBlock(moe, norm, x, task="edges")
    with torch.no_grad():
        branch = moe(norm(x), ["edges"])[0]
        error = block(x) - (x + branch)
    assert 10 * np.log10(float(branch.square().mean() / error.square().mean())) > 20


def test_tasks_route_differently() -> None:
    moe, norm = layer()
    x = samples(2)
    first, second = (MoeBlock(moe, norm, x, task=task)(x) for task in ("depth", "normals"))  # type: ignore[arg-type]
    assert (first != second).any()


def test_block_behind_a_layer_with_a_type_of_its_own(tmp_path: Path) -> None:
    """A conversion is put between them; a residual connection around the block; float inputs round as in torch."""
    moe, norm = layer()
    block = MoeBlock(moe, norm, samples())
    model = Function(lambda m, x: m.block(x) + x, block=block).eval()
    x = np.random.default_rng(4).normal(0, 1, (3, TOKENS, CONFIG.dim)).astype(np.float32)
    x = (np.rint(x * 2**15) / 2**15).astype(np.float32)
    types = {"x": "ap_fixed<24,9>", "add": "ap_fixed<24,9>"}
    graph = convert(model, x.shape[1:], tmp_path, types=types, namespace="ours", project_name="residual")
    assert "block_input" in [node.name for node in graph.get_layers()]
    graph.compile()
    assert block.fraction < 15  # so the conversion has something to round
    assert (graph.predict(x).reshape(x.shape) == forward(model, x)).all()


def test_block_adapts_the_layer_before_it(tmp_path: Path) -> None:
    moe, norm = layer()
    block = MoeBlock(moe, norm, samples())
    graph = convert(nn.Sequential(nn.Linear(8, CONFIG.dim), block).eval(), (TOKENS, 8), tmp_path)
    assert [node.class_name for node in graph.get_layers()] == ["Input", "FixedLinear", "Engine"]
    precision = graph.graph["_0"].get_output_variable().type.precision
    assert (precision.width, precision.fractional) == (16, block.fraction)


def test_block_converts_what_is_read_twice_or_has_a_type_of_its_own(tmp_path: Path) -> None:
    moe, norm = layer()
    block = MoeBlock(moe, norm, samples())
    twice = Function(lambda m, x: m.block(x) + x, block=block).eval()
    for model, types in ((twice, {}), (nn.Sequential(block).eval(), {"input_1": "ap_fixed<24,9>"})):
        graph = convert(model, (TOKENS, CONFIG.dim), tmp_path, types=types)
        kinds = [node.class_name for node in graph.get_layers()]
        assert kinds.index("FixedConvert") + 1 == kinds.index("Engine")


def test_blocks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    moe, norm = layer()
    for bad, says in ((torch.zeros(2, TOKENS, 32), "samples of shape"), (torch.zeros(TOKENS, CONFIG.dim), "samples")):
        with pytest.raises(UserError, match=says):
            MoeBlock(moe, norm, bad)
    with pytest.raises(UserError, match="samples of shape"):
        MoeBlock(moe, nn.LayerNorm(32), samples())
    with pytest.raises(UserError, match="max_tokens"):
        MoeBlock(moe, norm, torch.zeros(1, 81, CONFIG.dim))
    with pytest.raises(UserError, match="multiple of the inputs 96"):
        MoeBlock(moe, norm, samples(), hardware=HARDWARE["zcu104"])
    with pytest.raises(UserError, match="do not fit a 16-bit stream"):
        MoeBlock(moe, norm, 1e6 * samples())
    only_depth, _ = layer(tasks=("depth",))
    with pytest.raises(UserError, match="knows the tasks depth"):
        MoeBlock(only_depth, norm, samples())
    narrow, _ = layer(dim=48, heads=1)
    with pytest.raises(UserError, match="multiple of 32"):
        MoeBlock(narrow, nn.LayerNorm(48), torch.zeros(1, 4, 48))
    block = MoeBlock(moe, norm, samples())
    with pytest.raises(UserError, match="calibrate it"):
        convert(nn.Sequential(block).eval(), (TOKENS + 1, CONFIG.dim), tmp_path)
    with pytest.raises(UserError, match="one engine"):
        convert(nn.Sequential(block, MoeBlock(moe, norm, samples())).eval(), (TOKENS, CONFIG.dim), tmp_path)
    with pytest.raises(UserError, match="M3ViT backend only"):
        convert(nn.Sequential(block).eval(), (TOKENS, CONFIG.dim), tmp_path, "Vitis")


@pytest.mark.parametrize("value", [0.0, 2.5, float("nan"), float("inf")])
def test_samples_that_say_nothing_are_refused(value: float) -> None:
    moe, norm = layer()
    with pytest.raises(UserError, match="finite and tokens not constant"):
        MoeBlock(moe, norm, torch.full((1, TOKENS, CONFIG.dim), value))
