"""The interface of a conditioner. Shape letters: B batch, S condition tokens, T latent frames, W conditioning width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ...core.config import option
from ..conditions import is_given
from .frozen import FrozenSource

SHORTEST_PADDED = 16


@dataclass(frozen=True, kw_only=True)
class ConditionerConfig:
    """Options that every conditioner has; each kind adds its own."""

    drop_probability: float = option(
        0.0, "Probability that an item's value is dropped in training, on top of the objective's own for all at once."
    )

    def __post_init__(self) -> None:
        if not 0 <= self.drop_probability <= 1:
            raise ValueError(f"drop_probability must lie in 0..1, got {self.drop_probability}")

    def check(self, width: int) -> None:
        """Raises ValueError if a conditioner of this config cannot give vectors of `width`."""


@dataclass(kw_only=True)
class Encoding:
    """The result of a conditioner: one or more of these."""

    vector: Tensor | None = None  # [B, W], of the item as a whole
    cross: Tensor | None = None  # [B, S, W], for cross-attention or before a sequence
    cross_mask: Tensor | None = None  # [B, S] bool, True where `cross` is real; None: all is
    frames: Tensor | None = None  # [B, T, W], one vector per latent frame
    spread: Tensor | None = None  # [B, S, W], in order, to be laid out over the frames of each item
    spread_weights: Tensor | None = None  # [B, S], their lengths relative to each other; 0 where there is none


class Conditioner(nn.Module, ABC):
    """One condition as vectors, in two steps: `prepare` on the host, and `forward` on the device.

    A value that is dropped or not given becomes a learned null, the same for both. All parameters take part in every
    call, whatever is given, because DistributedDataParallel waits for the gradient of each.
    """

    config_class: ClassVar[type[ConditionerConfig]] = ConditionerConfig
    takes_any_value: ClassVar[bool] = False  # True: `prepare` refuses no value, so that data need not be checked
    may_be_absent: ClassVar[bool] = False  # True: a dataset without the column of this condition is trained on as well
    draws_one: ClassVar[bool] = False  # True: a list in the data holds alternatives, one of which is drawn per example
    takes_audio: ClassVar[bool] = False  # True: a value may be audio, (Tensor [C, N], sample rate in Hz)
    takes_latents: ClassVar[bool] = False  # True: a value may be latents [T, D] of the generator's codec
    frozen: FrozenSource | None = None  # encoder of the values, whose embeddings a dataset can store
    num_tokens: int = 0  # S, at most
    gives_frames: bool = False  # whether there are `frames` or `spread`
    spreads: bool = False  # whether there is `spread`: the frames of an item must be known before any is made
    whole_items: ClassVar[bool] = False  # True: a value belongs to a whole item, of which no part can be trained on

    @abstractmethod
    def __init__(self, width: int, config: Any):
        """Takes the width W and a `config_class`."""
        super().__init__()

    @abstractmethod
    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns B values as tensors [B, ...] on the CPU. It reads the config alone, and no weights.

        Args:
            values: of metadata, of the command line or of a call; what is not given is None, a blank text or NaN.

        Raises:
            ValueError: a value that does not exist, such as an unknown label.
        """

    @abstractmethod
    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns the vectors of B prepared values, those where `drop` [B] bool is True as if not given."""

    def adopt(self, saved: Self) -> list[str]:
        """Takes over what a saved conditioner of another config has learned and weights of other shapes hold.

        Args:
            saved: of the same class.

        Returns:
            The names of the weights that were filled from it; weights of the same shape are taken without this method.
        """
        return []

    def report(self, values: Sequence[Any]) -> None:
        """Logs which of the values that are asked for have no effect; most conditions know of none."""

    def later(self, value: Any, seconds: float) -> Any:
        """Returns the value of an item that is cut at its start by `seconds`; most conditions do not depend on it."""
        return value


def padded_length(length: int, most: int) -> int:
    """Returns a power of two that holds `length`, from 16 to `most`: few lengths differ, so few graphs are compiled."""
    padded = SHORTEST_PADDED
    while padded < length:
        padded *= 2
    return max(1, min(padded, most))


def as_text(value: Any) -> str:
    """Returns a value as a text; one that is not given as an empty one, and a list as its parts with commas between."""
    if not is_given(value):
        return ""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
