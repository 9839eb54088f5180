# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""M3ViT: agreement with timm, shapes of the presets, heads, registration."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from m3vit.model.config import MODELS, ModelConfig
from m3vit.model.heads import grid_to_map, upsample
from m3vit.model.vit import M3ViT, MoEBlock, normalise_image

BASE = ModelConfig(
    name="t", image_hw=(16, 24), patch=8, dim=12, layers=4, heads=3, mlp_hidden=20, experts=4, top_k=2, expert_hidden=6
)  # fmt: skip


class DenseConfig(ModelConfig):
    """All blocks dense: then the model is timm's Vision Transformer."""

    def is_moe(self, layer: int) -> bool:
        return False


def make(config: ModelConfig) -> M3ViT:
    torch.manual_seed(0)
    model = M3ViT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@torch.no_grad()
def test_dense_model_is_timms_vision_transformer() -> None:
    model = make(DenseConfig(**BASE.model_dump()))
    reference = VisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=12, depth=4, num_heads=3, mlp_ratio=20 / 12, num_classes=0,
        global_pool="",
    ).eval()  # fmt: skip
    ours = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("heads.")}
    reference.load_state_dict(ours)
    image = torch.randn(2, 3, 16, 24)
    expected = reference.forward_features(image)
    torch.testing.assert_close(model.norm(model.forward_features(image, "depth")), expected)


def test_odd_blocks_hold_experts() -> None:
    model = make(BASE)
    assert [isinstance(block, MoEBlock) for block in model.blocks] == [False, True, False, True]
    assert model.shared_blocks == 1


@torch.no_grad()
def test_every_task_predicts_at_image_size_and_splits_consistently() -> None:
    model = make(BASE)
    image = torch.randn(2, 3, 16, 24)
    for task in BASE.tasks:
        one = model.forward_tasks(image, [task])[task]
        prediction, routings = one.map_BCHW, one.routings
        assert prediction.shape == (2, BASE.channels(task), 16, 24)
        assert torch.equal(model(image, task), prediction)
        assert torch.equal(model.forward_head(model.forward_features(image, task), task), prediction)
        assert [tuple(r.logits_NE.shape) for r in routings] == [(2 * 7, 4)] * 2


@torch.no_grad()
@pytest.mark.parametrize("dense", [False, True])
def test_tasks_together_are_the_tasks_one_by_one(dense: bool) -> None:
    model = make(BASE.model_copy(update={"dense": dense})).double()
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    together = model.forward_tasks(image, BASE.tasks)
    assert tuple(together) == BASE.tasks
    for task, prediction in together.items():
        torch.testing.assert_close(prediction.map_BCHW, model(image, task))
        assert len(prediction.routings) == len(model.config.moe_layers)


@torch.no_grad()
def test_images_do_not_influence_each_other() -> None:
    model = make(BASE).double()
    image = torch.randn(3, 3, 16, 24, dtype=torch.float64)
    together = model(image, "normals")
    alone = torch.cat([model(one[None], "normals") for one in image])
    torch.testing.assert_close(together, alone)


def test_unknown_task_is_refused() -> None:
    model = M3ViT(BASE.model_copy(update={"tasks": ("depth",)}))
    with pytest.raises(ValueError, match="has no task 'edges'"):
        model(torch.zeros(1, 3, 16, 24), "edges")


def test_task_cells_land_in_their_patch() -> None:
    rows, columns, channels, grid = 2, 3, 2, 4
    map_BCHW = torch.arange(channels * rows * grid * columns * grid).view(1, channels, rows * grid, columns * grid)
    tokens = [
        map_BCHW[0, :, r * grid : (r + 1) * grid, c * grid : (c + 1) * grid].flatten()
        for r in range(rows)
        for c in range(columns)
    ]
    assert torch.equal(grid_to_map(torch.stack(tokens)[None], channels, (rows, columns), grid), map_BCHW)


def test_upsampling_keeps_a_ramp() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    fine = upsample(ramp, (16, 16))[0, 0, 3]
    assert fine[1:-1].tolist() == [0.25 + 0.5 * i for i in range(14)]


def test_normalisation_maps_bytes_to_plus_minus_one() -> None:
    assert normalise_image(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_presets_are_registered_with_timm(name: str) -> None:
    assert name in timm.list_models("m3vit_*")
    with torch.device("meta"):
        model = timm.create_model(name)
    config = MODELS[name]
    assert model.config == config
    assert model.pos_embed.shape == (1, config.tokens, config.dim)
    assert model.blocks[1].mlp.experts.fc1_weight.shape == (config.experts, config.expert_hidden, config.dim)
    assert model.blocks[0].mlp.fc1.weight.shape == (config.mlp_hidden, config.dim)
    for task in config.tasks:
        assert model.heads[task].linear.out_features == config.channels(task) * config.head_grid**2
        weight_ED, bias_E = model.blocks[-1].mlp.router.effective(task)
        assert weight_ED.shape == (config.experts, config.dim)
        assert bias_E.shape == (config.experts,)


def test_entry_points_take_config_fields_and_refuse_the_rest() -> None:
    with torch.device("meta"):
        model = timm.create_model("m3vit_demo_patch8", router="single", top_k=1)
        assert (model.config.router, model.config.top_k) == ("single", 1)
        with pytest.raises(ValueError, match="dropout"):
            timm.create_model("m3vit_demo_patch8", dropout=0.1)
        with pytest.raises(ValueError, match="no pretrained weights"):
            timm.create_model("m3vit_demo_patch8", pretrained=True)


def test_initialisation_follows_timm() -> None:
    torch.manual_seed(0)
    model = M3ViT(MODELS["m3vit_demo_patch8"])
    experts = model.blocks[1].get_submodule("mlp.experts")
    for weight in (model.pos_embed, experts.get_parameter("fc1_weight"), experts.get_parameter("fc2_weight")):
        assert 0.018 < float(weight.detach().std()) < 0.022
    assert not experts.get_parameter("fc1_bias").any()
