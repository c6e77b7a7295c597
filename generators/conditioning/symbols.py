"""A transcript as one vector per symbol, for speech. Shape letters: B batch, S symbols of a text, W width."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.config import option
from ...layers.mlp import GatedMLP
from ...layers.norm import RMSNorm
from .base import Conditioner, ConditionerConfig, Encoding, as_text, padded_length
from .fourier import feature_network, fourier_features

logger = logging.getLogger(__name__)

LONGEST_LOG = 3.0  # natural logarithm of the length of a symbol, at most, where 0 is that of an average one
UNKNOWN, FIRST = 0, 1  # rows of the embedding: of any symbol outside the alphabet, and of the alphabet's first


@dataclass(frozen=True, kw_only=True)
class SymbolConfig(ConditionerConfig):
    """Sizes of the encoder, and how a generator uses its vectors."""

    alphabet: str = option(help="Symbols that differ from each other; any other one is unknown.")
    layers: int = option(4, "Number of convolution blocks.")
    kernel: int = option(7, "Symbols that a convolution sees; an odd number.")
    max_symbols: int = option(1024, "Symbols of the longest text.")
    spread: bool = option(
        True,
        "Lay the symbols out over the frames of the item, for a diffusion transformer with full attention; else they "
        "are tokens for cross-attention, or before the sequence of an autoregressive generator.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alphabet or len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError(f"alphabet must be symbols that differ from each other, got {self.alphabet!r}")
        if self.layers < 0 or self.kernel < 1 or self.kernel % 2 == 0 or self.max_symbols < 1:
            raise ValueError(
                "layers must be 0 or more, kernel odd and max_symbols at least 1, got "
                f"{self.layers}, {self.kernel} and {self.max_symbols}"
            )


class SymbolConditioner(Conditioner):
    """An embedding of each symbol and convolutions over its neighbors. An item is one whole text.

    An empty text is one that is not given: a single learned symbol. Symbols that are spread stand between two of edges,
    which take the silence before and after; how long each is relative to the others is learned from the generator's
    loss, from equal lengths on.
    """

    config_class = SymbolConfig
    whole_items: ClassVar[bool] = True

    def __init__(self, width: int, config: SymbolConfig):
        super().__init__(width, config)
        self.config, self.spreads = config, config.spread
        self.gives_frames, self.num_tokens = config.spread, 0 if config.spread else config.max_symbols
        self.index = {symbol: row for row, symbol in enumerate(config.alphabet, start=FIRST)}
        self.num_unknown = 0  # symbols outside the alphabet since this object was made
        # tokens are near the size of other conditions' vectors; what is added to each frame is near that of a frame
        self.gain = 1.0 if config.spread else width**-0.5
        end = len(config.alphabet) + FIRST
        self.edges = [end, end + 1] if config.spread else []  # rows of the embedding
        self.embedding = nn.Embedding(end + len(self.edges), width)
        self.blocks = nn.ModuleList(SymbolBlock(width, config.kernel) for _ in range(config.layers))
        self.norm = RMSNorm(width)
        self.null = nn.Parameter(torch.randn(width) * self.gain)
        nn.init.normal_(self.embedding.weight, std=1.0)
        if config.spread:
            self.log_length = nn.Linear(width, 1)
            nn.init.zeros_(self.log_length.weight)
            nn.init.zeros_(self.log_length.bias)
        else:
            self.from_place = feature_network(width)

    @abstractmethod
    def symbols(self, texts: Sequence[str]) -> list[str]:
        """Returns the symbols of texts, one character each; those of a text without any are empty.

        Symbols outside the alphabet are kept, so that they can be counted.
        """

    def unknown(self, symbols: str) -> str:
        """Returns the symbols that lie outside the alphabet, each once, in order."""
        return "".join(dict.fromkeys(symbol for symbol in symbols if symbol not in self.index))

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns `symbols` [B, S] int64 and their `mask` [B, S]; S is a power of two up to `max_symbols` and edges.

        Raises:
            ValueError: a text of more symbols than `max_symbols`.
        """
        found = self.symbols([as_text(value) for value in values])
        most = self.config.max_symbols
        for text in found:
            if len(text) > most:
                raise ValueError(
                    f"a text of {len(text)} symbols, but max_symbols is {most}: split {text[:30]!r}... into sentences"
                )
        self._count_unknown(found)
        rows = [self._rows(text) for text in found]
        length = padded_length(max(map(len, rows)), most + len(self.edges))
        symbols = torch.zeros(len(rows), length, dtype=torch.int64)
        for into, row in zip(symbols, rows, strict=True):
            into[: len(row)] = torch.tensor(row, dtype=torch.int64)
        return {"symbols": symbols, "mask": torch.arange(length) < torch.tensor([[len(row)] for row in rows])}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns one vector [B, S, W] per symbol and their mask, to be spread or as tokens."""
        mask = prepared["mask"]
        given = (mask.any(1) & ~drop)[:, None]
        x = self.embedding(prepared["symbols"])
        for block in self.blocks:
            x = block(x, mask[..., None])
        x = self.norm(x) * self.gain
        if not self.spreads:
            place = torch.arange(mask.shape[1], device=mask.device) / mask.sum(1, keepdim=True).clamp_min(1)
            features = fourier_features(place.flatten()).to(x.dtype)
            x = x + self.from_place(features).unflatten(0, mask.shape)
        x = torch.where(given[..., None], x, self.null.to(x.dtype))
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        mask = torch.where(given, mask, first)
        if not self.spreads:
            return Encoding(cross=x, cross_mask=mask)
        log_length = LONGEST_LOG * torch.tanh(self.log_length(x)[..., 0].float() / LONGEST_LOG)
        return Encoding(spread=x, spread_weights=log_length.exp() * mask)

    def _rows(self, text: str) -> list[int]:
        """The rows of the embedding of a text's symbols, between edges where they are spread."""
        rows = [self.index.get(symbol, UNKNOWN) for symbol in text]
        return [*self.edges[:1], *rows, *self.edges[1:]] if rows else []

    def _count_unknown(self, texts: Sequence[str]) -> None:
        unknown = "".join(symbol for text in texts for symbol in text if symbol not in self.index)
        if unknown and not self.num_unknown:
            logger.warning(
                "the symbols %r are outside the alphabet %r: each is the unknown symbol; more are counted, not logged",
                "".join(dict.fromkeys(unknown)),
                self.config.alphabet,
            )
        self.num_unknown += len(unknown)


class SymbolBlock(nn.Module):
    """A convolution of each channel over neighboring symbols, and a gated MLP (after ConvNeXt, arXiv 2201.03545)."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.mlp = GatedMLP(width, 2 * width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps vectors [B, S, W] with a mask [B, S, 1] to vectors; what lies outside it has no effect on them."""
        seen = self.norm(x) * mask
        x = x + self.convolution(seen.transpose(1, 2)).transpose(1, 2)
        return cast(Tensor, x + self.mlp(self.mlp_norm(x)))
