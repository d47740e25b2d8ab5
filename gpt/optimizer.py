"""AdamW (Loshchilov & Hutter, 2019), where Muon works beside it, the learning rate over time, state as named tensors.

Of torch's three ways to take the same step, fused is by far the fastest on a CPU (124 M parameters, 2 cores: 0.09 s;
tensor by tensor 0.62 s; foreach 1.83 s) and repeats bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gpt.muon import Muon
from gpt.sharding import part_of, whole


def adamw(
    named: Sequence[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW over named parameters; only matrices decay, biases and norms don't. ValueError when there is none."""
    if not named:
        raise ValueError("there is nothing to train: every parameter of the model is frozen")
    matrices = [(name, p) for name, p in named if p.dim() >= 2]
    others = [(name, p) for name, p in named if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = named[0][1].device.type in ("cpu", "cuda")
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=betas, fused=fused)


def optimizers(
    model: nn.Module,
    kind: str,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    dtype: torch.dtype = torch.float32,
) -> list[torch.optim.Optimizer]:
    """ "adamw" for everything; or "muon" for the matrices of the blocks and AdamW for the rest.

    One learning rate and one weight decay serve both; dtype is that of Muon's products. ValueError for another kind.
    """
    if kind not in ("adamw", "muon"):
        raise ValueError(f"optimizer is {kind!r}: it must be adamw or muon")
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [(name, p) for name, p in named if kind == "muon" and p.dim() == 2 and name.startswith("blocks.")]
    taken = {name for name, _ in matrices}
    found: list[torch.optim.Optimizer] = []
    if matrices:
        found.append(Muon(matrices, learning_rate, weight_decay, momentum=betas[0], dtype=dtype))
    rest = [(name, p) for name, p in named if name not in taken]
    if rest or not matrices:
        found.append(adamw(rest, learning_rate, weight_decay, betas))
    return found


def learning_rate_at(step: int, *, peak: float, minimum: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of update `step` (0 is the first): linear up to `peak`, then half a cosine down to `minimum`.

    The first update has peak / warmup_steps; `minimum` would be reached at `total_steps`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return minimum + (peak - minimum) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def optimizer_tensors(optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimizers' state as whole tensors on the CPU, named PARAMETER:STATE."""
    return {
        f"{name}:{key}": whole(value.detach()).cpu()
        for optimizer in optimizers
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizers(optimizers: Iterable[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    for optimizer in optimizers:
        plain = optimizer.state_dict()
        names = [name for group in optimizer.param_groups for name in group["param_names"]]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        number = {name: i for i, name in enumerate(names)}
        plain["state"] = {i: {} for i in range(len(names))}
        for key, value in tensors.items():
            name, _, field = key.rpartition(":")
            if name in number:
                parameter = parameters[number[name]]
                alike = value.shape == parameter.shape  # else a count of steps
                plain["state"][number[name]][field] = part_of(value, parameter) if alike else value
        optimizer.load_state_dict(plain)
