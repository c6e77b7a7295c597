"""A language model over the token stream of any FSQ codec, on x-transformers' decoder.

Shape letters: B batch, T' token frames, Q codebooks, K digits of all codebooks, L most levels of a digit, W width,
P positions of the conditions before the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from x_transformers import Decoder

from ...core.config import option
from ...layers.rotary import rotary_for_x_transformers
from ..base import Generated, LatentGenerator, SamplingConfig, TokenizerBinding, TrainedOn
from ..conditioning import ConditionEncoder, ConditioningConfig, EncodedConditions
from ..conditioning.fuse import Drop
from ..conditions import Conditions, PreparedConditions
from ..given import Given
from ..parts.packing import Packing
from ..parts.request import check_request
from ..stream import GeneratorStream
from .digits import DigitEmbedding, DigitHead, check_tokens, tokens_to_digits
from .documents import decode_documents, serve_documents
from .sampling import TokenSampling, sample_tokens
from .stream import TokenStream


@dataclass(frozen=True, kw_only=True)
class TokenLMConfig:
    """Sizes of a token language model."""

    binding: TokenizerBinding = option(help="Codec whose tokens are modelled. Training fills it in.")
    width: int = option(512, "Width of the network.")
    depth: int = option(12, "Number of transformer layers.")
    heads: int = option(8, "Number of attention heads.")
    mlp_ratio: float = option(2.75, "Hidden width of the gated MLP, in units of the width.")
    digit_width: int = option(128, "Width of the small network that gives the digits of a token one after the other.")
    conditioning: ConditioningConfig = option(factory=ConditioningConfig, help="Conditions that can be asked for.")
    max_frames: int = option(
        4096, "Length of the context in token frames. Longer items are sampled with a window that moves on."
    )
    rotary_base: float = option(10_000.0, "Base of the rotary positions.")
    trained_on: TrainedOn = option(factory=TrainedOn, help="Facts about the training data. Training fills them in.")

    def __post_init__(self) -> None:
        sizes = (self.width, self.depth, self.heads, self.digit_width)
        if min(sizes) < 1 or self.mlp_ratio <= 0:
            raise ValueError("width, depth, heads, mlp_ratio and digit_width must be positive")
        if self.width % self.heads or self.width // self.heads % 4:
            raise ValueError(f"heads {self.heads} must divide width {self.width} into multiples of 4")
        if self.max_chunks < 1:
            raise ValueError(
                f"max_frames must hold a chunk of {self.binding.spec.chunk_tokens} tokens, got {self.max_frames}"
            )

    @property
    def max_chunks(self) -> int:
        """Whole chunks of the context."""
        return self.max_frames // self.binding.spec.chunk_tokens


class TokenLM(LatentGenerator):
    """Conditions, BOS, tokens: each position predicts the digits of the next token (see `digits`).

    A token's input is the sum of its digits' embeddings and that of its index inside its chunk.
    """

    config_class = TokenLMConfig
    objectives: ClassVar[Mapping[str, str]] = {"next_token": ".objective:NextTokenObjective"}
    sampling_class: ClassVar[type[SamplingConfig]] = TokenSampling
    adapted_layers: ClassVar[str] = "decoder."
    settings: TokenLMConfig
    stream: Literal["latents", "tokens"] = "tokens"

    def __init__(self, config: TokenLMConfig):
        super().__init__(config)
        spec, width = config.binding.spec, config.width
        digit_levels = [size for levels in spec.levels for size in levels]
        # half of each head turns, as is x-transformers' default: cached keys are rotated again at each step
        self.rotary_dim = width // config.heads // 2
        self.condition_encoder = ConditionEncoder(config.conditioning)
        if self.condition_encoder.gives_frames:
            raise ValueError("a token language model cannot use conditions that change within an item")
        self.from_global = nn.Linear(config.conditioning.width, width)
        self.from_condition = nn.Linear(config.conditioning.width, width) if self.condition_encoder.num_tokens else None
        self.bos = nn.Parameter(torch.randn(width) * width**-0.5)
        self.digit_embedding = DigitEmbedding(digit_levels, width)
        self.chunk_position = nn.Parameter(torch.randn(spec.chunk_tokens, width) * width**-0.5)
        self.decoder = Decoder(
            dim=width,
            depth=config.depth,
            heads=config.heads,
            attn_dim_head=width // config.heads,
            attn_flash=True,
            attn_qk_rmsnorm=True,
            use_rmsnorm=True,
            ff_mult=config.mlp_ratio,
            ff_glu=True,
            ff_swish=True,
            ff_no_bias=True,
        )
        serve_documents(self.decoder)
        self.head = DigitHead(width, digit_levels, config.digit_width)

    @property
    def can_pack(self) -> bool:
        return True

    @property
    def repeated_blocks(self) -> Sequence[nn.Module]:
        return [layer for _, layer, _ in self.decoder.layers]

    def forward(
        self,
        tokens: Tensor,
        *,
        conditions: Conditions | PreparedConditions | EncodedConditions,
        mask: Tensor | None = None,
        drop_mask: Drop | None = None,
    ) -> Tensor:
        """Returns digit logits [B, T', K, L] float32 of tokens [B, T', Q], each given the tokens before it.

        Where items are packed, the logits of padding are zero.

        Args:
            tokens: [B, T', Q] int64.
            conditions: of B items; they are encoded here unless they are, so that data-parallel wrappers see those
                weights used.
            mask: [B, T'] bool, True where a token is real; the others, which come last, may hold anything.
            drop_mask: [B] bool, True where the conditions are replaced by "not given"; or such masks by condition.

        Raises:
            ValueError: tokens of a wrong shape, out of range or longer than the context.
        """
        check_tokens(tokens, self.binding.spec)
        if tokens.shape[1] > self.settings.max_frames:
            raise ValueError(
                f"{tokens.shape[1]} token frames are more than the context of {self.settings.max_frames} "
                "(max_frames): crop the items"
            )
        if mask is not None:
            tokens = tokens.masked_fill(~mask[..., None], 0)
        digits = tokens_to_digits(tokens, self.binding.spec.levels)
        encoded: EncodedConditions = (
            conditions if isinstance(conditions, EncodedConditions) else self.condition_encoder(conditions, drop_mask)
        )
        if len(encoded) != len(tokens):
            raise ValueError(f"{len(tokens)} items, but {len(encoded)} conditions")
        start, start_mask = self.start_embeddings(encoded)
        x = torch.cat([start, self.embed(digits[:, :-1])], 1)
        if self.packed and mask is not None:
            return self._packed_logits(x, start_mask, mask, digits)
        logits: Tensor = self.head(self.attend(x, start_mask)[:, start.shape[1] - 1 :], digits)
        return logits

    def _packed_logits(self, x: Tensor, start_mask: Tensor | None, mask: Tensor, digits: Tensor) -> Tensor:
        """Returns digit logits [B, T', K, L] of a sequence of embeddings [B, n, W], computed for what is real alone.

        Args:
            x: [B, n, W] embeddings of conditions, BOS and all tokens but the last.
            start_mask: [B, P + 1] bool of the first embeddings; None: all are real.
            mask: [B, T'] bool of the tokens.
            digits: [B, T', K] of the tokens.
        """
        count = x.shape[1] - mask.shape[1] + 1  # P + 1
        start = mask.new_ones(len(mask), count) if start_mask is None else start_mask
        packing, tokens = Packing.of(torch.cat([start, mask[:, 1:]], 1)), Packing.of(mask)
        angles, scale = rotary_for_x_transformers(x.shape[1], self.rotary_dim, self.settings.rotary_base, x)
        rotary = packing.pack(angles), scale
        hidden = decode_documents(self.decoder, packing.pack(x.to(self.bos.dtype)), packing.lengths, rotary)
        before = packing.unpack(hidden)[:, count - 1 :]  # of what comes before each token
        return tokens.unpack(self.head(tokens.pack(before), tokens.pack(digits)))

    def start_embeddings(self, conditions: EncodedConditions) -> tuple[Tensor, Tensor | None]:
        """Returns the embeddings [B, P + 1, W] before the first token, BOS last; and their mask if one is ragged."""
        parts = [self.from_global(conditions.global_vector).unsqueeze(1)]
        if self.from_condition is not None:
            parts.append(self.from_condition(conditions.tokens))
        parts.append(self.bos.to(parts[0].dtype).expand(len(conditions), 1, -1))
        mask = None if conditions.mask is None else nn.functional.pad(conditions.mask, (1, 1), value=True)
        return torch.cat(parts, 1), mask

    def embed(self, digits: Tensor, first_frame: int = 0) -> Tensor:
        """Returns embeddings [B, n, W] of digits [B, n, K]; `first_frame` counts from the start of a chunk."""
        frames = torch.arange(first_frame, first_frame + digits.shape[1], device=digits.device)
        x: Tensor = self.digit_embedding(digits) + self.chunk_position[frames % len(self.chunk_position)]
        return x

    def attend(self, x: Tensor, start_mask: Tensor | None) -> Tensor:
        """Returns hidden states [B, n, W] of a whole sequence of embeddings [B, n, W]."""
        hidden, _ = self.attend_cached(x, start_mask, None)
        return hidden

    def attend_cached(self, x: Tensor, start_mask: Tensor | None, cache: Any | None) -> tuple[Tensor, Any]:
        """Returns hidden states [B, n, W] of embeddings that follow what a cache holds, and the cache with them added.

        Args:
            x: [B, n, W] embeddings.
            start_mask: [B, P + 1] bool of the first embeddings, True where one is real; None: all are.
            cache: of the call before; None at the start.
        """
        total = x.shape[1] + (cache.cache_length if cache is not None else 0)
        seen = None
        if start_mask is not None:
            seen = nn.functional.pad(start_mask, (0, total - start_mask.shape[1]), value=True)
        hidden, cache = self.decoder(
            x.to(self.bos.dtype),
            self_attn_kv_mask=seen,
            rotary_pos_emb=rotary_for_x_transformers(total, self.rotary_dim, self.settings.rotary_base, x),
            cache=cache,
            cache_age=x.shape[1],
            return_hiddens=True,
        )
        return hidden, cache

    @property
    def compiled_parts(self) -> Sequence[nn.Module]:
        """None: the length of the cache, and so the graph, is another one in each step."""
        return ()

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
        """Samples tokens; see `LatentGenerator.sample`.

        Randomness is drawn item after item, so an item does not depend on how many are sampled with it. Only the first
        chunks of an item can be given, since each token is drawn from those before it.

        Raises:
            ValueError: see `check_request`, `ConditionEncoder.request` and `sample_tokens`.
            TypeError: lengths that are not integers, or sampling options of another kind of generator.
        """
        options: TokenSampling = self.check_sampling(sampling)
        request = check_request(self.binding.spec, conditions, lengths_samples, given)
        self.condition_encoder.request(conditions)  # refuses what cannot be asked for, before anything is computed
        tokens = sample_tokens(
            self,
            conditions,
            request,
            options,
            encoded=None if given is None else given.encoded,
            generator=generator,
            callback=callback,
        )
        return Generated(latents=None, tokens=tokens, lengths_samples=request.lengths_samples)

    def open_stream(
        self,
        conditions: Conditions,
        *,
        sampling: SamplingConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> GeneratorStream:
        """Returns an endless stream of tokens; see `LatentGenerator.open_stream`.

        Raises:
            ValueError: see `ConditionEncoder.request`.
            TypeError: sampling options of another kind of generator.
        """
        options: TokenSampling = self.check_sampling(sampling)
        self.condition_encoder.request(conditions)
        return TokenStream(self, conditions, options, generator)
