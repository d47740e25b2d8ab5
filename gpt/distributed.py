"""Several processes that train one model: what `torchrun` starts, and sums over all of them.

Each process holds the whole model and takes every WORLD_SIZE-th micro-batch; gradients and token counts are added up,
so that the mean weighs every token the same, whichever process saw it. Without WORLD_SIZE it is one process, and
nothing here does anything.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor, in place, by its sum over the processes."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def any(self, flag: bool, device: str) -> bool:
        """Whether the flag is set in any process: all of them must stop at the same step."""
        if self.size == 1:
            return flag
        raised = torch.tensor([int(flag)], device=device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


def join(device: str) -> Group:
    """The group that the environment describes (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), joined once a process."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Group()
    rank = int(os.environ["RANK"])
    if not dist.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        if os.environ.get("LOCAL_WORLD_SIZE") == str(size):  # all on one machine: talk over loopback only
            loopback = "lo0" if sys.platform == "darwin" else "lo"
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            dist.init_process_group(backend)  # torchrun already runs the store where they meet
        else:
            dist.init_process_group(backend, store=meeting_place(rank, size), rank=rank, world_size=size)
    return Group(rank, size)


def meeting_place(rank: int, size: int) -> dist.Store:
    """A store at MASTER_ADDR alone; torch's own would listen on every address of the machine."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    patience = timedelta(minutes=5)
    if rank:
        return dist.TCPStore(host, port, size, False, timeout=patience)
    listener = socket.create_server((host, port))
    return dist.TCPStore(
        host, port, size, True, timeout=patience, wait_for_workers=False, master_listen_fd=listener.detach()
    )
