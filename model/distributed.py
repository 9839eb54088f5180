# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Several training processes, as `torchrun` starts them: who they are, sums over them, replicated or sharded experts.

The batch is divided among the processes, and a run of any number of them follows the same loss curve. What depends on
the whole batch is made whole: counts of valid pixels and the routers' loads are summed, and the routers' noise is drawn
for the whole batch and sliced. Gradients are averaged by DistributedDataParallel. Sharded experts are left out of that:
FSDP2's `fully_shard` gives each process an equal share of the experts of a layer (parameters, gradients and optimiser
state), gathers them for the products and scatters their gradients. It was chosen over all-to-all exchange of tokens
because the experts' code stays the same, the number of experts need not be a multiple of the number of processes, and
it runs on gloo and NCCL.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from m3vit.model.errors import UserError
from m3vit.model.moe import Experts

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long processes wait for the first one, which validates and writes; torchrun notices a dead process at once."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run and this one's place among them."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes, logs and validates."""
        return self.rank == 0

    def sum(self, x: Tensor) -> Tensor:
        """Sum over all processes, without gradient."""
        total = x.detach().clone()
        if self.world > 1:
            distributed.all_reduce(total)
        return total

    def total(self, x: Tensor) -> Tensor:
        """Sum over all processes. Its gradient, averaged over the processes, is that of the sum."""
        if self.world == 1:
            return x
        scaled = self.world * x
        return scaled + (self.sum(x) - scaled.detach())

    def from_first(self, value: T) -> T:
        """The value that the first process passed."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def agree(self, decide: Callable[[], T]) -> T:
        """What the first process decides; its mistake of the user's is everybody's.

        Raises:
            UserError: the first process raised it.
        """
        decided: tuple[T | None, str | None] = (None, None)
        if self.first:
            try:
                decided = decide(), None
            except UserError as error:
                decided = None, str(error)
        value, mistake = self.from_first(decided)
        if mistake is not None:
            raise UserError(mistake)
        return cast(T, value)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()


def launched() -> bool:
    """Whether torchrun started this process."""
    return distributed.is_torchelastic_launched()


def restarted() -> bool:
    """Whether torchrun started this process again, after one had died."""
    return launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process among those of its machine, if the device is a GPU."""
    if launched() and device.type == "cuda":
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """Meet the other processes that torchrun started: over NCCL on GPUs, else over gloo; alone without torchrun."""
    if not launched():
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    # torchrun keeps the store when it restarts processes; the addresses of the dead ones must not be found in it.
    store = PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield Processes(rank, world)
    finally:
        distributed.destroy_process_group()


def shard_experts(model: nn.Module, device: torch.device, processes: Processes) -> None:
    """Divide the experts of every layer among the processes."""
    mesh = init_device_mesh(device.type, (processes.world,))
    for module in model.modules():
        if isinstance(module, Experts):
            fully_shard(module, mesh=mesh)


def replicate(module: nn.Module, processes: Processes) -> nn.Module:
    """The module with gradients averaged over the processes, but for those of sharded parameters."""
    if processes.world == 1:
        return module
    sharded = [name for name, parameter in module.named_parameters() if isinstance(parameter, DTensor)]
    # torch has no public way to say this.
    ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(module, sharded)
    return DistributedDataParallel(module)


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all processes, which must all call this; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, the same in all processes, on the parameter's device and sharded as the parameter is."""
    moved = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return moved


def clip_gradients(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Scale all gradients down to a Euclidean norm of at most `largest`.

    Returns:
        The norm before, the same in all processes.
    """
    plain = [p for p in parameters if not isinstance(p, DTensor)]
    sharded = [p for p in parameters if isinstance(p, DTensor)]
    norm = _norm(plain)
    if sharded:
        norm = torch.hypot(norm, whole(_norm(sharded)))
    for group in (plain, sharded):
        nn.utils.clip_grads_with_norm_(group, largest, norm)
    return norm


def _norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


class OwnError(UserError):
    """A mistake of the user's that perhaps only this process has met, as a damaged image."""


@contextmanager
def own_mistakes() -> Iterator[None]:
    """Mark mistakes as this process's own, so that it says them."""
    try:
        yield
    except UserError as error:
        raise OwnError(str(error)) from error


def is_first() -> bool:
    """Whether this process is the one that speaks to the user; true without torchrun."""
    return os.environ.get("RANK", "0") == "0" or not launched()


@contextmanager
def quiet_in_others() -> Iterator[None]:
    """Leave the sentence about a mistake that all processes meet to the first one; the others just exit with 2."""
    try:
        yield
    except UserError as error:
        if is_first() or isinstance(error, OwnError):
            raise
        raise SystemExit(2) from None
