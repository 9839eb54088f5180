# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Conversions for the tests of the hls4ml plug-in."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import m3vit.hls.plugin.modules  # registers the handlers  # noqa: F401
from m3vit.hls.csim import SANITISED, ap_types

Floats = npt.NDArray[np.float32]
PRECISION = "ap_fixed<24,10>"
LSB = 2.0**-14


class Function(nn.Module):
    """A model whose forward pass is a function of its layers and its input."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def convert(
    model: nn.Module,
    shape: tuple[int, ...],
    folder: Path,
    backend: str = "M3ViT",
    precision: str = PRECISION,
    types: dict[str, str] | None = None,
    channels_last: str = "off",
    **options: Any,
) -> Any:
    """hls4ml's graph of a model; `types` gives the results of single layers a type of their own."""
    config = hls4ml.utils.config_from_pytorch_model(
        model, shape, default_precision=precision, channels_last_conversion=channels_last, backend=backend
    )
    config["LayerName"] = {name: {"Precision": {"result": text}} for name, text in (types or {}).items()}
    return hls4ml.converters.convert_from_pytorch_model(
        model, output_dir=str(folder / "project"), backend=backend, hls_config=config, **options
    )


def predict(model: nn.Module, x: Floats, folder: Path, backend: str = "M3ViT", **options: Any) -> Floats:
    """Convert, compile and run; shaped like the model's output."""
    graph = convert(model, x.shape[1:], folder, backend, **options)
    graph.compile()
    result: Floats = graph.predict(x).reshape(forward(model, x).shape)
    return result


def forward(model: nn.Module, x: Floats) -> Floats:
    """The model's own output."""
    result: Floats = model(torch.from_numpy(x)).detach().numpy()
    return result


def tokens(*shape: int, scale: float = 1.0, seed: int = 0) -> Floats:
    """Normal numbers on the grid of PRECISION."""
    return (np.rint(np.random.default_rng(seed).normal(0, scale, shape) / LSB) * LSB).astype(np.float32)


def run_test_bench(project: Path, x: Floats, expected: Floats) -> None:
    """Compile the project's test bench with sanitizers and run it as Vitis HLS would, beside `weights` and `tb_data`.

    Args:
        project: written by a conversion.
        x: inputs.
        expected: outputs; the bench prints six digits of them.
    """
    folder = project / "run"
    folder.mkdir()
    (folder / "weights").symlink_to(project / "firmware" / "weights")
    (folder / "tb_data").mkdir()
    for name, values in (("input_features", x), ("output_predictions", expected)):
        np.savetxt(folder / "tb_data" / f"tb_{name}.dat", values.reshape(len(values), -1), "%.9g")
    sources = [str(project / "myproject_test.cpp"), str(project / "firmware" / "myproject.cpp")]
    command = ["g++", "-std=c++17", *SANITISED, "-w", "-I", str(ap_types()), *sources, "-o", str(folder / "bench")]
    subprocess.run(command, check=True)
    subprocess.run([str(folder / "bench")], cwd=folder, check=True, capture_output=True)
    result = np.loadtxt(folder / "tb_data" / "csim_results.log").reshape(expected.shape)
    assert np.allclose(result, expected, rtol=1e-5, atol=0)
