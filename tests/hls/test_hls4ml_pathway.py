# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""One task of an M3ViT through hls4ml: one engine, every element equal to golden."""

from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hls.hls4ml_project import convert
from m3vit.hls.plugin.modules import LayerNormOp, TaskModel, model_for_task
from m3vit.model.config import HARDWARE, MODELS
from m3vit.model.errors import UserError
from m3vit.sim.golden.executor import run
from m3vit.sim.pathway import Pathway, Pathways
from m3vit.sim.program import Opcode
from m3vit.sim.synthetic import random_image, random_moe, random_pathways, random_residual

TASKS = ("segmentation", "depth")
MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"layers": 2, "image_hw": (24, 32), "tasks": TASKS})


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(MODEL, HARDWARE["demo"], seed=5)


def images(count: int) -> Any:
    return np.stack([random_image(MODEL, seed) for seed in range(count)])


def golden(pathway: Pathway, sources: Any) -> Any:
    return np.stack([run(pathway, source).output_NC for source in sources])


@pytest.mark.parametrize("task", TASKS)
def test_forward_is_golden(pathways: Pathways, task: str) -> None:
    result = model_for_task(pathways, task)(torch.from_numpy(images(3)).float())
    assert result.shape == (3, 12, len(golden(pathways.task(task), images(1))[0, 0]))
    assert (result.numpy() == golden(pathways.task(task), images(3))).all()


def test_modules_are_the_program(pathways: Pathways) -> None:
    model = model_for_task(pathways, "depth")
    names = [type(module).__name__ for module in model.children()]
    assert names[:6] == ["PatchEmbedOp", "LayerNormOp", "LinearOp", "AttentionOp", "LinearResidualOp", "LayerNormOp"]
    assert names[6] == "MlpOp"
    assert "MoeOp" in names
    assert names[-3:] == ["LayerNormOp", "HeadOp", "StoreOp"]
    assert len(names) == len(pathways.task("depth").program)


@pytest.mark.parametrize("task", TASKS)
def test_c_simulation_is_golden(pathways: Pathways, task: str, tmp_path: Path) -> None:
    pathway, model = pathways.task(task), model_for_task(pathways, task)
    graph = convert(model, model.input_shape, tmp_path)
    assert [node.name for node in graph.get_layers()] == ["source", "engine"]
    graph.compile()
    expected = golden(pathway, images(2))
    assert np.abs(expected).max() > 500
    for dtype in (np.float32, np.float64):
        assert (graph.predict(images(2).astype(dtype)).reshape(expected.shape) == expected).all()
    check_project(tmp_path / "project", pathway)


def check_project(project: Path, pathway: Pathway) -> None:
    """One engine, its integer types, its memory image, and no weights anywhere else."""
    top = (project / "firmware" / "myproject.cpp").read_text()
    assert top.count("stream_engine<") == 1
    assert "config_T" not in top
    types = (project / "firmware" / "defines.h").read_text()
    assert "nnet::array<ap_uint<8>, 3*1> input_t" in types
    assert f"nnet::array<ap_int<16>, {pathway.program[-1].out_features}*1> result_t" in types
    weights = list((project / "firmware" / "weights").iterdir())
    assert [path.name for path in weights] == ["image.bin"]
    assert weights[0].read_bytes() == pathway.image.tobytes()


def test_a_moe_program_takes_a_residual_stream() -> None:
    """LOAD in place of PATCH_EMBED; test_hls4ml_user_model.py runs one."""
    pathways = random_moe(MODEL, HARDWARE["demo"])
    model = model_for_task(pathways, "depth")
    source = random_residual(MODEL)
    result = model(torch.from_numpy(source[None]).float())
    assert (result[0].numpy() == run(pathways.task("depth"), source).output_NC).all()
    graph = convert(model, model.input_shape, Path("unwritten"))
    assert str(graph.get_input_variables()[0].type.precision) == "int<16>"


class Without(TaskModel):
    """Leaves one operation out."""

    def __init__(self, pathway: Pathway, place: int) -> None:
        super().__init__(pathway)
        del self._names[place]


class StaleResidual(TaskModel):
    """The last norm reads the residual stream as it was before the first block."""

    def forward(self, source: Tensor) -> Tensor:
        residual: Tensor = self.get_submodule("op0_patch_embed")(source)
        x = self.get_submodule("op1_layer_norm")(residual)
        x = self.get_submodule("op3_attention")(self.get_submodule("op2_linear")(x))
        last = self.get_submodule("op4_linear_residual")(residual, x)
        x = self.get_submodule("op5_layer_norm")(residual)
        last = self.get_submodule("op6_mlp")(last, x)
        for name in self._names[7:]:
            operation = self.get_submodule(name)
            match operation.op.opcode:
                case Opcode.LAYER_NORM:
                    x = operation(last)
                case Opcode.LINEAR | Opcode.ATTENTION:
                    x = operation(x)
                case Opcode.HEAD:
                    last = operation(x)
                case Opcode.STORE:
                    last = operation(last)
                case _:
                    last = operation(last, x)
        return last


class Followed(nn.Module):
    """A layer behind the program."""

    def __init__(self, pathways: Pathways) -> None:
        super().__init__()
        self.network, self.relu = model_for_task(pathways, "depth"), nn.ReLU()

    def forward(self, source: Tensor) -> Tensor:
        result: Tensor = self.relu(self.network(source))
        return result


class Mixed(TaskModel):
    """One operation of another task."""

    def __init__(self, pathways: Pathways) -> None:
        super().__init__(pathways.task("depth"))
        other = model_for_task(pathways, "segmentation")
        self.add_module("op5_layer_norm", other.get_submodule("op5_layer_norm"))


def test_what_is_not_the_program_is_refused(pathways: Pathways) -> None:
    pathway, folder = pathways.task("depth"), Path("unwritten")
    shape = model_for_task(pathways, "depth").input_shape
    for model, says in (
        (Without(pathway, len(pathway.program) - 1), "whole program"),
        (StaleResidual(pathway), "reads"),
        (Followed(pathways), "cannot hold other layers"),
        (Mixed(pathways), "several Pathways"),
    ):
        with pytest.raises(UserError, match=says):
            convert(model.eval(), shape, folder)
    with pytest.raises(UserError, match="M3ViT backend only"):
        convert(model_for_task(pathways, "depth"), shape, folder, "Vitis")
    with pytest.raises(UserError, match="there is no task 'colour'"):
        model_for_task(pathways, "colour")


def test_a_copied_project_runs_where_it_lies(pathways: Pathways, tmp_path: Path) -> None:
    """Library and image find each other in the copy; a damaged or missing image is reported, never used."""
    pathway, model = pathways.task("depth"), model_for_task(pathways, "depth")
    convert(model, model.input_shape, tmp_path).compile()
    copy = tmp_path.parent / "elsewhere"
    (tmp_path / "project").rename(copy)
    graph = hls4ml.converters.link_existing_project(str(copy))
    image, source = copy / "firmware" / "weights" / "image.bin", images(1).astype(np.float32)
    library = next((copy / "firmware").glob("*.so"))

    def result(name: str) -> Any:
        """As a library of another name, which is loaded anew."""
        other = library.with_name(name)
        other.write_bytes(library.read_bytes())
        graph._top_function_lib = np.ctypeslib.load_library(other.name, str(other.parent))
        return graph.predict(source)

    assert (result("a.so") == golden(pathway, images(1)).ravel()).all()
    data = bytearray(image.read_bytes())
    data[pathway.program_offset + 64] ^= 1
    image.write_bytes(data)
    with pytest.raises(UserError, match="error 2 "):
        result("b.so")
    image.unlink()
    with pytest.raises(UserError, match="no memory image"):
        result("c.so")
    files = [path for path in copy.rglob("*") if path.is_file()]
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]


def test_norm_reads_the_residual_stream(pathways: Pathways) -> None:
    model = model_for_task(pathways, "depth")
    norm = model.get_submodule("op1_layer_norm")
    assert isinstance(norm, LayerNormOp)
    assert norm.shape == [13, 64]
