# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What hls4ml 1.3's Vitis backend converts to wrong numbers, our backend converts to right ones or refuses."""

import re
from collections.abc import Callable
from pathlib import Path

import hls4ml
import numpy as np
import pytest
import torch
from hls4ml.converters.pytorch_to_hls import layer_handlers
from hls4ml.model.flow import get_flow
from hls4ml.model.graph import ModelGraph
from torch import Tensor, nn
from torch.nn import functional

from hls.hls4ml_project import LSB, Floats, Function, convert, forward, predict, tokens
from m3vit.hls.plugin.precision import FixedPrecisionType, integer_bits, on_grid
from m3vit.hls.plugin.tables import exp2_table, gelu_table
from m3vit.hls.plugin.writer import edit
from m3vit.model.errors import UserError

TOLERANCE = 4 * LSB
"""Half a unit of the output's type, and 16-bit weights."""
MENDED = "hls4ml now converts this right: drop its entry in REPLACEMENTS of hls/plugin/replace.py, and this test"


def linear() -> tuple[nn.Module, Floats]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8)).eval(), tokens(2, 6, 8)


def layer_norm() -> tuple[nn.Module, Floats]:
    torch.manual_seed(0)
    norm = nn.LayerNorm(8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(norm).eval(), tokens(2, 6, 8, scale=30.0)


def softmax() -> tuple[nn.Module, Floats]:
    return nn.Sequential(nn.Softmax(dim=-1)).eval(), tokens(2, 6, 8, scale=2.0)


@pytest.mark.parametrize(("case", "wrong_by"), [(linear, 0.5), (layer_norm, 1.0), (softmax, 0.2)])
def test_wrong_conversion(case: Callable[[], tuple[nn.Module, Floats]], wrong_by: float, tmp_path: Path) -> None:
    """Vitis streams no LayerNorm, so it converts with io_parallel, its default."""
    model, x = case()
    expected = forward(model, x)
    theirs = predict(model, x, tmp_path / "vitis", "Vitis")
    assert np.abs(theirs - expected).max() > wrong_by, MENDED
    ours = predict(model, x, tmp_path / "ours")
    assert np.abs(ours - expected).max() < TOLERANCE


def test_layer_norm_of_any_variance(tmp_path: Path) -> None:
    """Deviations from one unit to the whole range; a constant token gives the bias."""
    norm = nn.LayerNorm(12, eps=1e-5)
    nn.init.normal_(norm.bias)
    scales = 2.0 ** np.arange(-14, 7)
    x = np.concatenate(
        [tokens(1, 1, 12, scale=scale, seed=7) for scale in scales] + [np.full((1, 1, 12), 3.25)], axis=1
    )
    x = x.astype(np.float32)
    model = nn.Sequential(norm).eval()
    assert np.abs(predict(model, x, tmp_path) - forward(model, x)).max() < TOLERANCE


def test_gelu_add_relu_and_a_linear_layer_without_bias(tmp_path: Path) -> None:
    """Both forms of GELU, as module and as function; a stream that is read three times; inputs beyond the table."""
    torch.manual_seed(1)
    out = nn.Linear(8, 8, bias=False)
    out.weight.data = (1024 * out.weight.data).round() / 1024  # exact, because some inputs are large
    model = Function(
        lambda m, x: m.out(m.gelu(x) + functional.gelu(x, approximate="tanh")) + m.drop(m.relu(x)),
        gelu=nn.GELU(), out=out, relu=nn.ReLU(), drop=nn.Dropout(),
    ).eval()  # fmt: skip
    x = np.concatenate([tokens(2, 5, 8, scale=scale) for scale in (0.1, 2.0, 40.0)], axis=1)
    expected = forward(model, x)
    assert np.abs(expected).max() > 50
    assert np.abs(predict(model, x, tmp_path) - expected).max() < 8 * LSB


def test_outputs_round_and_saturate(tmp_path: Path) -> None:
    """hls4ml's default truncates and wraps."""
    x = np.array([[[-40.0, 3.3, 31.9, 200.0]]], np.float32)
    model = Function(lambda m, y: m.relu(y), relu=nn.ReLU()).eval()
    y = predict(model, x, tmp_path, precision="ap_fixed<16,10>", types={"relu": "ap_fixed<8,6>"})
    assert y.tolist() == [[[0.0, 3.25, 31.75, 31.75]]]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Function(lambda m, x: x.softmax(1)), "dim=-1"),
        (nn.Sequential(nn.Softmax()), "dim=-1"),
        (Function(lambda m, x: torch.tanh(x)), "tanh"),
        (nn.Sequential(nn.Conv1d(6, 6, 1)), "Conv1D"),
        (nn.Sequential(nn.BatchNorm1d(6)), "BatchNormalization"),
        (nn.Sequential(nn.LeakyReLU()), "ParametrizedActivation"),
        (nn.Sequential(nn.Flatten()), "Reshape"),
        (nn.Sequential(nn.LayerNorm((6, 8))), "normalises (6, 8)"),
        (nn.Sequential(nn.Linear(7, 4)), "takes 7 channels"),
        (Function(lambda m, x: m.relu(x) * x, relu=nn.ReLU()), "multiply"),
        (Function(lambda m, x: torch.add(m.relu(x), x, alpha=2), relu=nn.ReLU()), "alpha"),
        (Function(lambda m, x: x + 1.0), "Constant"),
        (Function(lambda m, x: m.linear(x) + x, linear=nn.Linear(8, 1)), "one shape"),
    ],
)
def test_refused(model: nn.Module, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        convert(model.eval(), (6, 8), tmp_path)


def relu_model() -> nn.Module:
    return nn.Sequential(nn.ReLU()).eval()


@pytest.mark.parametrize("precision", ["ap_fixed<40,20>", "ap_fixed<16,-6>", "ap_fixed<8,10>", "float"])
def test_types_without_a_kernel_are_refused(precision: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="type"):
        convert(relu_model(), (6, 8), tmp_path, precision=precision)


def test_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="io_stream"):
        convert(relu_model(), (6, 8), tmp_path, io_type="io_parallel")
    with pytest.raises(UserError, match="channels_last_conversion='off'"):
        convert(relu_model(), (6, 8), tmp_path, channels_last="full")
    with pytest.raises(TypeError, match="write_weights_txt"):
        convert(relu_model(), (6, 8), tmp_path, write_weights_txt=True)


def test_other_front_ends_are_refused() -> None:
    backend = hls4ml.backends.get_backend("M3ViT")
    config = {"Backend": "M3ViT", "HLSConfig": {"Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1}}}
    layers = [{"class_name": "InputLayer", "name": "x", "input_shape": [6, 8]}]
    with pytest.raises(UserError, match="convert_from_pytorch_model"):
        ModelGraph.from_layer_list(backend.create_initial_config() | config, layers)


def test_other_backends_convert_as_before(tmp_path: Path) -> None:
    for name in ("Linear", "LayerNorm", "Softmax", "ReLU", "add"):
        assert layer_handlers[name].__module__.startswith("hls4ml.")
    assert not any("m3vit" in name for name in get_flow("vitis:ip").requires)
    with pytest.raises(UserError, match="M3ViT backend only"):
        convert(nn.Sequential(nn.GELU()).eval(), (6, 8), tmp_path, "Vitis")


def test_build_says_when_there_is_no_vitis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = convert(relu_model(), (6, 8), tmp_path)
    graph.write()
    project = tmp_path / "project"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Vitis is not installed"):
        graph.build()
    assert 'set part "xczu7ev-ffvc1156-2-e"' in (project / "project.tcl").read_text()
    assert "set clock_period 3.33\n" in (project / "project.tcl").read_text()
    tcl = (project / "build_prj.tcl").read_text()
    assert tcl.count("-std=c++17") == 3
    assert "-std=c++0x" not in tcl


@pytest.mark.parametrize("largest", [1e-6, 0.49999, 0.5, 0.99999, 1.0, 3.0, 1000.0])
def test_weights_have_the_least_integer_bits(largest: float) -> None:
    data = np.array([largest, -largest / 3])
    bits = integer_bits(data, 16)
    error = np.abs(on_grid(data, FixedPrecisionType(16, bits)) - data).max()
    assert error <= 2.0 ** (bits - 17)
    assert np.abs(on_grid(data, FixedPrecisionType(16, bits - 1)) - data).max() > 2.0 ** (bits - 18)


def test_tables_hold_their_functions() -> None:
    assert np.abs(exp2_table() - 2.0 ** (-np.arange(257) / 256)).max() <= 2.0**-25
    for form in ("none", "tanh"):
        points = torch.arange(1025, dtype=torch.float64) / 128
        expected: Tensor = points - functional.gelu(points, approximate=form)
        assert np.abs(gelu_table(form) - expected.numpy()).max() <= 2.0**-25 + 1e-15  # type: ignore[arg-type]


def test_a_change_of_hls4mls_templates_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x.cpp").write_text("one\ntwo\n")
    edit(tmp_path / "x.cpp", "^two$", "three")
    assert (tmp_path / "x.cpp").read_text() == "one\nthree\n"
    with pytest.raises(RuntimeError, match="has changed its templates"):
        edit(tmp_path / "x.cpp", "^two$", "four")
