"""Muon (Jordan, 2024, kellerjordan.github.io/posts/muon): momentum whose every update of a matrix is made orthogonal.

A gradient's singular values differ by orders of magnitude, so that plain momentum learns along a few directions only;
here all directions of a matrix get the same step. Queries, keys and values share one weight but are three maps, and so
are three matrices here. Matrices of one shape go through one batched product (4 layers of width 192, 2 cores with AMX:
15 ms a step instead of 32 ms one by one, with torch.optim.Muon).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gpt.sharding import is_spread, part_of, whole

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: every singular value in (0, 1] ends near 1 after five rounds
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Over named matrices; one whose name ends in `qkv.weight` counts as three.

    An update is scaled to the size that AdamW's have, 0.2 · sqrt(longer side) (Liu et al., 2025, arXiv:2502.16982), so
    that AdamW's learning rate and weight decay serve here, too. The iteration's products are of `dtype` numbers.
    ValueError for what is no matrix.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        learning_rate: float,
        weight_decay: float,
        momentum: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(list(named), {"lr": learning_rate, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype
        for group in self.param_groups:
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                if parameter.dim() != 2:
                    raise ValueError(f"Muon is for matrices: {name} has the shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            updates: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}  # shape -> (matrix, its new direction)
            gathered: list[tuple[Tensor, Tensor]] = []  # orthogonal is a matter of a whole matrix
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                if parameter.grad is None:
                    continue
                parts = 3 if name.endswith("qkv.weight") else 1
                direction = whole(self._direction(parameter, parameter.grad, group["momentum"]))
                matrices = whole(parameter)
                if is_spread(parameter):
                    gathered.append((parameter, matrices))
                for matrix, part in zip(matrices.chunk(parts), direction.chunk(parts), strict=True):
                    updates.setdefault((matrix.size(0), matrix.size(1)), []).append((matrix, part))
            for shape, pairs in updates.items():
                size = group["lr"] * 0.2 * max(shape) ** 0.5
                directions = orthogonal(torch.stack([direction for _, direction in pairs]).to(self.dtype))
                for (matrix, _), update in zip(pairs, directions, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.to(matrix.dtype), alpha=-size)
            for parameter, matrices in gathered:
                parameter.copy_(part_of(matrices, parameter))

    def _direction(self, parameter: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum of the gradient."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, average, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) -> the same directions with all singular values near 1.

    Newton's and Schulz's iteration: an odd polynomial of each matrix, and so of its singular values alone.
    """
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]  # no singular value is above the norm
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
