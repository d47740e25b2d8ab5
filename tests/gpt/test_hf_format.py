"""Model folders: transformers computes what we compute, both ways; and no wrong file gets past the door."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from gpt.config import GPTConfig
from gpt.heads import Classifier
from gpt.hf_classifier import load_classifier, save_classifier
from gpt.hf_format import load_gpt2, save_gpt2
from gpt.model import GPT, Transformer

TEXT = torch.arange(40).view(2, 20)
VARIANTS = pytest.mark.parametrize(("tied", "biased"), [(False, False), (False, True), (True, False), (True, True)])


def configuration(tied: bool = False, biased: bool = False, **changes: object) -> GPTConfig:
    shape = {"vocab_size": 97, "context_length": 24, "emb_dim": 64, "n_heads": 4, "n_layers": 3, "dropout": 0.25}
    return GPTConfig(**(shape | changes), qkv_bias=biased, tie_embeddings=tied)  # type: ignore[arg-type]


@torch.no_grad()
def shaken(model: Any, seed: int = 5) -> Any:
    """The model with every number moved, so that no bias is zero and no norm is one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal within 1e-5 of the largest logit."""
    assert float((ours - theirs).detach().abs().max() / theirs.detach().abs().max()) < 1e-5


@VARIANTS
def test_transformers_opens_our_folder(tied: bool, biased: bool, tmp_path: Path) -> None:
    model = shaken(GPT(configuration(tied, biased)))
    save_gpt2(model, tmp_path)
    theirs, report = GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert theirs.config.tie_word_embeddings is tied
    same(model(TEXT), theirs.eval()(TEXT).logits)


@VARIANTS
def test_our_folder_comes_back_to_the_bit(tied: bool, biased: bool, tmp_path: Path) -> None:
    model = shaken(GPT(configuration(tied, biased)))
    save_gpt2(model, tmp_path / "one")
    again = load_gpt2(tmp_path / "one")
    assert again.config == model.config
    assert (again.head.weight is again.embeddings.token.weight) is tied
    assert list(again.state_dict()) == list(model.state_dict())
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    save_gpt2(again, tmp_path / "two")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("tied", [False, True])
def test_we_open_transformers_folder(tied: bool, tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=97, n_positions=24, n_embd=64, n_head=4, n_layer=3, tie_word_embeddings=tied)
    theirs = shaken(GPT2LMHeadModel(config))
    theirs.save_pretrained(tmp_path)
    ours = load_gpt2(tmp_path, dropout=0.0).eval()
    assert ours.config.qkv_bias and ours.config.tie_embeddings is tied and ours.config.dropout == 0.0
    same(ours(TEXT), theirs(TEXT).logits)


def test_biases_that_transformers_trained_on_our_folder_are_kept(tmp_path: Path) -> None:
    save_gpt2(shaken(GPT(configuration())), tmp_path)
    theirs = shaken(GPT2LMHeadModel.from_pretrained(tmp_path), seed=6)
    theirs.save_pretrained(tmp_path)
    ours = load_gpt2(tmp_path).eval()
    assert ours.config.qkv_bias
    same(ours(TEXT), theirs(TEXT).logits)


def test_we_open_the_public_checkpoints_single_file(tmp_path: Path) -> None:
    """Names without `transformer.`, mask buffers among them, no config.json: as openai-community/gpt2 publishes it."""
    model = shaken(GPT(configuration(tied=True, biased=True, emb_dim=128, n_heads=2)))
    save_gpt2(model, tmp_path)
    tensors = {n.removeprefix("transformer."): t for n, t in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 24, 24).tril() for layer in range(3)}
    save_file(tensors, tmp_path / "public.safetensors", metadata={"format": "pt"})
    ours = load_gpt2(tmp_path / "public.safetensors").eval()
    assert ours.config == configuration(tied=True, biased=True, emb_dim=128, n_heads=2, dropout=0.0)
    torch.testing.assert_close(ours(TEXT), model(TEXT), rtol=0, atol=0)


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    model = shaken(GPT(configuration()))
    save_gpt2(model, tmp_path)
    halves = {name: tensor.bfloat16() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(halves, tmp_path / "model.safetensors")
    ours = load_gpt2(tmp_path)
    assert torch.equal(ours.final_norm.weight, model.final_norm.weight.bfloat16().float())


def test_the_tokenizers_files_travel_with_the_model(tmp_path: Path) -> None:
    (tmp_path / "encoding").mkdir()
    (tmp_path / "encoding" / "tokenizer.json").write_text("{}")
    (tmp_path / "encoding" / "config.json").write_text("not ours")
    save_gpt2(GPT(configuration()), tmp_path / "model", tmp_path / "encoding")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert load_gpt2(tmp_path / "model").config == configuration()


@pytest.mark.parametrize("labels", [("ham", "spam"), ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("biased", [False, True])
def test_transformers_opens_our_classifier_and_we_do(labels: tuple[str, ...], biased: bool, tmp_path: Path) -> None:
    model = shaken(Classifier(configuration(biased=biased), labels))
    lengths = torch.tensor([20, 7])
    save_classifier(model, tmp_path)
    theirs, report = GPT2ForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert [theirs.config.id2label[number] for number in range(len(labels))] == list(labels)
    padded = torch.where(torch.arange(20) < lengths[:, None], TEXT, 96)  # with <|endoftext|>, the last id
    same(model(TEXT, lengths), theirs.eval()(padded).logits)
    again = load_classifier(tmp_path).eval()
    assert again.labels == labels and again.config == model.config
    same(again(TEXT, lengths), model(TEXT, lengths))


def test_we_open_transformers_classifier(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=97, n_positions=24, n_embd=64, n_head=4, n_layer=2, num_labels=3, pad_token_id=96)
    theirs = shaken(GPT2ForSequenceClassification(config))
    theirs.save_pretrained(tmp_path)
    ours = load_classifier(tmp_path).eval()
    same(ours(TEXT, torch.tensor([20, 20])), theirs(TEXT).logits)


def test_more_classes_than_width_keep_their_bias_beside(tmp_path: Path) -> None:
    config = configuration(emb_dim=8, n_heads=2)
    model = shaken(Classifier(config, [f"class {n}" for n in range(12)]))
    save_classifier(model, tmp_path)
    again = load_classifier(tmp_path).eval()
    assert torch.equal(again(TEXT, torch.tensor([20, 20])), model(TEXT, torch.tensor([20, 20])))


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lie_about_size(folder: Path) -> None:
    """A header that promises a terabyte."""
    header = {"transformer.wte.weight": {"dtype": "F32", "shape": [2**28, 1024], "data_offsets": [0, 2**40]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (cut, "model.safetensors: not a complete"),
        (lie_about_size, "model.safetensors: not a complete"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no such weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "must be a JSON object"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: can't be read"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{}"), "several files"),
        (edit_config(n_layer=10**12), "holds 3 blocks"),
        (edit_config(n_layer=2), "holds 3 blocks"),
        (edit_config(n_embd=10**12, n_head=1, n_inner=None), r"wte.weight has shape \[97, 64\]"),
        (edit_config(vocab_size="many"), "config.json: model.vocab_size"),
        (edit_config(n_head=3), "config.json: model.emb_dim"),
        (edit_config(n_positions=25), "wpe.weight has shape"),
        (edit_config(activation_function="relu"), "activation_function is 'relu'"),
        (edit_config(model_type="llama"), "model_type is 'llama'"),
        (edit_config(n_inner=100), "n_inner"),
        (edit_weights(lambda t: t.pop("transformer.h.1.ln_2.bias")), "h.1.ln_2.bias is missing"),
        (edit_weights(lambda t: t.pop("lm_head.weight")), "lm_head.weight is missing"),
        (edit_weights(lambda t: t.update(other=torch.ones(2))), "transformer.other is no part"),
        (edit_weights(lambda t: t.update({"transformer.ln_f.bias": torch.ones(64, dtype=torch.int8)})), "type I8"),
    ],
)
def test_a_wrong_folder_is_an_error_that_says_what(spoil: Callable[[Path], object], named: str, tmp_path: Path) -> None:
    save_gpt2(GPT(configuration()), tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=named):
        load_gpt2(tmp_path)


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not the weights of a GPT-2"):
        load_gpt2(tmp_path / "other.safetensors")
    save_gpt2(GPT(configuration(emb_dim=32)), tmp_path)
    with pytest.raises(ValueError, match="number of heads is unknown"):
        load_gpt2(tmp_path / "model.safetensors")


def test_a_classifiers_folder_is_no_language_model_and_labels_must_have_names(tmp_path: Path) -> None:
    model: Transformer = Classifier(configuration(tied=True), ["ham", "spam"])
    assert isinstance(model, Classifier)
    save_classifier(model, tmp_path)
    with pytest.raises(ValueError, match=r"score.weight is no part"):
        load_gpt2(tmp_path)
    edit_config(id2label={"1": "ham", "2": "spam"})(tmp_path)
    with pytest.raises(ValueError, match="id2label"):
        load_classifier(tmp_path)
