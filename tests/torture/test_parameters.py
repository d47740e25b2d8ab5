"""Every leaf of params.yaml: what becomes stale when it changes is what reads it; changed back, nothing is computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel import yaml

from gpt.config import GPTConfig
from gpt.hf_format import save_gpt2
from gpt.model import GPT
from gpt.seeds import generator
from pipeline.graph import load_graph
from pipeline.params import dump_yaml, read_yaml
from pipeline.preset import override
from pipeline.recording import leaves_of
from tasks.plan import MAY_RUN, RESTORE, RUN, make_plan
from tests.reads import EVERYTHING, behind, declared, explained, reads, record_all
from tests.tiny import CHANGES, EMBEDDED, ROOT, run, set_leaf
from tests.torture.own import own, own_files

pytestmark = pytest.mark.torture
TRAININGS = ("pretrain", "lora", "classify", "instruct")
Figures = Callable[[str, object], None]


def everywhere(**values: Any) -> dict[str, Any]:
    """Leaves that all four training stages have."""
    return {f"{stage}.{leaf}": value for stage in TRAININGS for leaf, value in values.items()}


WIDE = {"emb_dim": 64, "n_heads": 1}
LONG = {"model": CHANGES["model"] | {"context_length": 256}}  # room for alpaca's prompt
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "own data": CHANGES,
    "the embedded world": EMBEDDED,
    "everything at once": EVERYTHING,
    "muon": CHANGES | everywhere(optimizer="muon", keep="last"),
    "adamw, accumulated, the best kept": CHANGES | everywhere(optimizer="adamw", accumulation_steps=2, keep="best"),
    "a constant rate, unclipped": CHANGES | everywhere(min_learning_rate=1e-3, warmup_steps=0, grad_clip=1e9),
    "lora for the assistant, prompts count": CHANGES
    | {"instruct.tuning": "lora", "instruct.mask_prompt": False, "instruct.template": "alpaca", **LONG},
    "one variant each, the head alone": CHANGES
    | {"classify.variants": ["random"], "classify.trainable": "head", "instruct.variants": ["random"]},
    "all weights, one classifier, dialogue": CHANGES
    | {"classify.variants": ["full"], "classify.trainable": "all", "instruct.template": "dialogue"},
    "short rows": CHANGES | {"lora.max_length": 8, "classify.max_length": 8, "instruct.max_length": 60},
    "documents, not windows": CHANGES | {"sample.rows": "documents"},
    "split by document": CHANGES
    | {"download.text": [own("letters.txt")], "tokenize.split": "document", "tokenize.document_separator": "---",
       "tokenize.train_fraction": 0.7},
    "text left as it is": CHANGES
    | {"tokenize.normalization": "none", "tokenize.newlines": "keep", "tokenize.strip_control": False},
    "a mixture": CHANGES | {"sample.mixture": {"weights": {"text.txt": 2.0}, "alpha": 0.5}},
    "the book's splits": CHANGES
    | {"sample.messages.book_compatible": True, "sample.messages.balance": False, "sample.instructions.split": "file",
       "sample.instructions.drop_leaks": False},
    "samples drawn": CHANGES
    | {"pretrain.sample.temperature": 1.0, "pretrain.sample.top_k": 5, "pretrain.sample.top_p": 0.9,
       "pretrain.eval_batches": None},
    "GPT-2's tokenizer": CHANGES
    | {"download.vocabulary": [own("vocab.bpe"), own("encoder.json")], "tokenize.tokenizer": "gpt2"},
    "public weights": CHANGES
    | {"download.weights": [own("gpt2.safetensors")], "pretrain.init": "gpt2.safetensors",
       "model": CHANGES["model"] | WIDE},
    "a book-shaped model": CHANGES
    | {"model": CHANGES["model"] | {"tie_embeddings": False, "qkv_bias": False, "embedding_std": 1.0,
                                    "position_init": "sinusoids", "dropout": 0.0}},
}  # fmt: skip


def weights_like_gpt2s(folder: Path, tokenizer: Path) -> Path:
    """Of a model whose heads are 64 wide, as GPT-2's are: from that their number is known."""
    shape = CHANGES["model"] | WIDE
    save_gpt2(GPT(GPTConfig(vocab_size=300, **shape), generator=generator(1, "weights")), folder, tokenizer)
    return folder / "model.safetensors"


def test_dvc_yaml_declares_what_any_configuration_reads_and_nothing_else(
    trained: Path, tmp_path: Path, figures: Figures
) -> None:
    found: dict[str, set[str]] = {name: set() for name in load_graph(ROOT)}
    weights = weights_like_gpt2s(tmp_path / "gpt2", trained / "data/tokenizer")
    for number, changes in enumerate(CONFIGURATIONS.values()):
        folder = tmp_path / str(number)
        own_files(folder / "data" / "own", weights)
        for stage, leaves in reads(folder, changes).items():
            found[stage] |= leaves
        shutil.rmtree(folder)
    assert list(explained(found, declared(ROOT))) == []
    covered = set().union(*found.values())
    of_stages = [leaf for leaf in leaves_of() if not leaf.startswith("promote.")]
    figures(
        "parameter leaves covered", f"{len(covered)} of {len(of_stages)}, {len(CONFIGURATIONS)} configurations"
    )  # fmt: skip
    assert covered == set(of_stages)


def other(value: Any) -> Any:
    """A value that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {**value, "another": 1.0}
    return f"{value}x" if isinstance(value, str) else [*(value or []), "another"]


def value_of(folder: Path, leaf: str) -> Any:
    value = read_yaml(folder / "params.yaml")
    for part in leaf.split("."):
        value = value[part]
    return value


def recorded_with(lock: str, leaf: str, value: Any) -> str:
    """The dvc.lock of a run in which the leaf had this value."""
    content = yaml.YAML(typ="safe").load(lock)
    for entry in content["stages"].values():
        place = entry.get("params", {}).get("params.yaml", {})
        for given in list(place):
            if f"{leaf}.".startswith(f"{given}."):
                *sections, name = (
                    [given, *leaf.removeprefix(given).lstrip(".").split(".")] if leaf != given else [given]
                )
                for section in sections:
                    place = place[section]
                place[name] = value
                break
    return json.dumps(content) + "\n"


def test_what_a_changed_leaf_makes_stale_is_what_reads_it(
    trained: Path, figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Path(shutil.copytree(trained, tmp_path / "workspace", symlinks=True))
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(trained / ".scriptorium"))
    monkeypatch.chdir(trained)
    original, lock = (trained / "params.yaml").read_text(), (trained / "dvc.lock").read_text()
    said = declared(trained)  # what the test above holds against the code
    assert make_plan(trained).nothing_to_do
    checked, sections = 0, set[str]()
    for leaf in leaves_of():
        readers = {stage for stage, leaves in said.items() if leaf in leaves}
        old = value_of(trained, leaf)
        set_leaf(trained, leaf, other(old))
        plan = make_plan(trained)
        stale = {stage.name for stage in plan.stages if stage.action == RUN}
        assert stale == readers, leaf
        assert {stage.name for stage in plan.stages if stage.action == MAY_RUN} == behind(trained, readers), leaf
        reasons = [reason for stage in plan.stages if stage.action == RUN for reason in stage.reasons]
        assert all(reason.startswith(leaf) for reason in reasons) and len(reasons) == len(readers), reasons
        (trained / "params.yaml").write_text(original)
        if readers and (section := leaf.rpartition(".")[0]) not in sections:  # what takes longer: once a section
            sections.add(section)
            (trained / "dvc.lock").write_text(recorded_with(lock, leaf, other(old)))
            back = {stage.name: stage.action for stage in make_plan(trained).stages}
            restored = {stage for stage, action in back.items() if action == RESTORE}
            assert restored == readers, leaf
            (trained / "dvc.lock").write_text(lock)
        checked += 1
    assert make_plan(trained).nothing_to_do
    figures("parameter leaves changed, each made stale what reads it", f"{checked} of {len(leaves_of())}")
    figures("sections of parameters set back, every result found in the run cache", len(sections))


@pytest.mark.parametrize("leaf", ["seed=7", "lora.rank=1"])
def test_a_leaf_set_back_brings_the_old_outputs_back_and_nothing_runs(trained: Path, tmp_path: Path, leaf: str) -> None:
    folder = tmp_path / "workspace"
    shutil.copytree(trained, folder, symlinks=True)
    before, lock = outputs(folder), (folder / "dvc.lock").read_bytes()
    original = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(dump_yaml(override(read_yaml(folder / "params.yaml"), [leaf])))
    record_all(folder)
    assert (folder / "dvc.lock").read_bytes() != lock
    (folder / "params.yaml").write_text(original)
    assert "Running stage" not in run(folder, "dvc", "repro").stdout
    assert (folder / "dvc.lock").read_bytes() == lock and outputs(folder) == before


def outputs(folder: Path) -> Mapping[str, bytes]:
    places = [folder / out for spec in load_graph(folder).values() for out in spec.outs]
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if file.is_file()}
