"""Weights, gradients and the optimizer's state spread over the processes (FSDP; Zhao et al., 2023, arXiv:2304.11277).

Training takes 16 bytes a parameter; spread over N processes, each holds 16/N, and beside it the whole weights of the
one block at work, gathered before the block and dropped behind it. Gradients are added up on the way back, each part by
the process that keeps it. This is torch's `fully_shard`; whoever reads a weight or a state asks for the `whole`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def spread(model: nn.Module, device: str) -> nn.Module:
    """A copy whose weights are spread over all processes, each part on its process's device; `model` moves to the CPU.

    Every process of the group must call this, and then every forward, backward and `whole`, at the same time.
    """
    from torch.distributed import get_world_size, init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    copied = copy.deepcopy(model.cpu())
    mesh = init_device_mesh(torch.device(device).type, (get_world_size(),))
    for part in [*getattr(copied, "blocks", ()), copied]:
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    for part in copied.modules():
        if isinstance(part, FSDPModule):  # sums, as in `Group.add`, not means (gloo knows nothing between the two)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    return copied


def is_spread(tensor: Tensor) -> bool:
    """Whether this process holds a part of it only (a DTensor: asked for by its method, since the class is seconds of
    imports away)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of a spread tensor, in every process (all must ask); any other as it is."""
    spread_tensor: Any = tensor
    return spread_tensor.full_tensor() if is_spread(tensor) else tensor


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """The part of `full` that this process holds of `like`, spread the same way; `full` itself where that is whole."""
    if not is_spread(like):
        return full
    from torch.distributed.tensor import distribute_tensor

    place: Any = like
    full = full.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(full, place.device_mesh, place.placements, src_data_rank=None)
