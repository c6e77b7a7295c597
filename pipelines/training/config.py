"""All that a training run is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...core.config import build_config, nearest_hint
from ...core.errors import ConfigError
from ...generators.load import KINDS
from ...tokenizers.load import FAMILIES


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is trained, and towards what."""

    class_name: str  # a class of tokenizers/load.py or generators/load.py; `class` in YAML
    config: dict[str, Any] = field(default_factory=dict)  # of that class; a generator's binding comes from the dataset
    objective: dict[str, Any] = field(default_factory=dict)  # config of the class's training objective
    init_from: str | None = None  # folder of weights to start from; by default random ones
    init_critic_from: str | None = None  # a checkpoint's critic.safetensors to start from; by default random weights


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig:
    """Audio to train a codec on: random crops of files."""

    source: str  # a folder, a file or a manifest (.jsonl, .csv, .parquet)
    where: dict[str, Any] = field(
        default_factory=dict
    )  # keep rows whose metadata has these values (a list: any of them)
    min_duration_s: float = 0.0  # shorter files are left out
    weight_column: str | None = None  # metadata column whose groups are sampled by `weights`; null: by duration alone
    weights: dict[str, float] = field(default_factory=dict)  # share of each group; empty: all the same
    valid_source: str | None = None  # held-out audio; null: `source`
    valid_where: dict[str, Any] | None = None  # which rows are held out; null with no valid_source: no validation
    valid_examples: int = 32  # crops that the validation loss is measured on
    gain_db: tuple[float, float] = (0.0, 0.0)  # random gain, uniform between the two
    mix_probability: float = 0.0  # how often a second crop is added, with a gain between `mix_gain_db`
    mix_gain_db: tuple[float, float] = (-12.0, 0.0)
    cache_dir: str | None = None  # folder for the decoded audio (int16, at the codec's rate); null: decode each crop
    num_threads: int = 2  # that prepare crops
    prefetch_batches: int = 4  # batches that may wait, ready

    def __post_init__(self) -> None:
        for name in ("gain_db", "mix_gain_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (lowest, highest), got {low} and {high}")
        if not 0 <= self.mix_probability <= 1:
            raise ValueError(f"mix_probability must lie in 0..1, got {self.mix_probability}")
        _at_least(self, 1, "valid_examples", "num_threads", "prefetch_batches")
        if any(weight < 0 for weight in self.weights.values()) or (self.weights and not sum(self.weights.values())):
            raise ValueError(f"weights must be shares, at least one above 0, got {self.weights}")
        if self.weights and not self.weight_column:
            raise ValueError("weights are given but no weight_column that they speak of")


@dataclass(frozen=True, kw_only=True)
class LatentDataConfig:
    """A shard dataset to train a generator on, whole chunks of each item at a time."""

    source: str  # folder that `latentune encode` wrote
    crop_s: float = 10.0  # length of an example, in as many whole chunks of the codec as come nearest
    where: dict[str, Any] = field(default_factory=dict)  # keep items whose metadata has these values
    valid_source: str | None = None  # held-out dataset; null: `source`
    valid_where: dict[str, Any] | None = None  # which items are held out; null with no valid_source: no validation
    valid_examples: int = 32  # crops that the validation loss is measured on
    text_column: str = "text"  # metadata column with the prompt
    label_column: str = "label"  # metadata column with the class label
    tokenizer: str | None = None  # the codec's folder or shipped name, to decode previews and later samples with
    num_threads: int = 1  # that prepare crops
    prefetch_batches: int = 4  # batches that may wait, ready

    def __post_init__(self) -> None:
        if not self.crop_s > 0:
            raise ValueError(f"crop_s must be above 0, got {self.crop_s}")
        _at_least(self, 1, "valid_examples", "num_threads", "prefetch_batches")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimiser; weight decay is decoupled and leaves biases and gains alone."""

    name: Literal["radam", "adamw"] = "adamw"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr > 0 or self.weight_decay < 0:
            raise ValueError(f"lr must be above 0 and weight_decay not below, got {self.lr} and {self.weight_decay}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the run."""

    kind: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0  # linear rise from 0
    final_lr_ratio: float = 0.0  # of the last step's rate to the highest (cosine)

    def __post_init__(self) -> None:
        _at_least(self, 0, "warmup_steps")
        if not 0 <= self.final_lr_ratio <= 1:
            raise ValueError(f"final_lr_ratio must lie in 0..1, got {self.final_lr_ratio}")


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """What is written to listen to."""

    num: int = 2  # held-out files that a codec reconstructs
    seconds: float = 5.0  # length of each
    prompts: tuple[str, ...] = ("",)  # that a generator samples from
    labels: tuple[str | None, ...] = ()  # one a prompt; empty: none
    options: dict[str, Any] = field(default_factory=dict)  # of the codec's decode or the generator's sample

    def __post_init__(self) -> None:
        if self.num < 1 or not self.seconds > 0 or not self.prompts:
            raise ValueError("a preview needs num >= 1, seconds > 0 and at least one prompt")
        if self.labels and len(self.labels) != len(self.prompts):
            raise ValueError(f"{len(self.labels)} labels for {len(self.prompts)} prompts: give one each")


@dataclass(frozen=True, kw_only=True)
class FadConfig:
    """The Fréchet distance of a generator's samples to real audio, measured at intervals."""

    reference: str = ""  # audio file, folder, manifest or dataset, or saved statistics (.safetensors)
    reference_where: dict[str, Any] = field(default_factory=dict)  # of a manifest, the rows with these values
    max_files: int | None = None  # of the reference, spread evenly over the files by name
    num: int = 64  # samples
    seconds: float = 10.0  # length of each
    batch_size: int = 8  # samples at a time
    prompts: tuple[str, ...] = ("",)  # taken in turn
    labels: tuple[str | None, ...] = ()  # taken in turn; empty: none
    embedder: str = "musicnn"
    checkpoint: str | None = None  # of an embedder that ships no weights
    options: dict[str, Any] = field(default_factory=dict)  # of the generator's sample

    def __post_init__(self) -> None:
        if self.num < 1 or self.batch_size < 1 or not self.seconds > 0 or not self.prompts:
            raise ValueError("fad needs num and batch_size >= 1, seconds > 0 and at least one prompt")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run. Build it from YAML with `train_config`. An interval of 0 means: never."""

    model: ModelConfig
    data: AudioDataConfig | LatentDataConfig
    output: str  # folder of the run
    steps: int  # optimiser steps
    batch_size: int  # examples per optimiser step, over all processes and accumulation
    grad_accum: int = 1  # parts that a process's share of the batch is worked on in
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    critic_optimizer: OptimizerConfig | None = None  # of an adversarial objective's critic; null: as `optimizer`
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    clip_norm: float = 1.0  # largest norm of the whole gradient; 0: not clipped
    ema_decay: float = 0.999  # of the averaged weights; lower in the first steps
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False  # torch.compile
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = 10  # all intervals in optimiser steps
    validate_every: int = 0
    preview_every: int = 0
    fad_every: int = 0  # of a generator whose `data.tokenizer` is named
    checkpoint_every: int = 1000  # beside the one at the end
    keep_checkpoints: int = 3  # the last ones
    preview: PreviewConfig = field(default_factory=PreviewConfig)
    fad: FadConfig = field(default_factory=FadConfig)

    def __post_init__(self) -> None:
        _at_least(self, 1, "steps", "batch_size", "grad_accum", "log_every", "keep_checkpoints")
        _at_least(self, 0, "validate_every", "preview_every", "fad_every", "checkpoint_every", "seed", "clip_norm")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in 0..1, 1 left out, got {self.ema_decay}")
        if self.batch_size % self.grad_accum:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of grad_accum {self.grad_accum}")
        if self.fad_every and not self.fad.reference:
            raise ValueError("fad_every is given: name the real audio, or its saved statistics, in fad.reference")
        wanted = data_class(self.model.class_name)
        if not isinstance(self.data, wanted):
            raise ValueError(f"{self.model.class_name} trains on {wanted.__name__}, got {type(self.data).__name__}")

    @property
    def kind(self) -> Literal["tokenizer", "generator"]:
        """What is trained: a codec on audio, or a generator on a codec's streams."""
        return "tokenizer" if self.model.class_name in FAMILIES else "generator"


def data_class(class_name: str) -> type[AudioDataConfig] | type[LatentDataConfig]:
    """Which data the model class called `class_name` trains on; raises ConfigError for an unknown class."""
    if class_name in FAMILIES:
        return AudioDataConfig
    if class_name in KINDS:
        return LatentDataConfig
    raise ConfigError(f"model.class {class_name!r} cannot be trained: {nearest_hint(class_name, [*FAMILIES, *KINDS])}")


def train_config(values: Mapping[str, Any]) -> TrainConfig:
    """A `TrainConfig` from a mapping, its data section by the kind of its model.

    Raises:
        ConfigError: an unknown, missing or ill-typed key.
    """
    values = dict(values)
    model, data = values.get("model"), values.get("data")
    if isinstance(model, Mapping) and isinstance(model.get("class_name"), str) and isinstance(data, Mapping):
        # built by hand: a union would not say which key is wrong
        values["data"] = build_config(data_class(model["class_name"]), data, "data")
    return build_config(TrainConfig, values)


def _at_least(config: Any, lowest: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {getattr(config, name)}")
