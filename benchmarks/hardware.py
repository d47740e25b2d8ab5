"""What the machine allows: the rates that a benchmark's figures are held against, measured in the same run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from gpt.runtime import Runtime, peak_flops, processor_name

MEASURED_S = 0.7
DISK_BYTES = 256 << 20
MEMORY_NUMBERS = 128 << 20  # float32


@dataclass(frozen=True)
class Hardware:
    """Operations or bytes a second, in the units that the names say; and the machine in words."""

    machine: str
    float32_gflops: float
    bfloat16_gflops: float
    memory_gb_s: float
    disk_write_mb_s: float
    disk_read_mb_s: float

    def sentence(self) -> str:
        return (
            f"{self.machine}; measured in this run: matrix products {self.float32_gflops:,.0f} GFLOP/s in float32 and "
            f"{self.bfloat16_gflops:,.0f} in bfloat16, memory read at {self.memory_gb_s:.1f} GB/s, disk written at "
            f"{self.disk_write_mb_s:,.0f} MB/s and read at {self.disk_read_mb_s:,.0f} MB/s"
        )


def measure_hardware(threads: int, folder: Path) -> Hardware:
    """All limits, in a few seconds, each the higher of two measurements; `folder` lies on the disk that is meant."""
    return better(measured(threads, folder), measured(threads, folder))


def measured(threads: int, folder: Path) -> Hardware:
    torch.set_num_threads(threads)
    written, read = disk(folder)
    memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    return Hardware(
        machine=f"{processor_name()}, {os.cpu_count()} cores, {memory}, {threads} threads, torch {torch.__version__}",
        float32_gflops=matrix_rate("float32", threads) / 1e9,
        bfloat16_gflops=matrix_rate("bfloat16", threads) / 1e9,
        memory_gb_s=memory_rate() / 1e9,
        disk_write_mb_s=written / 1e6,
        disk_read_mb_s=read / 1e6,
    )


def better(one: Hardware, other: Hardware) -> Hardware:
    """Of each limit the higher: a machine shared with others shows less than it can."""
    rates = [name for name, value in asdict(one).items() if isinstance(value, float)]
    return replace(one, **{name: max(getattr(one, name), getattr(other, name)) for name in rates})


def matrix_rate(dtype: str, threads: int) -> float:
    """Floating-point operations a second of a square matrix product."""
    return peak_flops(Runtime("cpu", dtype, False, threads, ""), MEASURED_S)


def memory_rate() -> float:
    """Bytes a second read by a matrix times a vector, which is what generating a token does to the weights."""
    side = 1 << 12
    matrix, vector = torch.ones(MEMORY_NUMBERS // side, side), torch.ones(side)
    return MEMORY_NUMBERS * 4 / least(lambda: matrix @ vector)


def disk(folder: Path) -> tuple[float, float]:
    """Bytes a second written and flushed, and read where the system can be told to forget what it holds of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    block = os.urandom(16 << 20)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(DISK_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter() - began
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        began = time.perf_counter()
        while file.read(len(block)):
            pass
        read = time.perf_counter() - began
    return DISK_BYTES / written, DISK_BYTES / read


def least(work: Callable[[], object]) -> float:
    """The least seconds that `work` took while it was repeated for `MEASURED_S`."""
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < MEASURED_S:
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
