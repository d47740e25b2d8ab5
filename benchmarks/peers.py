"""The peers as people run them: `transformers` and `peft`, in their libraries' own ways, on the same shapes.

Imported only in a peer's own process. AdamW is fused, as the Trainer's default is; there is no dropout on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from benchmarks.shapes import SEED, Shape, shape, some_tokens

Work = Callable[[], Any]


def gpt2_config(of: Shape, **more: Any) -> GPT2Config:
    config = of.config
    return GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.emb_dim,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )


def best(on: bool, device: str = "cpu") -> AbstractContextManager[Any]:
    """bfloat16 where it is asked for."""
    return torch.autocast(device, torch.bfloat16) if on else nullcontext()


def training(shape_name: str, compiled: bool, threads: int, device: str = "cpu") -> Work:
    """One step of GPT2LMHeadModel: float32 and eager, or bfloat16 and compiled."""
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    of = shape(shape_name)
    plain = GPT2LMHeadModel(gpt2_config(of)).train().to(device)
    model: Any = torch.compile(plain) if compiled else plain
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=0.1, betas=(0.9, 0.95), fused=True)
    numbers = counted()

    def step() -> float:
        tokens = some_tokens(of, next(numbers)).to(device)
        with best(compiled, device):
            loss = model(input_ids=tokens[:, :-1], labels=tokens[:, :-1]).loss
        return descend(loss, plain, optimizer)

    return step


def descend(loss: torch.Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def counted() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def lora(shape_name: str, compiled: bool, threads: int) -> Work:
    """One step of a sequence classifier with peft's adapters of the same rank on every linear layer."""
    from peft import LoraConfig, TaskType, get_peft_model

    from benchmarks.lora import RANK, some_messages

    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    base = GPT2ForSequenceClassification(gpt2_config(shape(shape_name), num_labels=2, pad_token_id=0))
    targets = ["c_attn", "c_proj", "c_fc"]
    adapters = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=RANK, target_modules=targets, fan_in_fan_out=True
    )
    plain = get_peft_model(base, adapters).train()
    model: Any = torch.compile(plain) if compiled else plain
    optimizer = torch.optim.AdamW([p for p in plain.parameters() if p.requires_grad], lr=1e-4, fused=True)
    numbers = counted()

    def step() -> float:
        tokens, classes = some_messages(shape_name, next(numbers))
        with best(compiled):
            loss = model(input_ids=tokens, labels=classes).loss
        return descend(loss, plain, optimizer)

    return step


def generation(shape_name: str, prompt: list[int], new_tokens: int, threads: int) -> Work:
    """Greedy generation with the cache, as `generate` does it; nothing stops it early."""
    torch.set_num_threads(threads)
    model = GPT2LMHeadModel(gpt2_config(shape(shape_name), pad_token_id=0)).eval()
    tokens = torch.tensor([prompt])

    def write() -> int:
        found = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            use_cache=True,
        )
        return int(found.size(1)) - len(prompt)

    return write
