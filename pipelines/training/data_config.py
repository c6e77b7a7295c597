"""The data section of a training run: audio for a codec, a dataset of latents or tokens for a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.config import nearest_hint, option
from ...core.configured import ConfiguredModel
from ...core.errors import ConfigError
from ...core.registry import find_class, is_class_path
from ...generators.base import LatentGenerator
from ...generators.load import KINDS
from ...tokenizers.base import AudioTokenizer
from ...tokenizers.load import FAMILIES


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig:
    """Audio to train a codec on: random crops of files."""

    source: str = option(help="Audio file, folder of audio, or manifest (.jsonl, .csv, .parquet) to train on.")
    where: dict[str, Any] = option(
        factory=dict, help="Metadata values that a row must have to be used; a list allows any of its values."
    )
    min_duration_s: float = option(0.0, "Length in seconds below which a file is left out.")
    weight_column: str | None = option(
        None, "Metadata column whose groups are sampled by `weights`. By default files are sampled by their duration."
    )
    weights: dict[str, float] = option(factory=dict, help="Share of each group. By default all groups have the same.")
    valid_source: str | None = option(None, "Held-out audio. By default it is part of `source`.")
    valid_where: dict[str, Any] | None = option(
        None, "Metadata values of the held-out rows. Without it and without `valid_source` there is no validation."
    )
    valid_examples: int = option(32, "Number of crops that the validation loss is measured on.")
    gain_db: tuple[float, float] = option((0.0, 0.0), "Lowest and highest random gain in dB, drawn uniformly.")
    speed: tuple[float, float] = option(
        (1.0, 1.0), "Lowest and highest random speed, drawn uniformly. It changes pitch and tempo together."
    )
    speed_probability: float = option(0.5, "Probability that a crop gets a random speed, where `speed` allows one.")
    mix_probability: float = option(0.0, "Probability that a second crop is mixed in.")
    mix_gain_db: tuple[float, float] = option((-12.0, 0.0), "Lowest and highest gain in dB of the second crop.")
    cache_dir: str | None = option(
        None, "Folder that keeps the decoded audio (int16, at the codec's rate). By default each crop is decoded."
    )
    num_threads: int = option(2, "Number of threads that prepare crops.")
    prefetch_batches: int = option(4, "Number of batches that are prepared ahead.")

    def __post_init__(self) -> None:
        for name in ("gain_db", "speed", "mix_gain_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (lowest, highest), got {low} and {high}")
        for name in ("mix_probability", "speed_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if not self.speed[0] > 0:
            raise ValueError(f"speed must be above 0, got {self.speed}")
        check_at_least(self, 1, "valid_examples", "num_threads", "prefetch_batches")
        if any(weight < 0 for weight in self.weights.values()) or (self.weights and not sum(self.weights.values())):
            raise ValueError(f"weights must be shares, at least one above 0, got {self.weights}")
        if self.weights and not self.weight_column:
            raise ValueError("weights are given without the weight_column that they refer to")


@dataclass(frozen=True, kw_only=True)
class LatentDataConfig:
    """A shard dataset to train a generator on, whole chunks of each item at a time."""

    source: str | tuple[str, ...] = option(
        help="Folder of a dataset that `latentune encode` wrote, or a list of such folders, of one tokenizer."
    )
    source_weights: tuple[float, ...] = option(
        (), "Share of the examples of each dataset of `source`. By default every item has the same."
    )
    crop_s: float = option(10.0, "Length of an example in seconds, rounded to whole chunks of the codec.")
    where: dict[str, Any] = option(factory=dict, help="Metadata values that an item must have to be used.")
    valid_source: str | tuple[str, ...] | None = option(
        None, "Held-out dataset, or a list of them. By default it is part of `source`."
    )
    valid_where: dict[str, Any] | None = option(
        None, "Metadata values of the held-out items. Without it and without `valid_source` there is no validation."
    )
    valid_examples: int = option(32, "Number of crops that the validation loss is measured on.")
    conditions: dict[str, str] = option(
        factory=dict,
        help="Metadata column that holds the values of a condition, such as {text: caption}. By default the column "
        "that is called like the condition.",
    )
    tokenizer: str | None = option(
        None, "Folder or shipped name of the codec, which decodes the previews and is named by the trained pipeline."
    )
    verify: bool = option(False, "Read the whole dataset before training and check it, as `info --verify` does.")
    num_threads: int = option(1, "Number of threads that prepare crops.")
    prefetch_batches: int = option(4, "Number of batches that are prepared ahead.")

    def __post_init__(self) -> None:
        if not self.crop_s > 0:
            raise ValueError(f"crop_s must be above 0, got {self.crop_s}")
        check_at_least(self, 1, "valid_examples", "num_threads", "prefetch_batches")
        if self.source_weights and (
            len(self.source_weights) != len(sources_of(self.source)) or not min(self.source_weights) > 0
        ):
            raise ValueError(
                f"source_weights must be one number above 0 per dataset of source, got {list(self.source_weights)} "
                f"for {len(sources_of(self.source))}"
            )


def sources_of(source: str | tuple[str, ...]) -> tuple[str, ...]:
    """Returns the datasets that a source names, one or several."""
    return (source,) if isinstance(source, str) else source


def data_class(class_name: str) -> type[AudioDataConfig] | type[LatentDataConfig]:
    """Returns the data section of the model class called `class_name`: audio for a codec, latents for a generator.

    A class of the package is looked up in the tables and not imported.

    Args:
        class_name: a name in the tables of codecs and generators, or `module:Class`.

    Raises:
        ConfigError: an unknown name, or a path that leads to neither a codec nor a generator.
    """
    if class_name in FAMILIES:
        return AudioDataConfig
    if class_name in KINDS:
        return LatentDataConfig
    if not is_class_path(class_name):
        hint = nearest_hint(class_name, [*FAMILIES, *KINDS])
        raise ConfigError(f"model.class {class_name!r} cannot be trained: {hint} (or module:Class)")
    cls = find_class(class_name, {}, ConfiguredModel, what="model.class")
    if issubclass(cls, AudioTokenizer):
        return AudioDataConfig
    if issubclass(cls, LatentGenerator):
        return LatentDataConfig
    raise ConfigError(f"model.class {class_name!r} is neither an AudioTokenizer nor a LatentGenerator")


def check_at_least(config: Any, lowest: int, *names: str) -> None:
    """Raises ValueError if one of the named fields is below `lowest`."""
    for name in names:
        if getattr(config, name) < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {getattr(config, name)}")
