"""All conditions of a generator in one module. Shape letters: B batch, S condition tokens, T latent frames, W width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..conditions import SECONDS, Conditions, PreparedConditions, is_given
from .base import Conditioner, Encoding
from .config import ConditioningConfig
from .spread import lay_out
from .symbols import SymbolConditioner

Drop = Tensor | Mapping[str, Tensor]  # [B] bool for all conditions, or by the name of the condition


@dataclass(kw_only=True)
class EncodedConditions:
    """Conditions as a generator consumes them."""

    global_vector: Tensor  # [B, W]
    tokens: Tensor  # [B, S, W]; S may be 0
    mask: Tensor | None = None  # [B, S] bool, True where a token is real; None: all are
    frames: Tensor | None = None  # [B, T, W]
    spread: Tensor | None = None  # [B, S', W], to be laid out over the frames of each item
    spread_weights: Tensor | None = None  # [B, S'], their lengths relative to each other; 0 where there is none

    def __len__(self) -> int:
        return len(self.global_vector)

    def followed_by(self, other: EncodedConditions) -> EncodedConditions:
        """Returns both along the batch axis; they must have the same numbers of tokens and of symbols."""

        def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b])

        ragged = self.mask is not None or other.mask is not None
        return EncodedConditions(
            global_vector=torch.cat([self.global_vector, other.global_vector]),
            tokens=torch.cat([self.tokens, other.tokens]),
            mask=torch.cat([self.full_mask(), other.full_mask()]) if ragged else None,
            frames=both(self.frames, other.frames),
            spread=both(self.spread, other.spread),
            spread_weights=both(self.spread_weights, other.spread_weights),
        )

    def rows(self, rows: slice | Tensor) -> EncodedConditions:
        """Returns the conditions of some items, by their numbers [N] or as a slice."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {name: None if part is None else part[rows] for name, part in parts.items()}
        return EncodedConditions(**chosen)

    def laid_out(self, lengths: Tensor, num_frames: int) -> Tensor | None:
        """Returns what is spread as vectors [B, T, W] of frames; None where nothing is.

        Args:
            lengths: [B] frames of each item.
            num_frames: T, of the longest item.
        """
        if self.spread is None or self.spread_weights is None:
            return None
        return lay_out(self.spread, self.spread_weights, lengths, num_frames)

    def full_mask(self) -> Tensor:
        """Returns the mask [B, S] bool, also where `mask` is None."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=self.tokens.device)


class ConditionEncoder(nn.Module):
    """The conditioners of a config: their vectors are added, their tokens set end to end.

    Raises:
        ValueError: several conditions are spread over the frames.
    """

    def __init__(self, config: ConditioningConfig):
        super().__init__()
        self.config = config
        parts = config.build()
        self.num_tokens = sum(part.num_tokens for part in parts.values())  # S, at most
        self.gives_frames = any(part.gives_frames for part in parts.values())
        spreading = [name for name, part in parts.items() if part.spreads]
        if len(spreading) > 1:
            raise ValueError(f"one condition alone can be spread over the frames, got {', '.join(spreading)}")
        self.spreads = bool(spreading)
        self.parts = nn.ModuleDict(parts)
        # a learned bias: gives the vector of a generator without any condition a device and a dtype, and a gradient
        self.bias = nn.Parameter(torch.zeros(config.width))

    @property
    def transcript(self) -> str | None:
        """The condition that is read symbol by symbol, such as what is to be said; None where there is none."""
        return next((name for name, part in self.conditioners.items() if isinstance(part, SymbolConditioner)), None)

    def symbols(self, texts: Sequence[str]) -> list[str]:
        """Returns the symbols of texts as `transcript` reads them.

        Raises:
            ValueError: no condition is read symbol by symbol.
        """
        name = self.transcript
        if name is None:
            has = ", ".join(self.parts) or "none"
            raise ValueError(
                f"this generator does not read texts symbol by symbol, so it cannot speak (its conditions: {has})"
            )
        return cast(SymbolConditioner, self.parts[name]).symbols(texts)

    def refuse_frames(self, what: str) -> None:
        """Raises ValueError if a condition changes within an item, which `what` cannot use."""
        if self.gives_frames:
            names = ", ".join(name for name, part in self.conditioners.items() if part.gives_frames)
            advice = f": set spread to false ({names})" if self.spreads else f" ({names})"
            raise ValueError(f"{what} cannot use conditions that change within an item{advice}")

    @property
    def conditioners(self) -> dict[str, Conditioner]:
        """The conditioners by the name of the condition."""
        return {name: cast(Conditioner, part) for name, part in self.parts.items()}

    def prepare(self, conditions: Conditions) -> PreparedConditions:
        """Returns the tensors of B conditions, on the CPU; values of conditions that the generator lacks are ignored.

        Raises:
            ValueError: no items, or a value that its conditioner refuses.
        """
        size = len(conditions)
        if not size:
            raise ValueError("conditions need one entry per item, got none")
        absent = [None] * size
        tensors = {}
        for name, part in self.conditioners.items():
            try:
                tensors[name] = part.prepare(conditions.values.get(name, absent))
            except ValueError as error:
                raise ValueError(f"condition {name}: {error}") from error
        return PreparedConditions(tensors=tensors, size=size)

    def request(self, conditions: Conditions) -> PreparedConditions:
        """Returns the tensors of conditions that are asked for in sampling.

        Raises:
            ValueError: a condition that this generator does not have, or a value that its conditioner refuses.
        """
        for name, values in conditions.values.items():
            if name not in self.parts and name != SECONDS and any(map(is_given, values)):
                has = ", ".join(self.parts) or "none"
                raise ValueError(f"this generator was made without {name}: leave it out (its conditions: {has})")
        for name, part in self.conditioners.items():
            part.report(conditions.values.get(name, ()))
        return self.prepare(conditions)

    def later(self, conditions: Conditions, seconds: float) -> Conditions:
        """Returns the conditions of items that are cut at their start by `seconds`."""
        moved = {
            name: [self.conditioners[name].later(value, seconds) for value in values]
            for name, values in conditions.values.items()
            if name in self.parts
        }
        return conditions.replaced(**moved)

    def forward(self, conditions: Conditions | PreparedConditions, drop_mask: Drop | None = None) -> EncodedConditions:
        """Encodes B conditions on the device of the weights.

        Args:
            conditions: prepared ones; raw ones are prepared here, which nothing that is compiled can do.
            drop_mask: [B] bool, True where an item's conditions are replaced by the learned nulls, for classifier-free
                guidance (Ho and Salimans, arXiv 2207.12598); or one such mask per name of a condition.

        Raises:
            ValueError: a value that its conditioner refuses, or a mask of another size.
        """
        prepared = self.prepare(conditions) if isinstance(conditions, Conditions) else conditions
        prepared = prepared.to(self.bias.device)
        encodings = [
            part(prepared.tensors[name], self._drop(drop_mask, name, len(prepared)))
            for name, part in self.parts.items()
        ]
        return _fuse(self.bias.expand(len(prepared), -1), encodings)

    def null(self, conditions: Conditions | PreparedConditions) -> EncodedConditions:
        """Returns the same items with nothing given."""
        return cast(EncodedConditions, self(conditions, torch.ones(len(conditions), dtype=torch.bool)))

    def _drop(self, drop_mask: Drop | None, name: str, size: int) -> Tensor:
        mask = drop_mask.get(name) if isinstance(drop_mask, Mapping) else drop_mask
        if mask is None:
            return torch.zeros(size, dtype=torch.bool, device=self.bias.device)
        if mask.shape != (size,):
            raise ValueError(f"drop_mask must be [{size}], got {tuple(mask.shape)}")
        return mask.to(self.bias.device)


def _fuse(vector: Tensor, encodings: list[Encoding]) -> EncodedConditions:
    """Adds vectors and frames to `vector` [B, W], and sets tokens end to end."""
    for encoding in encodings:
        if encoding.vector is not None:
            vector = vector + encoding.vector
    frames = [encoding.frames for encoding in encodings if encoding.frames is not None]
    spread = next((encoding for encoding in encodings if encoding.spread is not None), Encoding())
    of_frames = {
        "frames": torch.stack(frames).sum(0) if frames else None,
        "spread": spread.spread,
        "spread_weights": spread.spread_weights,
    }
    crossed = [(encoding.cross, encoding.cross_mask) for encoding in encodings if encoding.cross is not None]
    if not crossed:
        nothing = vector.new_zeros(len(vector), 0, vector.shape[-1])
        return EncodedConditions(global_vector=vector, tokens=nothing, **of_frames)
    masks = [
        torch.ones(cross.shape[:2], dtype=torch.bool, device=cross.device) if mask is None else mask
        for cross, mask in crossed
    ]
    return EncodedConditions(
        global_vector=vector,
        tokens=torch.cat([cross for cross, _ in crossed], 1),
        mask=torch.cat(masks, 1) if any(mask is not None for _, mask in crossed) else None,
        **of_frames,
    )
