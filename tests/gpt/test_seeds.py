"""Seeds by name."""

from __future__ import annotations

import torch

from gpt.seeds import derive, generator, permutation, reseed_device


def test_names_give_different_seeds_and_always_the_same() -> None:
    names = [(), ("a",), ("a", "b"), ("ab",), ("a", 1), ("a", "1"), (1, "a"), ("a, b",), ("a', 'b",)]
    seeds = [derive(123, *name) for name in names] + [derive(124)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(123, "weights") == 3219796407342760892


def test_generators_are_independent_of_the_global_one() -> None:
    torch.manual_seed(0)
    first = torch.rand(3, generator=generator(1, "x"))
    torch.rand(5)
    assert torch.equal(first, torch.rand(3, generator=generator(1, "x")))
    assert permutation(10, 1, "x").tolist() == permutation(10, 1, "x").tolist()


def test_dropout_is_a_function_of_step_and_micro_batch() -> None:
    def drawn(step: int, micro: int) -> torch.Tensor:
        reseed_device(7, step, micro)
        return torch.nn.functional.dropout(torch.ones(64))

    assert torch.equal(drawn(3, 1), drawn(3, 1))
    assert not torch.equal(drawn(3, 1), drawn(3, 2))
    assert not torch.equal(drawn(3, 1), drawn(1, 3))
