"""The choice of runtime, and what it promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpt import runtime as rt
from gpt.loss import next_token_loss
from gpt.runtime import Runtime, choose_runtime

BIG, LONG = 10**9, 1e15


def choose(**changes: object) -> Runtime:
    plain = {
        "device": "cpu",
        "precision": "auto",
        "compile": "auto",
        "threads": 1,
        "operations": 1.0,
        "n_parameters": 1,
    }
    return choose_runtime(**{**plain, **changes})  # type: ignore[arg-type]


def test_small_or_short_trainings_stay_plain() -> None:
    assert (choose().dtype, choose().compile) == ("float32", False)
    assert not choose(n_parameters=BIG, operations=1e12).compile


def test_automatic_choices_follow_the_hardware() -> None:
    chosen = choose(n_parameters=BIG, operations=LONG)
    assert (chosen.dtype == "bfloat16") == bool(rt.bfloat16_units())
    assert chosen.compile == (not rt.missing_for_compiling())
    assert chosen == choose(n_parameters=BIG, operations=LONG)


@pytest.mark.parametrize(
    ("vendor", "flags", "counted"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", ["avx512_bf16"]),
        ("GenuineIntel", "avx512f avx512_bf16", []),
        ("GenuineIntel", "avx512_bf16 amx_bf16 amx_tile", ["amx_bf16"]),
        ("AuthenticAMD", "avx2", []),
    ],
)
def test_bfloat16_counts_where_it_is_faster(vendor: str, flags: str, counted: list[str]) -> None:
    assert rt.bfloat16_units(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n") == counted


def test_the_persons_word_counts() -> None:
    assert choose(precision="bfloat16").dtype == "bfloat16"
    assert choose(precision="float32", n_parameters=BIG).dtype == "float32"
    assert not choose(compile="off", n_parameters=BIG, operations=LONG).compile
    assert choose(device="auto").device == ("cuda:0" if torch.cuda.is_available() else choose(device="auto").device)


def test_without_a_compiler_it_is_eager_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    chosen = choose(compile="on")
    assert not chosen.compile
    assert "eager: compiling needs a C++ compiler (no-such-compiler)" in chosen.reason


def test_what_a_gpu_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choices alone: no device is touched."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(rt, "missing_for_compiling", lambda device="cpu": "")
    chosen = choose(device="auto", operations=1e17)
    assert (chosen.device, chosen.dtype, chosen.compile, chosen.works_aside) == ("cuda:0", "bfloat16", True, True)
    assert not choose(device="auto", operations=LONG).compile  # which takes a CPU minutes and a GPU seconds
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose(device="cuda").device == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="a GPU of its own: this is number 3 here, GPUs are 2"):
        choose(device="cuda")


def test_a_gpu_s_compiler_is_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rt.importlib.util, "find_spec", lambda name: None)
    assert rt.missing_for_compiling("cuda:0") == "Triton"
    assert rt.missing_for_compiling() != "Triton"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "tpu"}, "runtime.device is 'tpu': it must be one of auto, cpu, cuda, mps"),
        ({"precision": "half"}, "runtime.precision"),
        ({"compile": True}, "runtime.compile"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(**changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_here() -> None:
    with pytest.raises(ValueError, match=r"runtime\.device is cuda, which this machine lacks: it has cpu"):
        choose(device="cuda")


def test_describe_says_what_can_change_digits() -> None:
    described = choose().describe()
    assert described["torch"] == torch.__version__
    assert described["threads"] == 1
    assert described == choose().describe()
    assert replace(choose(), dtype="bfloat16").describe() != described
    known = Path("/proc/cpuinfo").read_text() if described["features"] else ""
    assert all(word in known for word in described["features"].split())


def test_the_threads_are_those_of_the_parameters() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            choose(threads=threads).prepare(torch.nn.Linear(1, 1))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_autocast() -> None:
    layer = torch.nn.Linear(4, 4)
    with choose(precision="bfloat16").autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with choose().autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_eager_functions_stay_themselves() -> None:
    """Compiled ones take the compiler's 20 seconds: test_train has one test for all that matters there."""
    assert choose().compiled(next_token_loss) is next_token_loss


def test_peak_and_share() -> None:
    assert rt.peak_flops(choose(), seconds=0.01) > 1e8
    assert rt.share_of_peak(10, 100.0, 12_000.0) == 0.5
