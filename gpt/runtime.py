"""Where and how the arithmetic runs: device, number format, threads, compiled or not.

The choice is a function of parameters and hardware, never of timing, so that it is the same on every run; `describe()`
says it in full, for a checkpoint must only be continued under the conditions that made it.

Measured on 2 Xeon cores with AMX (PyTorch 2.13, a training step of 8 x 256 tokens, 2 x 256 for the last; seconds):

    parameters   float32   bfloat16   compiled bfloat16 (+ compiling once)
    0.3 M          0.016      0.027      0.030   (17 s)
    2.6 M          0.206      0.148
    5.3 M          0.336      0.220
    29 M           1.02       0.61       0.49    (20-30 s)
    163 M          2.19       1.05       0.91    (42 s)

So bfloat16 pays from about 2 M parameters, and compiling, which saves some 0.12 s a step in both larger models, from
about 300 steps of 2,048 tokens: 1e14 operations. A matrix product alone ran at 270 GFLOP/s in float32 and at 1,980 in
bfloat16. On 2 EPYC cores with AVX512-BF16 but no AMX (180 and 400 GFLOP/s) a step of the default model, 8 x 320 tokens,
took 0.20 s compiled (and 55 s to compile) and 0.20 s not compiled.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BFLOAT16_FROM = 2_000_000  # parameters
COMPILE_FROM = 1e14  # floating-point operations in the blocks in a whole training: 6 a parameter and token
COMPILE_FROM_ON_CUDA = 3e16  # reckoned, not measured: a minute to compile against a third of 2e14 operations a second

VECTOR_UNITS = ("amx", "asimd", "avx", "bf16", "fma", "sme", "sse4", "sve")


@dataclass(frozen=True)
class Runtime:
    """How to compute; `reason` says in words why."""

    device: str
    """cpu, cuda, cuda:N or mps."""
    dtype: str
    """float32, or bfloat16 (weights stay float32; matrix products and what is fast in bfloat16 are autocast)."""
    compile: bool
    threads: int
    """Threads of one operation on the CPU: part of what makes results repeatable."""
    reason: str

    def prepare(self, model: nn.Module) -> nn.Module:
        """Set this process up and move the model, in place, to the device."""
        torch.set_num_threads(self.threads)
        if self.device == "cpu":
            keep_large_blocks()
        if self.device == "cpu" and self.compile:
            # Else compiled code adds an embedding's gradients up atomically, in whatever order the threads come.
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        if self.device.startswith("cuda"):
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with this
            torch.use_deterministic_algorithms(True, warn_only=True)
        return model.to(self.device)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` compiled for each shape it meets, or itself.

        Not the model but the function around it (model to loss) is compiled: the head's product and the cross-entropy
        fuse, and the model stays what it is, with its own names in the state dictionary.
        """
        if not self.compile:
            return function
        # Beyond its limit (8 by default) the compiler silently stops: then results would depend on what ran before.
        torch._dynamo.config.recompile_limit = 256
        torch._dynamo.config.accumulated_recompile_limit = 4096
        return torch.compile(function, dynamic=False)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context to compute losses and predictions in."""
        kind = self.device.split(":")[0]
        return torch.autocast(kind, torch.bfloat16) if self.dtype == "bfloat16" else contextlib.nullcontext()

    @property
    def works_aside(self) -> bool:
        """Whether the device computes while this process goes on: then the next batch can be made meanwhile."""
        return self.device.startswith("cuda")

    def place(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The batch on the device; to a GPU from pinned memory, the only one it reads from without being waited for."""
        if self.device.startswith("cuda"):
            batch = tuple(tensor.pin_memory() if tensor.device.type == "cpu" else tensor for tensor in batch)
        return tuple(tensor.to(self.device, non_blocking=True) for tensor in batch)

    def describe(self) -> dict[str, str | int | bool]:
        """All that can change a result's last digit besides parameters and code: versions, processor, this choice."""
        on_cuda = self.device.startswith("cuda")
        return {
            "capability": "cuda " + str(torch.version.cuda) if on_cuda else torch.backends.cpu.get_cpu_capability(),
            "compile": self.compile,
            "compiler": compiler_version() if self.compile else "none",
            "device": self.device.split(":")[0],
            "dtype": self.dtype,
            "features": "" if on_cuda else processor_features(),
            "numpy": np.__version__,
            "processor": torch.cuda.get_device_name() if on_cuda else processor_name(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": self.threads,
            "torch": torch.__version__,
        }


def choose_runtime(
    device: str, precision: str, compile: str, threads: int, operations: float, n_parameters: int
) -> Runtime:
    """device auto|cpu|cuda|mps, precision auto|float32|bfloat16, compile auto|on|off, and how much there is to compute.

    ValueError for other words, or a device that this machine lacks.
    """
    for name, value, allowed in (
        ("device", device, ("auto", "cpu", "cuda", "mps")),
        ("precision", precision, ("auto", "float32", "bfloat16")),
        ("compile", compile, ("auto", "on", "off")),
    ):
        if value not in allowed:
            raise ValueError(f"runtime.{name} is {value!r}: it must be one of {', '.join(allowed)}")
    if threads < 1:
        raise ValueError(f"runtime.threads is {threads}: it must be at least 1")
    place, why_device = choose_device(device)
    dtype, why_dtype = choose_precision(precision, place, n_parameters)
    compiles, why_compile = choose_compile(compile, place, operations)
    return Runtime(place, dtype, compiles, threads, f"{why_device}; {why_dtype}; {why_compile}")


def choose_device(wanted: str) -> tuple[str, str]:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(name for name, there in present.items() if there) if wanted == "auto" else wanted
    if not present[chosen]:
        there = ", ".join(sorted(name for name, is_there in present.items() if is_there))
        raise ValueError(f"runtime.device is {chosen}, which this machine lacks: it has {there}")
    why = "chosen" if wanted != "auto" else "the fastest device here"
    if chosen == "cuda":
        mine, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if mine >= count:
            raise ValueError(f"each process needs a GPU of its own: this is number {mine + 1} here, GPUs are {count}")
        return f"cuda:{mine}", f"cuda: {why}"
    return chosen, f"{chosen}: {why}"


def choose_precision(wanted: str, device: str, n_parameters: int) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, f"{wanted}: chosen"
    if device == "mps":
        return "float32", "float32: on MPS bfloat16 isn't tried"
    fast = torch.cuda.is_bf16_supported() if device.startswith("cuda") else bool(bfloat16_units())
    if not fast:
        return "float32", "float32: the processor has no units that make bfloat16 faster"
    if device == "cpu" and n_parameters < BFLOAT16_FROM:
        return "float32", f"float32: bfloat16 pays from {BFLOAT16_FROM:,} parameters, these are {n_parameters:,}"
    return "bfloat16", "bfloat16: the processor has units for it"


def choose_compile(wanted: str, device: str, operations: float) -> tuple[bool, str]:
    if wanted == "off":
        return False, "eager: chosen"
    if device == "mps":
        return False, "eager: compiling isn't tried on MPS"
    lacking = missing_for_compiling(device)
    if lacking:
        return False, f"eager: compiling needs {lacking}, which is not here"
    if wanted == "on":
        return True, "compiled: chosen"
    least = COMPILE_FROM_ON_CUDA if device.startswith("cuda") else COMPILE_FROM
    if operations < least:
        return False, f"eager: compiling pays from {least:.0e} operations, these are {operations:.0e}"
    return True, f"compiled: {operations:.0e} operations earn the compiler's time back"


def bfloat16_units(processor: str | None = None) -> list[str]:
    """Which of the processor's instructions make bfloat16 products faster than float32 ones; processor: /proc/cpuinfo.

    AVX512-BF16 has twice float32's rate in AMD's cores (400 and 180 GFLOP/s were measured) and half of it in Intel's
    that have AMX, too (167 and 326, where a virtual machine hides AMX): so alone it counts only where Intel isn't.
    """
    if processor is None:
        try:
            processor = Path("/proc/cpuinfo").read_text()
        except OSError:
            return []
    words = set(processor.split())
    return sorted(words & ({"amx_bf16"} if "GenuineIntel" in words else {"amx_bf16", "avx512_bf16"}))


def compiler_name() -> str:
    """The C++ compiler that torch.compile calls."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def missing_for_compiling(device: str = "cpu") -> str:
    """What torch.compile would miss here, in words; empty when it has all."""
    if device.startswith("cuda") and importlib.util.find_spec("triton") is None:
        return "Triton"
    if shutil.which(compiler_name()) is None:
        return f"a C++ compiler ({compiler_name()})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's header files"
    return ""


def compiler_version() -> str:
    lines = subprocess.run([compiler_name(), "--version"], capture_output=True, text=True, check=True).stdout
    return lines.split("\n", 1)[0]


def processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def processor_features() -> str:
    """Linux's words for its vector and matrix units; a processor's name alone may say "AMD EPYC" of many kinds."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.split("\t", 1)[0].strip() in ("flags", "Features"):
                words = line.split(":", 1)[1].split()
                return " ".join(sorted(word for word in words if word.startswith(VECTOR_UNITS)))
    return ""


def keep_large_blocks() -> None:
    """Let glibc keep freed blocks of any size instead of handing them back to the system.

    A step frees and takes the logits' hundreds of megabytes several times over, and every fresh page is a fault: the
    step of 29 M parameters above takes 1.07 s without this, 0.61 s with it. No number changes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a libc without mallopt
            libc = ctypes.CDLL(None)
            mmap_threshold, trim_threshold = -3, -1
            libc.mallopt(mmap_threshold, 1 << 30)
            libc.mallopt(trim_threshold, (1 << 31) - 1)


def peak_flops(runtime: Runtime, seconds: float = 0.3) -> float:
    """The most floating-point operations a second of a matrix product here, in the runtime's number format.

    It measures time: for the record of a run, never for a decision or a tracked file.
    """
    dtype = getattr(torch, runtime.dtype)
    n = 1024 if runtime.device == "cpu" else 4096
    a, b = (torch.ones(n, n, device=runtime.device, dtype=dtype) for _ in range(2))
    best = 0.0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def share_of_peak(n_parameters: int, tokens_per_second: float, peak: float) -> float:
    """Training's share of the peak: 6 operations a parameter and token (Kaplan et al., 2020), attention not counted."""
    return 6 * n_parameters * tokens_per_second / peak
