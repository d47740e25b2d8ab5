"""The typed schema of `params.yaml`: every leaf with its unit, bounds and meaning, and the rules between leaves.

Strict: unknown keys are refused, and there are no defaults, so that `params.yaml` alone says what a run does and the
schema is never an input of any stage. The fields' descriptions are the reference; docs and errors quote them.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.secrets import holds_secret

Variant = Literal["pretrained", "random"]
ClassifierVariant = Literal["pretrained", "random", "full"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


S = TypeVar("S", bound=Section)


def described(text: str, **bounds: float) -> object:
    return Field(description=text, **bounds)  # type: ignore[call-overload]


class Runtime(Section):
    threads: Annotated[int, described("CPU threads of one stage; bytes depend on it", ge=1, le=256)]
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], described("where tensors live; auto: cuda, mps, cpu")]
    precision: Annotated[Literal["auto", "float32", "bfloat16"], described("of the matrix products in training")]
    compile: Annotated[Literal["auto", "on", "off"], described("torch.compile; auto: where the run is long enough")]
    processes: Annotated[int, described("that train one model together; on cuda a device each", ge=1, le=4_096)]
    sharding: Annotated[Literal["none", "full"], described("full: a part of all weights in each process (FSDP)")]


class Model(Section):
    context_length: Annotated[int, described("tokens the model can look back on", ge=2, le=1_048_576)]
    emb_dim: Annotated[int, described("width of the residual stream; a multiple of n_heads", ge=2, le=65_536)]
    n_heads: Annotated[int, described("attention heads per block", ge=1, le=1_024)]
    n_layers: Annotated[int, described("transformer blocks", ge=1, le=1_024)]
    dropout: Annotated[float, described("probability of zeroing an activation in training", ge=0.0, lt=1.0)]
    embedding_std: Annotated[
        float,
        described("deviation of fresh embeddings: 0.02 (GPT-2) or 1 (the book, untied)", gt=0.0, le=10.0),
    ]
    position_init: Annotated[
        Literal["normal", "sinusoids"], described("fresh position embeddings; sinusoids learn to copy sooner")
    ]
    qkv_bias: Annotated[bool, described("biases on queries, keys and values (GPT-2's public weights have them)")]
    tie_embeddings: Annotated[bool, described("output head shares the token embedding's weights")]

    @model_validator(mode="after")
    def heads_divide_width(self) -> Model:
        if self.emb_dim % self.n_heads:
            raise ValueError(f"emb_dim {self.emb_dim} must be a multiple of n_heads {self.n_heads}")
        return self


class SourceFile(Section):
    name: Annotated[
        str, Field(min_length=1, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", description="file name in data/raw")
    ]
    url: Annotated[str, Field(min_length=1, description="http(s):, file:, any fsspec address, or a path in data/own/")]
    sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$", description="of the file (of the member, in a zip); null: an address is followed"
        ),
    ]
    member: Annotated[str | None, Field(min_length=1, description="the zip archive's member to take, or null")]

    @model_validator(mode="after")
    def lies_somewhere(self) -> SourceFile:
        if not self.address and not self.url.startswith("data/own/"):
            raise ValueError(f"url of {self.name!r} is neither an address (https://…) nor a path in data/own/")
        if holds_secret(self.url):
            raise ValueError(
                f"url of {self.name!r} holds a password or a signature, and params.yaml and dvc.lock are committed: "
                "put user and password into ~/.netrc, keys of object stores into the environment"
            )
        return self

    @property
    def address(self) -> bool:
        """Whether it lies elsewhere than in data/own/."""
        return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", self.url) is not None

    @property
    def followed(self) -> bool:
        """Whether its bytes may change: `sources.lock.json` keeps the hash, and `make refresh` looks for a new one."""
        return self.sha256 is None and self.address


SOURCE_KINDS = ("text", "messages", "instructions", "vocabulary", "weights")
WORLD_FILES = {"text": "stories.jsonl", "messages": "messages.tsv", "instructions": "instructions.json"}


class World(Section):
    """The embedded corpus: a miniature world that a generator writes; 0 means none of it."""

    seed: Annotated[int, described("another seed is another world", ge=0, lt=2**63)]
    text_megabytes: Annotated[float, described("stories, in 10^6 bytes", ge=0.0, le=100_000.0)]
    messages: Annotated[int, described("messages, half of them spam", ge=0, le=1_000_000)]
    instructions: Annotated[int, described("to learn from; a fifth as many more to validate and test on", ge=0)]


class Download(Section):
    world: World
    text: Annotated[list[SourceFile], described("what the model is pre-trained on")]
    messages: Annotated[list[SourceFile], described("label<TAB>text tables to classify")]
    instructions: Annotated[list[SourceFile], described("instruction, input, output as JSON")]
    vocabulary: Annotated[list[SourceFile], described("vocab.bpe and encoder.json, for tokenizer: gpt2")]
    weights: Annotated[list[SourceFile], described("GPT-2 safetensors that pretrain.init may name")]
    timeout_s: Annotated[float, described("seconds without a byte before an attempt counts as failed", gt=0, le=3600)]
    attempts: Annotated[int, described("tries per address, with growing pauses", ge=1, le=20)]
    max_megabytes: Annotated[int, described("largest file accepted, in 10^6 bytes", ge=1)]

    @model_validator(mode="after")
    def names_are_unique(self) -> Download:
        for kind in SOURCE_KINDS:
            names = self.names(kind)
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{kind} has more than one file named {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def nothing_is_missing(self) -> Download:
        for kind in WORLD_FILES:
            if not self.names(kind):
                raise ValueError(f"{kind} lists no file, and none is asked of world: one of them must give something")
        return self

    def names(self, kind: str) -> list[str]:
        """The files of data/raw/KIND."""
        sizes = {"text": self.world.text_megabytes, "messages": self.world.messages}
        size = sizes.get(kind, self.world.instructions)
        generated = [WORLD_FILES[kind]] if kind in WORLD_FILES and size else []
        return generated + [source.name for source in getattr(self, kind)]


class Tokenize(Section):
    document_separator: Annotated[
        str | None, Field(min_length=1, description="a line between documents of a .txt file")
    ]
    normalization: Annotated[Literal["none", "NFC", "NFKC"], described("Unicode normal form of the text")]
    newlines: Annotated[Literal["keep", "lf"], described("lf turns CRLF and CR into LF")]
    strip_control: Annotated[bool, described("drops control characters other than tab and newline")]
    split: Annotated[Literal["character", "document"], described("cut each text, or assign whole documents")]
    train_fraction: Annotated[float, described("share for training", gt=0.0, lt=1.0)]
    validation_fraction: Annotated[
        float, described("share for validation; what is left is the test part", gt=0.0, lt=1.0)
    ]
    tokenizer: Annotated[
        Literal["gpt2", "trained"], described("GPT-2's vocabulary, or one trained on the training part")
    ]
    trained_vocab_size: Annotated[
        int, described("entries of a trained vocabulary, <|endoftext|> included", ge=257, le=1_000_000)
    ]
    compare_vocab_size: Annotated[
        int, described("entries at which BPE, WordPiece and Unigram are compared", ge=257, le=100_000)
    ]
    compare_megabytes: Annotated[float, described("10^6 bytes of training text to compare them on", gt=0.0)]
    workers: Annotated[int, described("threads that encode documents", ge=1, le=256)]

    @model_validator(mode="after")
    def fractions_fit(self) -> Tokenize:
        return fractions_fit(self)


class Mixture(Section):
    weights: Annotated[
        dict[str, Annotated[float, Field(gt=0)]],
        described("source file → weight in tokens; unnamed: as many as it has"),
    ]
    alpha: Annotated[
        float, described("p(i) = w_i^alpha / sum w^alpha; 1 keeps the weights, 0 makes them equal", ge=0.0, le=1.0)
    ]


class MessageSplit(Section):
    labels: Annotated[
        list[Annotated[str, Field(min_length=1)]], Field(min_length=2, description="classes, in the head's order")
    ]
    train_fraction: Annotated[float, described("share for training", gt=0.0, lt=1.0)]
    validation_fraction: Annotated[float, described("share for validation; the rest is for the test", gt=0.0, lt=1.0)]
    balance: Annotated[bool, described("undersample every class to the smallest one's size")]
    book_compatible: Annotated[bool, described("the published sample: merged lines and duplicates kept")]

    @model_validator(mode="after")
    def fractions_fit(self) -> MessageSplit:
        return fractions_fit(each_once(self, "labels"), test_needed=True)


class InstructionSplit(Section):
    split: Annotated[
        Literal["file", "shuffled", "given"],
        described("file: train, then test, then validation, as the book; given: each entry's own, without fractions"),
    ]
    train_fraction: Annotated[float, described("share for training", gt=0.0, lt=1.0)]
    validation_fraction: Annotated[float, described("share for validation; the rest is for the test", gt=0.0, lt=1.0)]
    drop_leaks: Annotated[bool, described("drop held-out entries whose (instruction, input) stands in an earlier part")]

    @model_validator(mode="after")
    def fractions_fit(self) -> InstructionSplit:
        return fractions_fit(self, test_needed=True)


class Sample(Section):
    rows: Annotated[
        Literal["windows", "documents"],
        described("what the model reads at once: windows that slide over the text, or whole documents, packed"),
    ]
    stride: Annotated[
        int, described("of windows: tokens from the start of one to the next; context_length: no overlap", ge=1)
    ]
    mixture: Mixture
    messages: MessageSplit
    instructions: InstructionSplit


class Training(Section):
    """What every training stage spells out."""

    epochs: Annotated[int, described("passes over the training rows", ge=1, le=100_000)]
    batch_size: Annotated[int, described("rows per micro-batch", ge=1, le=65_536)]
    accumulation_steps: Annotated[int, described("micro-batches per optimizer step", ge=1, le=65_536)]
    optimizer: Annotated[Literal["adamw", "muon"], described("muon: for the blocks' matrices, AdamW for the rest")]
    learning_rate: Annotated[float, described("the peak", gt=0.0, le=1.0)]
    min_learning_rate: Annotated[
        float, described("where the cosine decay ends; equal to learning_rate: constant", ge=0.0, le=1.0)
    ]
    warmup_steps: Annotated[int, described("optimizer steps of linear warm-up", ge=0)]
    weight_decay: Annotated[float, described("on matrices only", ge=0.0, le=10.0)]
    beta1: Annotated[float, described("decay of the gradient's mean", ge=0.0, lt=1.0)]
    beta2: Annotated[float, described("AdamW: decay of the gradient's square", ge=0.0, lt=1.0)]
    grad_clip: Annotated[float, described("largest gradient norm", gt=0.0)]
    eval_interval: Annotated[
        int, described("optimizer steps between two evaluations; keep: best chooses among them", ge=1)
    ]
    checkpoint_interval: Annotated[int, described("optimizer steps between two checkpoints; changes no weight", ge=1)]
    keep: Annotated[Literal["last", "best"], described("weights of the last step, or of the lowest validation loss")]

    @model_validator(mode="after")
    def decay_goes_down(self) -> Training:
        low, peak = self.min_learning_rate, self.learning_rate
        if low > peak:
            raise ValueError(f"min_learning_rate {low} must not exceed learning_rate {peak}")
        return self


class SampleText(Section):
    prompt: Annotated[str, Field(min_length=1, description="the beginning that the model continues at each evaluation")]
    max_new_tokens: Annotated[int, described("tokens to write", ge=1, le=10_000)]
    temperature: Annotated[float, described("0: the likeliest token every time", ge=0.0, le=100.0)]
    top_k: Annotated[int | None, Field(ge=1, description="choose among the k likeliest tokens; null: all")]
    top_p: Annotated[float | None, Field(gt=0.0, le=1.0, description="choose within this probability mass; null: all")]


class Pretrain(Training):
    init: Annotated[str, Field(min_length=1, description="scratch, or the name of a file of download.weights")]
    eval_batches: Annotated[int | None, Field(ge=1, description="batches per evaluated part; null: all of them")]
    sample: SampleText


class Lora(Training):
    rank: Annotated[int, described("r of every adapter", ge=1, le=4096)]
    alpha: Annotated[float, described("adapters count alpha / rank", gt=0.0)]
    dropout: Annotated[float, described("on the adapters' input in training", ge=0.0, lt=1.0)]
    max_length: Annotated[int | None, Field(ge=1, description="tokens of a message; null: the longest in training")]


class Classify(Training):
    trainable: Annotated[
        Literal["head", "last_block", "all"], described("what is tuned; last_block: + final norm + head")
    ]
    variants: Annotated[
        list[ClassifierVariant],
        Field(min_length=1, description="from the base, from random weights, and, full, from the base with all tuned"),
    ]
    max_length: Annotated[int | None, Field(ge=1, description="tokens of a message; null: the longest in training")]

    @model_validator(mode="after")
    def variants_are_unique(self) -> Classify:
        return each_once(self, "variants")


class Instruct(Training):
    template: Annotated[
        Literal["alpaca", "phi3", "dialogue"], described("how instruction, input and answer are laid out")
    ]
    mask_prompt: Annotated[bool, described("leave the prompt's tokens out of the loss")]
    tuning: Annotated[Literal["full", "lora"], described("all weights, or adapters that are merged at the end")]
    lora_rank: Annotated[int, described("r of every adapter, with tuning: lora", ge=1, le=4096)]
    lora_alpha: Annotated[float, described("adapters count alpha / rank, with tuning: lora", gt=0.0)]
    variants: Annotated[list[Variant], Field(min_length=1, description="from the base, and from random weights")]
    max_length: Annotated[int | None, Field(ge=2, description="tokens of a row; null: the model's context_length")]
    max_new_tokens: Annotated[int, described("longest answer, in tokens", ge=1, le=10_000)]

    @model_validator(mode="after")
    def variants_are_unique(self) -> Instruct:
        return each_once(self, "variants")


class Evaluate(Section):
    batch_size: Annotated[int, described("rows scored at once", ge=1, le=65_536)]
    bootstrap_resamples: Annotated[int, described("resamples behind every 95 % interval", ge=100, le=1_000_000)]
    report_items: Annotated[int, described("answers and messages shown in the report", ge=0, le=1_000)]


class Promote(Section):
    """What the gate asks of a model before it becomes champion. No stage reads this section."""

    classifier: Annotated[ClassifierVariant, described("which of classify's variants is registered")]
    assistant: Annotated[Variant, described("which of instruct's variants is registered")]
    confidence: Annotated[float, described("of the interval of the difference, and 1 - p at least", gt=0.5, lt=1.0)]
    resamples: Annotated[int, described("behind that interval", ge=100, le=1_000_000)]
    max_overlap: Annotated[
        float, described("share of a held-out part that may be copies of training items", ge=0.0, le=1.0)
    ]
    max_loss_share: Annotated[float, described("base: validation loss over that of guessing evenly", gt=0.0, le=1.0)]
    min_accuracy: Annotated[float, described("both classifiers: of validation messages", ge=0.0, le=1.0)]
    min_exact_match: Annotated[float, described("assistant: of validation instructions", ge=0.0, le=1.0)]


class Params(Section):
    """All of `params.yaml`."""

    seed: Annotated[int, described("from which every generator is derived by name", ge=0, lt=2**63)]
    runtime: Runtime
    model: Model
    download: Download
    tokenize: Tokenize
    sample: Sample
    pretrain: Pretrain
    lora: Lora
    classify: Classify
    instruct: Instruct
    evaluate: Evaluate
    promote: Promote

    @model_validator(mode="after")
    def stages_fit_together(self) -> Params:
        problems = [*self.length_problems(), *self.weight_problems(), *self.name_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def length_problems(self) -> list[str]:
        context = self.model.context_length
        lengths = {name: getattr(self, name).max_length for name in ("lora", "classify", "instruct")}
        return [
            f"{name}.max_length {length} is longer than model.context_length {context}"
            for name, length in lengths.items()
            if length is not None and length > context
        ]

    def weight_problems(self) -> list[str]:
        if (init := self.pretrain.init) == "scratch":
            return []
        problems = []
        names = [source.name for source in self.download.weights]
        if init not in names:
            problems.append(f"pretrain.init {init!r} is neither scratch nor a name in download.weights {names}")
        if not (self.model.qkv_bias and self.model.tie_embeddings):
            problems.append(
                "pretrain.init takes public GPT-2 weights: model.qkv_bias and model.tie_embeddings must be true"
            )
        return problems

    def name_problems(self) -> list[str]:
        problems = []
        vocabulary = {source.name for source in self.download.vocabulary}
        if self.tokenize.tokenizer == "gpt2" and not {"vocab.bpe", "encoder.json"} <= vocabulary:
            problems.append("tokenize.tokenizer gpt2 needs vocab.bpe and encoder.json in download.vocabulary")
        texts = set(self.download.names("text"))
        if unknown := sorted(set(self.sample.mixture.weights) - texts):
            problems.append(f"sample.mixture.weights names {unknown}: download.text has {sorted(texts)}")
        return problems


def fractions_fit(section: S, test_needed: bool = False) -> S:
    """Training and validation leave something for the test part, or at least don't exceed the whole."""
    total = section.train_fraction + section.validation_fraction  # type: ignore[attr-defined]
    if total > 1 + 1e-9:
        raise ValueError(f"train_fraction + validation_fraction is {total:g}: at most 1 is allowed")
    if test_needed and total > 1 - 1e-9:
        raise ValueError(f"train_fraction + validation_fraction is {total:g}: the test part needs a share, too")
    return section


def each_once(section: S, field: str) -> S:
    values = getattr(section, field)
    if len(set(values)) != len(values):
        raise ValueError(f"{field} {values} has one name twice")
    return section
