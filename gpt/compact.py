"""Weights in fewer bytes, for generating: a text alone reads every weight once a token, so bytes are time.

Of each matrix: bfloat16 has half the bytes, int8 a quarter (whole numbers from -127 to 127, and one scale a row).
Embeddings, norms and biases stay as they are, and what flows between the matrices stays float32. Answers may differ
from float32's where two tokens are nearly as likely; nothing that is evaluated uses this.

In every format the matrices move into memory of large pages, of which there are fewer to look up. With PyTorch's own
allocator asked for them (THP_MEM_ALLOC_ENABLE=1), all of GPT-2's 124M times a vector took 16.0 ms instead of 20.7 on
two cores, in bfloat16 9.9 instead of 19.0, in int8 9.5 instead of 12.6.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.model import GPT

FORMATS = ("float32", "bfloat16", "int8")
LARGEST = 127.0
LARGE_PAGE = 2 << 20  # bytes
FEW_ROWS = 8  # more, and the weights are better made bfloat16 for the moment: at 3,072 x 768 both ways take 0.4 ms


def compact(model: GPT, weights: str) -> GPT:
    """The model with the matrices of its linear layers in this format, changed in place; it can't be trained on.

    A head that shares the token embedding's matrix gets one of its own. ValueError for another format.
    """
    if weights not in FORMATS:
        raise ValueError(f"weights is {weights!r}: it must be one of {', '.join(FORMATS)}")
    if weights != "float32":
        kind = BFloat16Linear if weights == "bfloat16" else Int8Linear
        for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]:
            model.set_submodule(name, kind(layer))
    kinds = (nn.Linear, BFloat16Linear, Int8Linear)
    move_to_large_pages(layer.weight for layer in model.modules() if isinstance(layer, kinds))
    return model


def move_to_large_pages(tensors: Iterable[Tensor]) -> None:
    """Move each tensor's numbers, in place, where Linux may map pages of 2 MB instead of 4 KB; elsewhere they stay."""
    for tensor in tensors:
        if hasattr(mmap, "MADV_HUGEPAGE") and tensor.device.type == "cpu" and tensor.nbytes >= LARGE_PAGE:
            memory = mmap.mmap(-1, tensor.nbytes + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with suppress(OSError):  # a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE)
            whole = torch.frombuffer(memory, dtype=tensor.dtype)
            begin = -whole.data_ptr() % LARGE_PAGE // tensor.element_size()
            tensor.data = whole[begin : begin + tensor.numel()].view(tensor.shape).copy_(tensor.data)


class BFloat16Linear(nn.Module):
    """A linear layer whose products are of bfloat16 numbers."""

    weight: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().bfloat16())
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) float32 -> (..., out) float32."""
        narrow = x.bfloat16()
        product = torch.mv(self.weight, narrow) if x.dim() == 1 else F.linear(narrow, self.weight)
        return product.float() if self.bias is None else product + self.bias


class Int8Linear(nn.Module):
    """A linear layer whose rows are whole numbers times a scale."""

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = (weight.abs().amax(dim=1) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny).bfloat16()
        whole = (weight / scale[:, None]).round_().clamp_(-LARGEST, LARGEST)
        self.register_buffer("weight", whole.to(torch.int8))  # (out, in)
        self.register_buffer("scale", scale)  # (out,)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) float32 -> (..., out) float32."""
        narrow = x.bfloat16()
        if x.numel() > FEW_ROWS * x.size(-1):
            product = F.linear(narrow, self.weight.bfloat16()) * self.scale
        else:
            rows = narrow.view(-1, x.size(-1))
            product = torch._weight_int8pack_mm(rows, self.weight, self.scale).view(*x.shape[:-1], -1)
        return product.float() if self.bias is None else product + self.bias
