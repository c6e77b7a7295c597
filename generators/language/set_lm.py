"""A language model for codecs whose chunk is an unordered set of tokens: chunk after chunk, each in a few passes.

It is causal over chunks and sees both ways inside the chunk that is being made, as block diffusion does (Arriola et
al., arXiv 2503.09573): each chunk is computed twice, as it is, for the chunks after it, and with some of its tokens
masked, which are predicted from the others and from the chunks before. Given chunks come first in that order, wherever
they lie, so that what is between them is made to fit both sides.

Shape letters: B batch, C chunks, T' token frames, K digits of a frame, L most levels of a digit, W width, P positions
of the conditions before the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from x_transformers import Encoder

from ...core.graphs import Graph
from ...layers.rotary import rotary_for_x_transformers
from ..base import Generated, SamplingConfig
from ..conditioning import EncodedConditions
from ..conditioning.fuse import Drop
from ..conditions import Conditions, PreparedConditions
from ..parts.request import SampleRequest
from ..stream import GeneratorStream
from .config import TokenLMConfig
from .digits import check_tokens, tokens_to_digits
from .lm import TokenLM
from .set_context import SetPass
from .set_graph import pass_graphs
from .set_sampling import SetSampling, sample_sets
from .set_stream import SetStream


@dataclass(frozen=True, kw_only=True)
class TokenSetLMConfig(TokenLMConfig):
    """Sizes of a language model over sets of tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_frames != 1 or self.binding.spec.chunk_tokens < 2:
            raise ValueError(
                "a TokenSetLM makes the tokens of a chunk in parallel: it needs a codec with chunks of several tokens "
                f"(this one's have {self.binding.spec.chunk_tokens}) and patch_frames 1 (got {self.patch_frames}); "
                "take a TokenLM otherwise"
            )
        if self.ends or self.add_conditions:
            raise ValueError(
                "a TokenSetLM does not learn where items end and adds no conditions to frames: set ends and "
                "add_conditions to false, or take a TokenLM"
            )


class TokenSetLM(TokenLM):
    """Conditions, BOS, chunks of tokens; the masked tokens of a chunk are predicted at their own places."""

    config_class = TokenSetLMConfig
    objectives: ClassVar[Mapping[str, str]] = {"masked_set": ".set_objective:MaskedSetObjective"}
    sampling_class: ClassVar[type[SamplingConfig]] = SetSampling
    decoder_class: ClassVar[Any] = Encoder  # sees both ways, but for a mask

    def __init__(self, config: TokenSetLMConfig):
        super().__init__(config)
        self.set_pass = SetPass()
        self.masked = nn.Parameter(torch.randn(config.width) * config.width**-0.5)  # stands for a masked token

    @property
    def can_pack(self) -> bool:
        return False

    @property
    def compiled_parts(self) -> Sequence[nn.Module]:
        """The passes over a chunk, all of one shape when they are compiled."""
        return [self.set_pass]

    @property
    def window_chunks(self) -> int:
        """Chunks that the context holds."""
        return int(self.settings.max_frames // self.binding.spec.chunk_tokens)

    @property
    def longest_s(self) -> float:
        spec = self.binding.spec
        return self.window_chunks * spec.chunk_samples / spec.sample_rate

    def forward(  # type: ignore[override]  # of masked tokens
        self,
        tokens: Tensor,
        *,
        conditions: Conditions | PreparedConditions | EncodedConditions,
        masked: Tensor,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        drop_mask: Drop | None = None,
    ) -> Tensor:
        """Returns digit logits [B, T', K, L] float32 of tokens [B, T', Q], those of masked tokens without them.

        Args:
            tokens: [B, T', Q] int64.
            conditions: of B items.
            masked: [B, T'] bool, True where a token is hidden from its own chunk.
            keep: [B, C] bool, True where a chunk is given, so that all others see it; None: nothing is.
            mask: [B, T'] bool, True where a token is real; None: all are.
            drop_mask: see `TokenLM.forward`.

        Raises:
            ValueError: tokens of a wrong shape, out of range or longer than the context.
        """
        check_tokens(tokens, self.binding.spec)
        if tokens.shape[1] > self.settings.max_frames:
            raise ValueError(
                f"{tokens.shape[1]} token frames are more than the context of {self.settings.max_frames} "
                "(max_frames): crop the items"
            )
        real = torch.ones_like(masked) if mask is None else mask
        digits = tokens_to_digits(tokens.masked_fill(~real[..., None], 0), self.binding.spec.levels)
        start, start_mask = self.start_embeddings(self.encode_conditions(conditions, drop_mask, len(tokens)))
        x = torch.cat([start, self.embed(digits), self.embed_masked(digits, masked)], 1)
        if start_mask is None:
            start_mask = real.new_ones(start.shape[:2])
        visible = self._visible(start_mask, real, keep)
        count, frames = start.shape[1], tokens.shape[1]
        angles, scale = rotary_for_x_transformers(count + frames, self.rotary_dim, self.settings.rotary_base, x)
        rotary = torch.cat([angles, angles[:, count:]], 1), scale  # both copies of a token stand at its place
        hidden = self.decoder(x.to(self.bos.dtype), attn_mask=visible[:, None], rotary_pos_emb=rotary)
        logits: Tensor = self.head(hidden[:, count + frames :], digits)
        return logits

    def embed_masked(self, digits: Tensor, masked: Tensor) -> Tensor:
        """Returns embeddings [B, n, W] of digits [B, n, K] of whole chunks, some of them masked [B, n]."""
        places = self.embed_place(torch.arange(digits.shape[1], device=digits.device))
        x: Tensor = torch.where(masked[..., None], self.masked, self.digit_embedding(digits)) + places
        return x

    def _visible(self, start_mask: Tensor, real: Tensor, keep: Tensor | None) -> Tensor:
        """Returns the mask [B, N, N] of conditions and BOS, clean tokens and masked ones, True where one is seen."""
        size = self.binding.spec.chunk_tokens
        rank = chunk_ranks(real.new_zeros(len(real), real.shape[1] // size) if keep is None else keep)
        rank = rank.repeat_interleave(size, 1)  # [B, T']
        first = rank.new_full(start_mask.shape, -1)
        clean = torch.cat([first, rank], 1)  # keys of conditions and clean tokens
        seen = torch.cat([start_mask, real], 1)[:, None]
        to_clean = (clean[:, None] <= clean[..., None]) & seen
        to_earlier = (clean[:, None] < rank[..., None]) & seen
        among = (rank[:, None] == rank[..., None]) & real[:, None]
        upper = torch.cat([to_clean, to_clean.new_zeros(*to_clean.shape[:2], real.shape[1])], 2)
        return torch.cat([upper, torch.cat([to_earlier, among], 2)], 1)

    def graphs(self) -> list[Graph]:
        return pass_graphs(self)

    def make_items(  # type: ignore[override]  # options of its own
        self,
        request: SampleRequest,
        sampling: SetSampling,
        *,
        generator: torch.Generator | None,
        callback: Callable[[int, int], None] | None,
    ) -> Generated:
        """Samples tokens; see `LatentGenerator.make_items` and `sample_sets`.

        Any chunks can be given. With a noise level, that share of the tokens of the given chunks is drawn again, from
        the others, which stay. An item does not depend on how many are sampled with it.
        """
        tokens = sample_sets(self, request, sampling, generator=generator, callback=callback)
        return Generated(latents=None, tokens=tokens, lengths_samples=request.lengths_samples)

    def make_stream(  # type: ignore[override]  # options of its own
        self, conditions: Conditions, sampling: SetSampling, generator: torch.Generator | None
    ) -> GeneratorStream:
        return SetStream(self, conditions, sampling, generator)


def chunk_ranks(keep: Tensor) -> Tensor:
    """Returns when each chunk is made, [B, C] int64: the given ones [B, C] first, each group in the order of time."""
    given, rest = keep.long().cumsum(1) - 1, (~keep).long().cumsum(1) - 1
    return torch.where(keep, given, keep.sum(1, keepdim=True) + rest)
