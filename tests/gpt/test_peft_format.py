"""Adapter folders: PEFT computes what we compute on the same base, and what PEFT trained comes back to us."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel

from gpt.config import GPTConfig
from gpt.heads import Classifier
from gpt.hf_format import load_gpt2, save_gpt2
from gpt.lora import add_lora, lora_layers, merge_lora
from gpt.model import GPT
from gpt.peft_format import load_adapter, save_adapter

TEXT, LENGTHS = torch.arange(40).view(2, 20), torch.tensor([20, 20])


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def shake(model: torch.nn.Module, trainable_only: bool) -> None:
    """Move every number (that would learn), as a training would."""
    generator = seeded()
    for parameter in model.parameters():
        if parameter.requires_grad or not trainable_only:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


@pytest.fixture(params=[(False, False), (True, True)], ids=["untied", "tied, q/k/v biases"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a base model."""
    tied, biased = request.param
    model = GPT(GPTConfig(97, 24, 64, 4, 2, dropout=0.0, qkv_bias=biased, tie_embeddings=tied))
    shake(model, trainable_only=False)
    save_gpt2(model, tmp_path / "base")
    return tmp_path / "base"


def adapted_classifier(base: Path) -> Classifier:
    model = Classifier.from_gpt(load_gpt2(base), ["ham", "spam", "other"], seeded())
    add_lora(model, 4, 8.0, 0.1, seeded())
    shake(model, trainable_only=True)
    return model.eval()


def in_peft(base: Path, folder: Path) -> PeftModel:
    theirs = GPT2ForSequenceClassification.from_pretrained(base, num_labels=3, pad_token_id=96)
    return PeftModel.from_pretrained(theirs, folder).eval()


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal within 1e-5 of the largest logit."""
    assert float((ours - theirs).detach().abs().max() / theirs.detach().abs().max()) < 1e-5


def test_peft_opens_our_classifier_and_we_do(base: Path, tmp_path: Path) -> None:
    model = adapted_classifier(base)
    logits = model(TEXT, LENGTHS)
    save_adapter(model, tmp_path / "lora", str(base))
    same(logits, in_peft(base, tmp_path / "lora")(TEXT).logits)
    again = load_adapter(load_gpt2(base), tmp_path / "lora").eval()
    assert isinstance(again, Classifier) and again.labels == ("ham", "spam", "other")
    assert {layer.lora_b.size(0) for layer in lora_layers(again).values()} == {1, 3}
    same(again(TEXT, LENGTHS), logits)
    merge_lora(again)
    same(again(TEXT, LENGTHS), logits)


def test_a_heads_bias_travels_in_the_final_norm(base: Path, tmp_path: Path) -> None:
    model = adapted_classifier(base)
    with torch.no_grad():
        model.head.base.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))  # type: ignore[union-attr, operator]
    save_adapter(model, tmp_path / "lora", str(base))
    same(model(TEXT, LENGTHS), in_peft(base, tmp_path / "lora")(TEXT).logits)
    same(load_adapter(load_gpt2(base), tmp_path / "lora").eval()(TEXT, LENGTHS), model(TEXT, LENGTHS))


def test_the_adapter_is_saved_alone_and_says_so(base: Path, tmp_path: Path) -> None:
    save_adapter(adapted_classifier(base), tmp_path / "lora", str(base))
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert config["rank_pattern"] == {"c_attn": 12} and config["alpha_pattern"] == {"c_attn": 24.0}
    assert config["modules_to_save"] == ["score"]
    tensors = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 4 * 2 + 1
    b = tensors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]
    assert b.shape == (192, 12) and not b[:64, 4:].any() and b[64:128, 4:8].all()


def test_what_peft_trained_on_comes_back(base: Path, tmp_path: Path) -> None:
    """PEFT fills the zero blocks of c_attn, too: one adapter of rank 3r to us."""
    save_adapter(adapted_classifier(base), tmp_path / "lora", str(base))
    theirs = PeftModel.from_pretrained(
        GPT2ForSequenceClassification.from_pretrained(base, num_labels=3, pad_token_id=96),
        tmp_path / "lora",
        is_trainable=True,
    )
    shake(theirs, trainable_only=True)
    theirs.eval().save_pretrained(tmp_path / "trained")
    ours = load_adapter(load_gpt2(base), tmp_path / "trained", labels=["ham", "spam", "other"]).eval()
    assert lora_layers(ours)["blocks.0.attention.qkv"].lora_b.shape == (1, 192, 12)
    same(ours(TEXT, LENGTHS), theirs(TEXT).logits)


def test_an_adapter_made_by_peft_opens_here(base: Path, tmp_path: Path) -> None:
    theirs = GPT2LMHeadModel.from_pretrained(base)
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True)
    config.task_type = "CAUSAL_LM"
    adapted = get_peft_model(theirs, config)
    shake(adapted, trainable_only=True)
    adapted.eval().save_pretrained(tmp_path / "peft")
    ours = load_adapter(load_gpt2(base), tmp_path / "peft").eval()
    assert len(lora_layers(ours)) == 4
    same(ours(TEXT), adapted(TEXT).logits)


def test_peft_opens_our_language_models_adapter(base: Path, tmp_path: Path) -> None:
    model = load_gpt2(base)
    add_lora(model, 4, 8.0, 0.0, seeded())
    shake(model, trainable_only=True)
    save_adapter(model, tmp_path / "lora", str(base))
    theirs = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(base), tmp_path / "lora").eval()
    same(model.eval()(TEXT), theirs(TEXT).logits)
    same(load_adapter(load_gpt2(base), tmp_path / "lora").eval()(TEXT), model(TEXT))
    theirs.save_pretrained(tmp_path / "theirs")  # PEFT adds a copy of lm_head's frozen weight
    same(load_adapter(load_gpt2(base), tmp_path / "theirs").eval()(TEXT), model(TEXT))


def spoil(folder: Path, what: str) -> None:
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    settings, tensors = json.loads(config.read_text()), load_file(weights)
    first = "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"
    match what:
        case "kind":
            settings["peft_type"] = "IA3"
        case "dora":
            settings["use_dora"] = True
        case "rank":
            settings["r"] = "four"
        case "pattern":
            settings["rank_pattern"] = {}
        case "half":
            del tensors[first]
        case "stranger":
            tensors["base_model.model.transformer.h.7.attn.c_attn.lora_B.weight"] = tensors[first].clone()
        case "labels":
            (folder / "labels.json").unlink()
    config.write_text(json.dumps(settings))
    save_file(tensors, weights)


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("kind", "peft_type is 'IA3'"),
        ("dora", "use_dora is True"),
        ("rank", "r and rank_pattern"),
        ("pattern", r"c_attn.lora_A.weight has shape \[12, 64\], the model needs \[4, 64\]"),
        ("half", "c_attn.lora_B.weight is missing"),
        ("stranger", "h.7.attn.c_attn.lora_B.weight is no adapter"),
        ("labels", "labels.json: can't be read"),
    ],
)
def test_a_wrong_folder_is_an_error_that_says_what(what: str, named: str, base: Path, tmp_path: Path) -> None:
    save_adapter(adapted_classifier(base), tmp_path / "lora", str(base))
    spoil(tmp_path / "lora", what)
    with pytest.raises(ValueError, match=named):
        load_adapter(load_gpt2(base), tmp_path / "lora")


def test_a_model_without_adapters_has_none_to_save(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapters"):
        save_adapter(load_gpt2(base), tmp_path / "lora", str(base))
