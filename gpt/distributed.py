"""Several processes that train one model: what `torchrun` starts, and sums over all of them.

Each process takes its share of every step's rows; gradients and token counts are added up, so that the mean weighs
every token the same, whichever process saw it. Each holds the whole model, or a part of every weight
(`gpt/sharding.py`). Without WORLD_SIZE it is one process, and nothing here does anything.
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

from gpt.sharding import is_spread

PATIENCE = timedelta(days=2)  # others wait while the first one writes; who dies is noticed by torchrun


@dataclass(frozen=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    def share(self, micro_batches: int) -> tuple[range, slice]:
        """Which of a step's micro-batches this process takes, and which rows of each.

        Whole ones where they go round evenly: dropout is then drawn as one process would. Else some rows of each.
        """
        if micro_batches % self.size == 0:
            return range(self.rank, micro_batches, self.size), slice(None)
        return range(micro_batches), slice(self.rank, None, self.size)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor, in place, by its sum over the processes; one that is spread over them is that already
        (`gpt/sharding.py`)."""
        if self.size > 1:
            for tensor in tensors:
                if not is_spread(tensor):
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


def world_size() -> int:
    """How many processes torchrun says there are; without it one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: str) -> Group:
    """The group that the environment describes (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), joined once a process.

    ValueError where there are several and the device is one that they can't talk from.
    """
    size = world_size()
    if size == 1:
        return Group()
    rank = int(os.environ["RANK"])
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"{size} processes on {kind}: only on cpu and cuda can several train one model")
    if kind == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "nccl" if kind == "cuda" else "gloo"
        if os.environ.get("LOCAL_WORLD_SIZE") == str(size):  # all on one machine: talk over loopback only
            loopback = "lo0" if sys.platform == "darwin" else "lo"
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            dist.init_process_group(backend, timeout=PATIENCE)  # torchrun already runs the store where they meet
        else:
            store = meeting_place(rank, size)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
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
