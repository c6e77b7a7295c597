"""The interface of a generator: what it takes and gives. It knows of its codec only the `TokenizerSpec`.

Shape letters: B batch, T latent frames, D latent width, T' token frames, Q codebooks, N audio samples.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from diffusers.loaders.peft import PeftAdapterMixin
from torch import Tensor

from ..core.config import build_config, nearest_hint, option
from ..core.configured import ConfiguredModel
from .batch import LatentBatch
from .binding import TokenizerBinding
from .conditioning import ConditionEncoder, EncodedConditions
from .conditioning.durations import DurationModel
from .conditioning.fuse import Drop
from .conditions import Conditions, PreparedConditions
from .given import Given
from .parts.request import SampleRequest, check_request
from .upgrade import CONFIG_FORMAT, FORMAT_KEY, rename_weights, upgrade_config

if TYPE_CHECKING:
    from ..core.graphs import Graph
    from .stream import GeneratorStream


__all__ = ["Generated", "LatentBatch", "LatentGenerator", "SamplingConfig", "TokenizerBinding", "TrainedOn"]


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """Facts about a generator's training data, as far as they are known; part of every generator's config."""

    crop_s: float | None = None  # length of an example
    seconds_start: tuple[float, float, float] | None = None  # lowest, median, highest of the items, in seconds
    seconds_total: tuple[float, float, float] | None = None
    conditions: tuple[str, ...] | None = None  # names of those that at least one item had a value of
    given: bool | None = None  # whether parts of the examples were given in training, as `Given` does in sampling
    durations: DurationModel | None = None  # of transcripts
    encoders: dict[str, str] = field(default_factory=dict)  # condition -> SHA-256 of its frozen encoder's weights

    def seconds_of(self, duration_s: float) -> tuple[float, float]:
        """Returns where an item starts in its recording, and the length of that recording, as is usual in the data.

        The medians of the training data, or 0 and `duration_s` where they are not known; the item always fits.
        """
        start_s = 0.0 if self.seconds_start is None else self.seconds_start[1]
        total_s = duration_s if self.seconds_total is None else self.seconds_total[1]
        return start_s, max(total_s, start_s + duration_s)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Options that the `sample` of every kind of generator has; each kind adds its own."""

    guidance_scale: float = option(1.0, "Scale of classifier-free guidance; 1 turns guidance off.", name="guidance")
    guidance_scales: dict[str, float] = option(
        factory=dict,
        help="Scale of one condition alone, such as text=4. Each costs one more pass per step.",
        name="guidance_of",
    )
    negative_prompt: str = option("", "Text that guidance leads away from.", name="negative")

    def __post_init__(self) -> None:
        scales = {"guidance_scale": self.guidance_scale, **self.guidance_scales}
        for name, scale in scales.items():
            if not (math.isfinite(scale) and scale >= 0):
                raise ValueError(f"{name} must be 0 or more, got {scale}: 1 turns guidance off")
        if self.negative_prompt and all(scale == 1.0 for scale in scales.values()):
            raise ValueError("a negative prompt does nothing where guidance is off: set guidance_scale above 1")


@dataclass(kw_only=True)
class Generated:
    """The result of sampling: one of the two streams, ready for `AudioTokenizer.decode`."""

    latents: Tensor | None  # [B, T, D]
    tokens: Tensor | None  # [B, T', Q]
    lengths_samples: Tensor  # [B] int64 at the codec's rate


class LatentGenerator(ConfiguredModel, PeftAdapterMixin):
    """A model that samples one stream of a codec.

    Its config has a field `binding: TokenizerBinding` and, where `latentune train` is to fill it in, `trained_on:
    TrainedOn`. A generator that is trained with conditions encodes them with its `condition_encoder`.

    A subclass writes `make_items` and, if it can stream, `make_stream`; both get what `sample` and `open_stream` have
    checked.
    """

    card_tags: ClassVar[Sequence[str]] = ("audio-generation", "latent-generator")
    card_loader: ClassVar[str] = "load_generator"
    sampling_class: ClassVar[type[SamplingConfig]] = SamplingConfig  # options of `sample`
    packed: bool = False  # whether only the real frames of a batch are computed, where its items differ in length
    adapted_layers: ClassVar[str] = ""  # what the names of the linear layers begin with that an adapter changes
    stream: Literal["latents", "tokens"]
    condition_encoder: ConditionEncoder

    def card_facts(self) -> dict[str, str]:
        conditions = ", ".join(self.trained_on.conditions or ()) or "none"
        return {
            "samples": f"{self.stream} of a {self.binding.spec.name} (fingerprint {self.binding.fingerprint[:12]})",
            "conditions": conditions,
        }

    @property
    def binding(self) -> TokenizerBinding:
        return cast(TokenizerBinding, self.settings.binding)

    @property
    def can_pack(self) -> bool:
        """Whether the network heeds `packed`."""
        return False

    @property
    def trained_on(self) -> TrainedOn:
        """Facts about the training data; all unknown where the config has no such field."""
        return getattr(self.settings, "trained_on", None) or TrainedOn()

    @property
    def longest_s(self) -> float | None:
        """The longest item, in seconds, that `sample` makes as in training; None: any length."""
        return None

    def duration_of(self, text: str, speed: float = 1.0) -> float:
        """Returns how many seconds a text lasts at the pace of the training data.

        Args:
            text: what is to be said.
            speed: 2 is twice as fast.

        Raises:
            ValueError: a generator that does not read transcripts or knows no durations of them, or a speed that is not
                a positive number.
        """
        symbols = self.condition_encoder.symbols([text])[0]
        durations = self.trained_on.durations
        if durations is None:
            raise ValueError("this generator was trained without transcripts: it knows no durations of texts")
        return durations.seconds_of(symbols, speed)

    def save_pretrained(self, path: str | Path, **options: Any) -> None:
        """Writes `config.json` and the weights as `ConfiguredModel.save_pretrained` does, with those of adapters merged
        into them.
        """
        from .adapters import merged  # which needs this class

        super(LatentGenerator, merged(self)).save_pretrained(path, **options)

    @classmethod
    def make_sampling(cls, options: Mapping[str, Any]) -> SamplingConfig:
        """Returns the sampling config of these options.

        Raises:
            TypeError: an option that this kind of generator does not have (with the nearest known one).
            ConfigError: a value that does not fit.
        """
        known = [f.name for f in fields(cls.sampling_class)]
        for name in options:
            if name not in known:
                raise TypeError(f"no sampling option {name!r} of a {cls.__name__}: {nearest_hint(name, known)}")
        return build_config(cls.sampling_class, options, "sampling")

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        lengths_samples: Tensor,
        *,
        sampling: SamplingConfig | None = None,
        given: Given | None = None,
        generator: torch.Generator | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Generated:
        """Samples one item per condition, without gradient.

        Args:
            conditions: what is asked of each item.
            lengths_samples: [B] length of each item in audio samples at the codec's rate, what is given included.
            sampling: options, an instance of `sampling_class`; by default its defaults.
            given: encoded audio whose chunks the items keep.
            generator: source of all noise. The same state of the generator gives the same result.
            callback: called with (steps done, steps in all).

        Returns:
            The latents or the tokens of every item, and the lengths in audio samples.

        Raises:
            ValueError: a request that cannot be met; see `parts.request.check_request`, `ConditionEncoder.request` and
                `make_items` of the class.
            TypeError: lengths that are not integers, or sampling options of another kind of generator.
        """
        options = self.check_sampling(sampling)
        request = check_request(self.binding.spec, conditions, lengths_samples, given)
        self.check_conditions(conditions)
        return self.make_items(request, options, generator=generator, callback=callback)

    def open_stream(
        self,
        conditions: Conditions,
        *,
        sampling: SamplingConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> GeneratorStream:
        """Returns an endless stream of one item per condition, block after block.

        Args:
            conditions: what is asked of each item.
            sampling: options, an instance of `sampling_class`; by default its defaults.
            generator: source of all noise. For the same state, the blocks are those of `sample`.

        Raises:
            ValueError: this kind of generator cannot stream, or conditions that it does not have.
            TypeError: sampling options of another kind of generator.
        """
        options = self.check_sampling(sampling)
        self.check_conditions(conditions)
        return self.make_stream(conditions, options, generator)

    @abstractmethod
    def make_items(
        self,
        request: SampleRequest,
        sampling: Any,
        *,
        generator: torch.Generator | None,
        callback: Callable[[int, int], None] | None,
    ) -> Generated:
        """Samples the items of a request that has been checked.

        Args:
            request: conditions, lengths and what is given.
            sampling: options, an instance of `sampling_class`.
            generator: source of all noise.
            callback: called with (steps done, steps in all).

        Returns:
            The latents or the tokens of every item, and the lengths in audio samples.

        Raises:
            ValueError: a request that this kind of generator cannot meet.
        """

    def make_stream(self, conditions: Conditions, sampling: Any, generator: torch.Generator | None) -> GeneratorStream:
        """Returns an endless stream for conditions and options that have been checked.

        Args:
            conditions: what is asked of each item.
            sampling: options, an instance of `sampling_class`.
            generator: source of all noise.

        Raises:
            ValueError: this generator cannot stream.
        """
        raise ValueError(f"a {type(self).__name__} cannot stream: it makes whole items only")

    def graphs(self) -> list[Graph]:
        """Returns the networks that sampling repeats, for export.

        Raises:
            ValueError: this kind of generator has none that can be exported; the message says why.
        """
        raise ValueError(f"the step of a {type(self).__name__} is not exported: it keeps a state between its calls")

    def check_conditions(self, conditions: Conditions) -> None:
        """Refuses what this generator cannot be asked for; see `ConditionEncoder.request`."""
        encoder: ConditionEncoder | None = getattr(self, "condition_encoder", None)
        if encoder is not None:
            encoder.request(conditions)

    def encode_conditions(
        self, conditions: Conditions | PreparedConditions | EncodedConditions, drop_mask: Drop | None, size: int
    ) -> EncodedConditions:
        """Returns conditions as the network takes them, for a `forward` that gets them in any form.

        Args:
            conditions: encoded ones are returned as they are. Others are encoded here, within the call of the network,
                so that data-parallel wrappers see those weights used.
            drop_mask: see `ConditionEncoder.forward`.
            size: number of items that the network gets with them.

        Raises:
            ValueError: conditions of another number of items.
        """
        encoded: EncodedConditions = (
            conditions if isinstance(conditions, EncodedConditions) else self.condition_encoder(conditions, drop_mask)
        )
        if len(encoded) != size:
            raise ValueError(f"{size} items, but {len(encoded)} conditions")
        return encoded

    def check_sampling(self, sampling: SamplingConfig | None) -> Any:
        """Returns `sampling`, or the default one; raises TypeError if it is of another kind of generator."""
        if sampling is None:
            return self.sampling_class()
        if not isinstance(sampling, self.sampling_class):
            raise TypeError(
                f"a {type(self).__name__} takes a {self.sampling_class.__name__}, got {type(sampling).__name__}"
            )
        return sampling

    @classmethod
    def upgrade(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return upgrade_config(values)

    def to_json_string(self) -> str:
        self.register_to_config(**{FORMAT_KEY: CONFIG_FORMAT})
        return super().to_json_string()

    def _fix_state_dict_keys_on_load(self, state_dict: dict[str, Tensor]) -> None:
        """Renames weights of earlier formats; diffusers calls it with what it read from the file."""
        super()._fix_state_dict_keys_on_load(state_dict)  # type: ignore[misc]  # diffusers declares it dynamically
        rename_weights(state_dict, self.state_dict().keys())
