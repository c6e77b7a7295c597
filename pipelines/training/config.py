"""The config of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ...core.config import build_config, option
from ...core.device import Precision
from ...core.errors import ConfigError
from ...generators.adapters import AdapterConfig
from .data_config import AudioDataConfig, LatentDataConfig, check_at_least, data_class
from .start_weights import with_start
from .trackers import Tracker


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model to train, and its objective."""

    class_name: str = option(
        help="Class of the model: CoDiCodec, DiffusionTransformer, TokenLM, TokenSetLM, ContinuousAR or module:Class. "
        "Without it, class and config are those of the weights of `init_from`.",
        name="class",
    )
    config: dict[str, Any] = option(
        factory=dict,
        help="Config of that class; where the class is that of `init_from`, what differs from the config there. The "
        "part that binds a generator to its codec comes from the dataset.",
    )
    objective: dict[str, Any] = option(
        factory=dict,
        help="Config of the training objective. Its key `kind` names another objective or a module:Class.",
    )
    init_from: str | None = option(
        None,
        "Weights to start from: a folder, a pipeline, a run, or a name that ships. By default the weights are random.",
    )
    init_allow: tuple[str, ...] = option(
        (),
        "Keys of `config` that may differ from those of the weights, such as [max_frames, conditioning]. Weights that "
        "are new start at random, and the log lists them.",
    )
    init_critic_from: str | None = option(
        None, "File critic.safetensors of a checkpoint to start the critic from. By default its weights are random."
    )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer; weight decay is decoupled and does not affect biases and gains."""

    name: Literal["adamw", "radam", "muon"] = option(
        "adamw",
        "Optimizer; its weight decay leaves biases and gains alone. `muon` trains the matrices of the repeated blocks "
        "with Muon, at AdamW's scale of the learning rate, and the rest with AdamW.",
    )
    lr: float = option(1e-4, "Highest learning rate.")
    momentum: float = option(0.95, "Momentum of Muon.")
    betas: tuple[float, float] = option((0.9, 0.999), "Decay rates of the averages of the gradient and its square.")
    eps: float = option(1e-8, "Number added to the denominator for numerical stability.")
    weight_decay: float = option(0.0, "Decoupled weight decay.")

    def __post_init__(self) -> None:
        if not self.lr > 0 or self.weight_decay < 0:
            raise ValueError(f"lr must be above 0 and weight_decay not below, got {self.lr} and {self.weight_decay}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the run."""

    kind: Literal["cosine", "constant", "constant_decay"] = option(
        "cosine",
        "Shape of the learning rate after the warm-up. `constant_decay` is constant, then falls linearly in the last "
        "`decay_steps` of the run: resuming with another number of steps prolongs the run or ends it early.",
    )
    warmup_steps: int = option(0, "Number of steps in which the learning rate rises linearly from 0.")
    final_lr_ratio: float = option(
        0.0, "Learning rate of the last step divided by the highest one (cosine, constant_decay)."
    )
    decay_steps: int = option(0, "Number of last steps in which the learning rate falls (constant_decay).")

    def __post_init__(self) -> None:
        check_at_least(self, 0, "warmup_steps", "decay_steps")
        if self.decay_steps and self.kind != "constant_decay":
            raise ValueError(f"decay_steps belongs to kind constant_decay, but the kind is {self.kind}")
        if not 0 <= self.final_lr_ratio <= 1:
            raise ValueError(f"final_lr_ratio must lie in 0..1, got {self.final_lr_ratio}")


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """The audio that is written to listen to."""

    num: int = option(2, "Number of held-out files that a codec reconstructs.")
    seconds: float = option(5.0, "Length of each preview in seconds.")
    prompts: tuple[str, ...] = option(("",), "Prompts that a generator samples from.")
    labels: tuple[str | None, ...] = option((), "Class label of each prompt. By default the prompts have no label.")
    options: dict[str, Any] = option(factory=dict, help="Options of the codec's `decode` or the generator's `sample`.")

    def __post_init__(self) -> None:
        if self.num < 1 or not self.seconds > 0 or not self.prompts:
            raise ValueError("a preview needs num >= 1, seconds > 0 and at least one prompt")
        if self.labels and len(self.labels) != len(self.prompts):
            raise ValueError(f"{len(self.labels)} labels for {len(self.prompts)} prompts: give one each")


@dataclass(frozen=True, kw_only=True)
class FadConfig:
    """The Fréchet distance of a generator's samples from real audio, measured at intervals."""

    reference: str = option(
        "", "Real audio: a file, folder, manifest, dataset, or statistics that were saved before (.safetensors)."
    )
    reference_where: dict[str, Any] = option(factory=dict, help="Values that a row of the manifest must have.")
    max_files: int | None = option(None, "Largest number of reference files, spread evenly over the files by name.")
    num: int = option(64, "Number of samples to measure.")
    seconds: float = option(10.0, "Length of each sample in seconds.")
    batch_size: int = option(8, "Number of samples that are computed at once.")
    prompts: tuple[str, ...] = option(("",), "Prompts, taken in turn.")
    labels: tuple[str | None, ...] = option((), "Class labels, taken in turn. By default the samples have no label.")
    embedder: str = option("musicnn", "Embedder of the distance; `latentune list embedders` shows the names.")
    checkpoint: str | None = option(None, "Weights of an embedder that ships without any.")
    options: dict[str, Any] = option(factory=dict, help="Options of the generator's `sample`.")

    def __post_init__(self) -> None:
        if self.num < 1 or self.batch_size < 1 or not self.seconds > 0 or not self.prompts:
            raise ValueError("fad needs num and batch_size >= 1, seconds > 0 and at least one prompt")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run. Build it from YAML with `train_config`. An interval of 0 means never."""

    model: ModelConfig = option(help="Model to train and its objective.")
    data: AudioDataConfig | LatentDataConfig = option(help="Data to train on.")
    output: str = option(help="Folder of the run. By default the one that the config names.", positional=True)
    adapter: AdapterConfig | None = option(
        None, "Low-rank adapter that is trained in place of the weights of model.init_from. By default there is none."
    )
    steps: int = option(help="Number of optimizer steps.")
    batch_size: int = option(help="Number of examples per optimizer step, over all processes and accumulation.")
    grad_accum: int = option(1, "Number of parts that the batch of a process is split into.")
    optimizer: OptimizerConfig = option(factory=OptimizerConfig, help="Optimizer of the model.")
    critic_optimizer: OptimizerConfig | None = option(
        None, "Optimizer of the critic of an adversarial objective. By default the same as `optimizer`."
    )
    schedule: ScheduleConfig = option(factory=ScheduleConfig, help="Learning rate over the run.")
    clip_norm: float = option(1.0, "Largest norm of the whole gradient; 0 turns clipping off.")
    ema_decay: float = option(0.999, "Decay of the averaged weights; it is lower in the first steps.")
    precision: Precision = option(
        "auto",
        "Number format of the forward pass: fp32, bf16, fp16 (on a GPU), or auto, which is fp32 on a CPU and bf16 on a "
        "GPU that has it. Weights and optimizer stay fp32.",
    )
    compile: bool = option(False, "Compile the model with torch.compile.")
    shard: bool = option(
        False,
        "Share weights, averaged weights, gradients and optimizer state out between the processes (FSDP2), in place of "
        "a copy in each. With one process it does nothing.",
    )
    packed: bool = option(
        False,
        "Set the items of a batch end to end and compute their real frames alone, where they differ in length.",
    )
    gradient_checkpointing: bool = option(
        False, "Compute the activations of each block again in the backward pass, which saves memory and costs time."
    )
    seed: int = option(0, "Seed of all randomness.")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Device to train on.")
    process_timeout_min: float = option(
        60.0, "Minutes after which a process that waits for the others gives up, such as while one of them measures."
    )
    trackers: tuple[Tracker, ...] = option(
        (), "Trackers that get the figures and previews as well: tensorboard, wandb, trackio."
    )
    log_every: int = option(10, "Steps between two lines of the log.")
    validate_every: int = option(0, "Steps between two measurements of the validation loss; 0 turns them off.")
    preview_every: int = option(0, "Steps between two previews; 0 turns them off.")
    fad_every: int = option(
        0, "Steps between two Fréchet distances of a generator that has `data.tokenizer`; 0 turns them off."
    )
    checkpoint_every: int = option(1000, "Steps between two checkpoints; the end of the run always writes one.")
    keep_checkpoints: int = option(3, "Number of latest checkpoints that are kept.")
    preview: PreviewConfig = option(factory=PreviewConfig, help="Audio that is written during the run.")
    fad: FadConfig = option(factory=FadConfig, help="Fréchet distance that is measured during the run.")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps", "batch_size", "grad_accum", "log_every", "keep_checkpoints")
        check_at_least(self, 0, "validate_every", "preview_every", "fad_every", "checkpoint_every", "seed", "clip_norm")
        if not self.process_timeout_min > 0:
            raise ValueError(f"process_timeout_min must be above 0, got {self.process_timeout_min}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, got {self.ema_decay}")
        if self.batch_size % self.grad_accum:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of grad_accum {self.grad_accum}")
        if self.fad_every and not self.fad.reference:
            raise ValueError("fad_every is given: name the real audio, or its saved statistics, in fad.reference")
        if self.fad_every and getattr(self.data, "tokenizer", None) is None:
            raise ValueError("fad_every needs a generator, and data.tokenizer to decode its samples with")
        if self.shard and (self.compile or self.precision == "fp16"):
            raise ValueError("shard cannot be combined with compile or precision fp16: leave one out")
        if self.packed and self.compile:
            raise ValueError("packed cannot be combined with compile, since every batch has another shape")
        if self.adapter is not None and self.model.init_from is None:
            raise ValueError("adapter is given: name the generator that it adapts in model.init_from")
        if self.adapter is not None and not isinstance(self.data, LatentDataConfig):
            raise ValueError("adapter is given, but only generators can be adapted: leave it out")
        wanted = data_class(self.model.class_name)
        if not isinstance(self.data, wanted):
            raise ValueError(f"{self.model.class_name} trains on {wanted.__name__}, got {type(self.data).__name__}")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.output).expanduser()


def train_config(values: Mapping[str, Any]) -> TrainConfig:
    """Returns a `TrainConfig` from a mapping; the model class decides the type of its data section.

    Raises:
        ConfigError: an unknown, missing or ill-typed key.
        CheckpointError: nothing usable is at `model.init_from`, where it names a generator or gives the class.
    """
    values = dict(values)
    if isinstance(values.get("model"), Mapping):
        values["model"] = with_start(values["model"])
    model, data = values.get("model"), values.get("data")
    if isinstance(model, Mapping) and isinstance(model.get("class_name"), str) and isinstance(data, Mapping):
        # built here, since the errors of a union do not name the wrong key
        values["data"] = _data_config(model, data)
    return build_config(TrainConfig, values)


def _data_config(model: Mapping[str, Any], data: Mapping[str, Any]) -> AudioDataConfig | LatentDataConfig:
    wanted = data_class(model["class_name"])
    try:
        return build_config(wanted, data, "data")
    except ConfigError as error:
        # keys of the other kind of data mean a wrong model rather than a wrong key
        other = LatentDataConfig if wanted is AudioDataConfig else AudioDataConfig
        strange = set(data) - {one.name for one in fields(wanted)}
        if strange and strange <= {one.name for one in fields(other)}:
            kind, needs = ("codec", "audio") if wanted is AudioDataConfig else ("generator", "an encoded dataset")
            what = model.get("init_from") or "the model"
            raise ConfigError(
                f"{error}. These are keys of another kind of model: {what} is a {kind} ({model['class_name']}), which "
                f"trains on {needs}"
            ) from error
        raise
