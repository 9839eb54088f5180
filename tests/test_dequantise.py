# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The way back from integers: the recovered float model quantises to the same bytes and computes nearly the same."""

import pytest
import torch

from m3vit.model.config import DEMO, Config, RouterKind
from m3vit.model.dequantise import dequantise, norm_parameters
from m3vit.model.errors import UserError
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.units import Units
from m3vit.model.vit import M3ViT, normalise_image
from m3vit.sim.pathway import Pathways


def random_model(router: RouterKind) -> tuple[M3ViT, Config]:
    """A model whose norms are far from the identity."""
    config = DEMO.model_copy(update={"model": DEMO.model.model_copy(update={"layers": 2, "router": router})})
    torch.manual_seed(3)
    model = M3ViT(config.model)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "norm" in name:
            torch.nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=0.3)
        else:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), config


def settled(model: M3ViT, config: Config) -> tuple[Pathways, Units, M3ViT]:
    """Pathways of a model whose weights lie on the integers' grid, their units, and that model."""
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    units = calibrate_units(model, config, images)
    on_grid = dequantise(quantise(model, config, units), units, norm_parameters(model))
    return quantise(on_grid, config, units), units, on_grid


@pytest.mark.parametrize("router", ["single", "multi"])
def test_recovered_model_quantises_to_the_same_bytes(router: RouterKind) -> None:
    model, config = random_model(router)
    pathways, units, on_grid = settled(model, config)
    again = dequantise(pathways, units, norm_parameters(model))
    assert quantise(again, config, units).first.image.tobytes() == pathways.first.image.tobytes()
    for (name, old), new in zip(on_grid.state_dict().items(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-6, atol=1e-6 * float(old.abs().max()), msg=name)


@torch.no_grad()
def test_recovered_model_differs_by_the_rounding_of_weights_only() -> None:
    model, config = random_model("multi")
    recovered = settled(model, config)[2]
    image = normalise_image(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    for task in config.model.tasks:
        expected, found = model(image, task), recovered(image, task)
        noise = (found - expected).square().mean() / expected.square().mean()
        assert 0 < float(noise) < 0.02, task
    expected_NE = [p for n, p in model.named_parameters() if "router" in n]
    for old, new in zip(expected_NE, (p for n, p in recovered.named_parameters() if "router" in n), strict=True):
        assert float((new - old).abs().max()) < float(old.abs().max()) / 32


def test_what_cannot_be_recovered_is_refused() -> None:
    model, config = random_model("task_conditioned")
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    units = calibrate_units(model, config, images)
    with pytest.raises(UserError, match="task-conditioned router"):
        dequantise(quantise(model, config, units), units, norm_parameters(model))
    model, config = random_model("multi")
    units = calibrate_units(model, config, images)
    norms = norm_parameters(model)
    norms.pop("norm.bias")
    with pytest.raises(UserError, match="do not fit"):
        dequantise(quantise(model, config, units), units, norms)
