# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Routing, dispatch, experts and balance losses against naive formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from m3vit.model.config import ModelConfig, RouterKind
from m3vit.model.moe import (
    Dispatch,
    MoE,
    RouterNoise,
    Routing,
    combine,
    importance_loss,
    load_loss,
    make_router,
    mlp,
    top_k_lower_index_first,
)
from m3vit.model.moe_variants import index_loop, mask_loop

KINDS: tuple[RouterKind, ...] = ("single", "multi", "task_conditioned")


def small(**changes: object) -> ModelConfig:
    fields: dict[str, object] = {
        "name": "t", "image_hw": (8, 8), "patch": 4, "dim": 12, "layers": 2, "heads": 2, "mlp_hidden": 16, "experts": 5,
        "top_k": 2, "expert_hidden": 7, "task_embedding": 3, "tasks": ("depth", "edges"),
    }  # fmt: skip
    return ModelConfig.model_validate(fields | changes)


def make_moe(config: ModelConfig, seed: int = 0) -> MoE:
    torch.manual_seed(seed)
    moe = MoE(config).double()
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter)
    return moe


def naive(moe: MoE, x_BND: Tensor, config: ModelConfig, task: str) -> Tensor:
    """Token by token, expert by expert, from the definition."""
    weight_ED, bias_E = moe.router.effective(task)  # type: ignore[arg-type]
    y_BND = torch.zeros_like(x_BND)
    for b, image in enumerate(x_BND):
        for n, token in enumerate(image):
            logits = (weight_ED @ token + bias_E).tolist()
            gates = [math.exp(v) / sum(math.exp(u) for u in logits) for v in logits]
            chosen = sorted(range(len(gates)), key=lambda e: (-logits[e], e))[: config.top_k]
            scale = sum(gates[e] for e in chosen) if config.renormalise else 1.0
            for e in chosen:
                hidden = moe.experts.fc1_weight[e] @ token + moe.experts.fc1_bias[e]
                hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
                out = moe.experts.fc2_weight[e] @ hidden + moe.experts.fc2_bias[e]
                y_BND[b, n] += gates[e] / scale * out
    return y_BND


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("top_k", "renormalise"), [(1, False), (2, False), (2, True), (5, False)])
@torch.no_grad()
def test_layer_equals_naive_loop(kind: RouterKind, top_k: int, renormalise: bool) -> None:
    config = small(router=kind, top_k=top_k, renormalise=renormalise)
    moe = make_moe(config)
    x_BND = torch.randn(3, 5, config.dim, dtype=torch.float64)
    for task in config.tasks:
        y_BND, (routing,) = moe(x_BND, [task])
        torch.testing.assert_close(y_BND, naive(moe, x_BND, config, task), rtol=1e-10, atol=1e-10)
        assert routing.expert_NK.shape == routing.gate_NK.shape == (15, top_k)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_effective_map_is_the_routers_forward(kind: RouterKind) -> None:
    config = small(router=kind)
    router = make_moe(config).router
    x_ND = torch.randn(9, config.dim, dtype=torch.float64)
    for task in config.tasks:
        weight_ED, bias_E = router.effective(task)
        assert weight_ED.shape == (config.experts, config.dim)
        assert bias_E.shape == (config.experts,)
        torch.testing.assert_close(router(x_ND, task).logits_NE, functional.linear(x_ND, weight_ED, bias_E))


@torch.no_grad()
def test_tasks_route_differently_except_with_a_single_gate() -> None:
    for kind in KINDS:
        router = make_moe(small(router=kind)).router
        x_ND = torch.randn(64, 12, dtype=torch.float64)
        same = torch.equal(router(x_ND, "depth").expert_NK, router(x_ND, "edges").expert_NK)
        assert same == (kind == "single")


def test_ties_go_to_the_lower_index() -> None:
    scores = torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0], [2.0] * 5, [0.0, 0.0, 0.0, 0.0, 1.0]])
    expected = torch.tensor([[1, 2, 4], [0, 1, 2], [4, 0, 1]])
    assert torch.equal(top_k_lower_index_first(scores, 3), expected)


def test_ties_in_a_long_row_stay_stable() -> None:
    scores = torch.tensor([0.0, 1.0]).repeat(500)
    assert torch.equal(top_k_lower_index_first(scores[None], 500)[0], torch.arange(1, 1000, 2))


def test_gates_are_a_softmax_over_all_experts() -> None:
    router = make_router(small(top_k=5)).double()
    x_ND = torch.randn(7, 12, dtype=torch.float64)
    routing = router(x_ND, "depth")
    torch.testing.assert_close(routing.gate_NK.sum(-1), torch.ones(7, dtype=torch.float64))
    top_2 = make_router(small(renormalise=True)).double()(x_ND, "depth")
    torch.testing.assert_close(top_2.gate_NK.sum(-1), torch.ones(7, dtype=torch.float64))
    top_1 = make_router(small(top_k=1)).double()(x_ND, "depth")
    assert (top_1.gate_NK < 1).all()


def test_dispatch_queues_in_token_order_and_returns() -> None:
    expert_NK = torch.tensor([[3, 0], [0, 3], [3, 1], [0, 1]])
    x_ND = torch.arange(4.0)[:, None]
    dispatch = Dispatch.of(expert_NK, 5)
    assert dispatch.lengths == [3, 2, 0, 3, 0]
    queued_SD = dispatch.scatter(x_ND)
    assert queued_SD.flatten().tolist() == [0, 1, 3, 2, 3, 0, 1, 2]
    assert torch.equal(dispatch.gather(queued_SD), x_ND[:, None].expand(4, 2, 1))


@torch.no_grad()
def test_one_expert_takes_all_and_the_rest_are_empty() -> None:
    config = small(top_k=1)
    moe = make_moe(config)
    moe.router.effective("depth")[0].zero_()  # all logits tie: expert 0
    x_BND = torch.randn(2, 4, config.dim, dtype=torch.float64)
    y_BND, (routing,) = moe(x_BND, ["depth"])
    assert routing.load().tolist() == [1, 0, 0, 0, 0]
    experts = moe.experts
    weights = experts.fc1_weight[0], experts.fc1_bias[0], experts.fc2_weight[0], experts.fc2_bias[0]
    expected = mlp(x_BND.flatten(0, 1), *weights) / config.experts
    torch.testing.assert_close(y_BND.flatten(0, 1), expected)


def test_gradients_reach_router_and_used_experts_only() -> None:
    config = small(top_k=1)
    moe = make_moe(config)
    x_BND = torch.randn(1, 6, config.dim, dtype=torch.float64, requires_grad=True)
    y_BND, (routing,) = moe(x_BND, ["depth"])
    y_BND.square().sum().backward()
    gate = moe.router.effective("depth")[0]
    assert gate.grad is not None
    assert (gate.grad != 0).any()
    assert x_BND.grad is not None
    assert moe.experts.fc1_weight.grad is not None
    used = moe.experts.fc1_weight.grad.abs().sum((1, 2)) > 0
    assert torch.equal(used, routing.load() > 0)
    assert not used.all()


def test_layer_gradient_is_the_numerical_one() -> None:
    config = small(dim=4, heads=2, expert_hidden=3, experts=3)
    moe = make_moe(config)
    x_BND = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: moe(x, ["edges"])[0], (x_BND,))


def test_noise_is_seeded_and_changes_the_choice_only_through_the_logits() -> None:
    router = make_moe(small()).router
    x_ND = torch.randn(40, 12, dtype=torch.float64)

    def routed(seed: int) -> Routing:
        routing: Routing = router(x_ND, "depth", RouterNoise(2.0, torch.Generator().manual_seed(seed)))
        return routing

    first, again, other = routed(1), routed(1), routed(2)
    assert torch.equal(first.noisy_NE, again.noisy_NE)
    assert not torch.equal(first.noisy_NE, other.noisy_NE)
    assert torch.equal(first.logits_NE, other.logits_NE)
    noise = first.noisy_NE - first.logits_NE
    assert 1.5 < float(noise.detach().std()) < 2.5
    assert torch.equal(first.expert_NK, top_k_lower_index_first(first.noisy_NE, 2))
    torch.testing.assert_close(first.gate_NK, first.noisy_NE.softmax(-1).gather(-1, first.expert_NK))


def squared_variation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / len(values) / mean**2


@torch.no_grad()
def test_balance_losses_equal_their_formulas() -> None:
    router = make_moe(small()).router
    x_ND = torch.randn(6, 12, dtype=torch.float64)
    std = 0.7
    routing = router(x_ND, "edges", RouterNoise(std, torch.Generator().manual_seed(3)))
    logits, noisy = routing.logits_NE.tolist(), routing.noisy_NE.tolist()
    importance, load = [0.0] * 5, [0.0] * 5
    for clean_row, noisy_row in zip(logits, noisy, strict=True):
        threshold = sorted(noisy_row)[-2]
        for e, value in enumerate(clean_row):
            importance[e] += math.exp(value) / sum(math.exp(v) for v in clean_row)
            load[e] += 0.5 * (1 + math.erf((value - threshold) / std / math.sqrt(2)))
    assert float(importance_loss(routing)) == pytest.approx(squared_variation(importance))
    assert float(load_loss(routing, std)) == pytest.approx(squared_variation(load))


def test_balance_losses_vanish_when_even_and_grow_when_not() -> None:
    even = torch.eye(4).repeat(8, 1) * 3
    skewed = torch.tensor([[5.0, 0.0, 0.0, 0.0]]).repeat(32, 1)

    def routing(logits_NE: Tensor) -> Routing:
        expert_NK = top_k_lower_index_first(logits_NE, 1)
        return Routing(logits_NE, logits_NE, expert_NK, logits_NE.gather(-1, expert_NK))

    for loss in (importance_loss, lambda r: load_loss(r, 0.25)):
        assert float(loss(routing(even))) < 1e-9
        assert float(loss(routing(skewed))) > 1


def test_load_loss_without_noise_is_refused() -> None:
    logits_NE = torch.zeros(2, 3)
    routing = Routing(logits_NE, logits_NE, torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1))
    with pytest.raises(ValueError, match="needs router noise"):
        load_loss(routing, 0.0)


def test_combine_weights_each_choice() -> None:
    y_NKD = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])
    assert combine(y_NKD, torch.tensor([[0.5, 0.25]])).tolist() == [[3.0, 6.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_together_are_the_tasks_one_by_one(kind: RouterKind) -> None:
    moe = make_moe(small(router=kind))
    x_BND = torch.randn(4, 3, 12, dtype=torch.float64)
    together, routings = moe(x_BND, ["edges", "depth"])
    first, (edges,) = moe(x_BND[:2], ["edges"])
    second, (depth,) = moe(x_BND[2:], ["depth"])
    torch.testing.assert_close(together, torch.cat([first, second]))
    assert torch.equal(routings[0].expert_NK, edges.expert_NK)
    assert torch.equal(routings[1].expert_NK, depth.expert_NK)


def test_a_batch_that_tasks_cannot_share_is_refused() -> None:
    moe = make_moe(small())
    for tasks in (["edges", "depth"], "depth"):
        with pytest.raises(ValueError, match="cannot be divided"):
            moe(torch.zeros(3, 3, 12, dtype=torch.float64), tasks)


@pytest.mark.parametrize("loop", [mask_loop, index_loop])
@pytest.mark.parametrize("renormalise", [False, True])
def test_loops_of_the_benchmark_compute_the_same_function(loop: Callable[..., Tensor], renormalise: bool) -> None:
    moe = make_moe(small(renormalise=renormalise))
    x_ND = torch.randn(9, 12, dtype=torch.float64)
    torch.testing.assert_close(loop(moe, x_ND, "edges"), moe(x_ND[None], ["edges"])[0][0])
