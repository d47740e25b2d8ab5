"""Every random number's origin: one seed, and a name.

No generator is global and none is handed from step to step, so nothing has to be replayed when training resumes, and
how often one evaluates changes nothing. Dropout alone can only use the device's own generator: it is seeded again
before each micro-batch.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, *names: str | int) -> int:
    """A seed of 63 bits for the generator of that name: `derive(seed, "dropout", step)`.

    Names of different kind or division never collide: ("a", "b"), ("ab",), ("1",) and (1,) give four seeds.
    """
    digest = hashlib.blake2b(repr((int(seed), *names)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little") >> 1


def generator(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """A torch generator of its own for that name."""
    return torch.Generator(device=device).manual_seed(derive(seed, *names))


def permutation(n: int, seed: int, *names: str | int) -> np.ndarray:
    """The numbers 0 … n − 1 in the random order of that name, int64 (n,)."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names))).permutation(n)


def reseed_device(seed: int, step: int, micro: int, *rank: int) -> None:
    """Seed every device's own generator for the dropout of one micro-batch.

    `micro` counts over all processes that train together, so that each draws its own numbers, and the same ones
    however many processes share the work; only where they share one micro-batch, `rank` tells them apart.
    """
    torch.manual_seed(derive(seed, "dropout", step, micro, *rank))
