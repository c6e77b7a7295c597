"""A language model over the token stream of any FSQ codec, on x-transformers' decoder.

Shape letters: B batch, T' token frames, Q codebooks, K digits of all codebooks, L most levels of a digit, W width,
P positions of the conditions before the sequence, n patches of C token frames each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from x_transformers import Decoder

from ...core.graphs import Graph
from ...layers.rotary import rotary_for_x_transformers
from ..base import Generated, LatentGenerator, SamplingConfig
from ..conditioning import ConditionEncoder, EncodedConditions
from ..conditioning.fuse import Drop
from ..conditions import Conditions, PreparedConditions
from ..parts.packing import Packing
from ..parts.prefix import left_padded
from ..parts.request import SampleRequest
from ..stream import GeneratorStream
from .config import TokenLMConfig
from .digits import DigitEmbedding, DigitHead, check_tokens, tokens_to_digits
from .documents import decode_documents, serve_documents
from .ends import EndHead
from .graph import step_graphs
from .sampling import TokenSampling, sample_tokens
from .step import SamplingStep
from .stream import TokenStream
from .weights import PackedWeights


class TokenLM(LatentGenerator):
    """Conditions, BOS, tokens: each position predicts the digits of the next patch of tokens (see `digits`).

    A patch is `patch_frames` token frames, whose digits are set end to end: one frame with more digits. Its input is
    the sum of its digits' embeddings and that of its index inside its chunk.
    """

    config_class = TokenLMConfig
    objectives: ClassVar[Mapping[str, str]] = {"next_token": ".objective:NextTokenObjective"}
    sampling_class: ClassVar[type[SamplingConfig]] = TokenSampling
    adapted_layers: ClassVar[str] = "decoder."
    decoder_class: ClassVar[Any] = Decoder
    settings: TokenLMConfig
    stream: Literal["latents", "tokens"] = "tokens"

    def __init__(self, config: TokenLMConfig):
        super().__init__(config)
        spec, width = config.binding.spec, config.width
        digit_levels = [size for levels in spec.levels for size in levels] * config.patch_frames
        # half of each head turns, as is x-transformers' default
        self.rotary_dim = width // config.heads // 2
        self.condition_encoder = ConditionEncoder(config.conditioning)
        self.condition_encoder.refuse_frames("a token language model")
        self.from_global = nn.Linear(config.conditioning.width, width)
        self.from_condition = nn.Linear(config.conditioning.width, width) if self.condition_encoder.num_tokens else None
        if config.add_conditions:
            self.to_every_frame = nn.Linear(config.conditioning.width, width)
        self.bos = nn.Parameter(torch.randn(width) * width**-0.5)
        self.digit_embedding = DigitEmbedding(digit_levels, width)
        self.chunk_position = nn.Parameter(torch.randn(spec.chunk_tokens, width) * width**-0.5)
        self.decoder = self.decoder_class(
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
        if config.ends:
            self.end_head = EndHead(width)
        self.step, self.packed_weights = SamplingStep(), PackedWeights()

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
        with_ends: bool = False,
    ) -> Any:
        """Returns digit logits [B, T', K, L] float32 of tokens [B, T', Q], each given the tokens before it.

        Where items are packed, the logits of padding are zero. With `with_ends`, also the logits [B, n] float32 that a
        patch is the last of its item, given the patches before it.

        Args:
            tokens: [B, T', Q] int64.
            conditions: of B items; they are encoded here unless they are, so that data-parallel wrappers see those
                weights used.
            mask: [B, T'] bool, True where a token is real; the others, which come last, may hold anything.
            drop_mask: [B] bool, True where the conditions are replaced by "not given"; or such masks by condition.
            with_ends: whether to give both; for a config with `ends`.

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
        digits = self.to_patches(tokens_to_digits(tokens, self.binding.spec.levels))
        encoded = self.encode_conditions(conditions, drop_mask, len(tokens))
        start, start_mask = self.start_embeddings(encoded)
        past, added = self.embed(digits[:, :-1]), self.added_to_frames(encoded)
        x = torch.cat([start, past if added is None else past + added.unsqueeze(1)], 1)
        if self.packed and mask is not None:
            real = F.pad(mask, (0, -mask.shape[1] % self.settings.patch_frames))
            patches = real.unflatten(1, (digits.shape[1], -1)).any(-1)
            hidden = self._packed_states(x, start_mask, patches)
            packing = Packing.of(patches)
            logits = packing.unpack(self.head(packing.pack(hidden), packing.pack(digits)))
        else:
            hidden = self.attend(x, start_mask)[:, start.shape[1] - 1 :]
            logits = self.head(hidden, digits)
        logits = self.to_frames(logits)[:, : tokens.shape[1]]
        return (logits, self.end_head(hidden)) if with_ends else logits

    def to_patches(self, digits: Tensor) -> Tensor:
        """Returns the digits [B, n, C K] of patches of digits [B, T', K], the last one filled up with zeros."""
        padded = F.pad(digits, (0, 0, 0, -digits.shape[1] % self.settings.patch_frames))
        patches: Tensor = padded.unflatten(1, (-1, self.settings.patch_frames)).flatten(2)
        return patches

    def to_frames(self, patches: Tensor) -> Tensor:
        """Returns what digits of patches [B, n, C K, ...] have as that of token frames [B, n C, K, ...]."""
        frames: Tensor = patches.unflatten(2, (self.settings.patch_frames, -1)).flatten(1, 2)
        return frames

    def _packed_states(self, x: Tensor, start_mask: Tensor | None, mask: Tensor) -> Tensor:
        """Returns the hidden states [B, n, W] before each patch, computed for what is real alone.

        Args:
            x: [B, P + n, W] embeddings of conditions, BOS and all patches but the last.
            start_mask: [B, P + 1] bool of the first embeddings; None: all are real.
            mask: [B, n] bool of the patches.
        """
        count = x.shape[1] - mask.shape[1] + 1  # P + 1
        start = mask.new_ones(len(mask), count) if start_mask is None else start_mask
        packing = Packing.of(torch.cat([start, mask[:, 1:]], 1))
        angles, scale = rotary_for_x_transformers(x.shape[1], self.rotary_dim, self.settings.rotary_base, x)
        rotary = packing.pack(angles), scale
        hidden = decode_documents(self.decoder, packing.pack(x.to(self.bos.dtype)), packing.lengths, rotary)
        return packing.unpack(hidden)[:, count - 1 :]

    def start_embeddings(self, conditions: EncodedConditions) -> tuple[Tensor, Tensor | None]:
        """Returns the embeddings [B, P + 1, W] before the first token, BOS last; and their mask if one is ragged."""
        parts = [self.from_global(conditions.global_vector).unsqueeze(1)]
        if self.from_condition is not None:
            parts.append(self.from_condition(conditions.tokens))
        bos, added = self.bos.to(parts[0].dtype).expand(len(conditions), 1, -1), self.added_to_frames(conditions)
        parts.append(bos if added is None else bos + added.unsqueeze(1))
        mask = None if conditions.mask is None else F.pad(conditions.mask, (1, 1), value=True)
        return left_padded(torch.cat(parts, 1), mask)

    def added_to_frames(self, conditions: EncodedConditions) -> Tensor | None:
        """Returns what `add_conditions` adds to the embeddings of BOS and all patches, [B, W]; None: nothing."""
        return self.to_every_frame(conditions.global_vector) if self.settings.add_conditions else None

    def embed(self, digits: Tensor, first_patch: int = 0) -> Tensor:
        """Returns embeddings [B, n, W] of digits [B, n, C K]; `first_patch` counts from the start of a chunk."""
        patches = torch.arange(first_patch, first_patch + digits.shape[1], device=digits.device)
        x: Tensor = self.digit_embedding(digits) + self.embed_place(patches)
        return x

    def embed_place(self, patch: Tensor | int) -> Tensor:
        """Returns the embeddings [..., W] of the places of patches [...] inside their chunks."""
        return self.chunk_position[patch * self.settings.patch_frames % len(self.chunk_position)]

    def attend(self, x: Tensor, start_mask: Tensor | None) -> Tensor:
        """Returns hidden states [B, N, W] of a whole sequence of embeddings [B, N, W].

        Args:
            x: embeddings.
            start_mask: [B, P + 1] bool of the first embeddings, True where one is real; None: all are.
        """
        seen = None
        if start_mask is not None:
            seen = F.pad(start_mask, (0, x.shape[1] - start_mask.shape[1]), value=True)
        rotary = rotary_for_x_transformers(x.shape[1], self.rotary_dim, self.settings.rotary_base, x)
        hidden: Tensor = self.decoder(x.to(self.bos.dtype), self_attn_kv_mask=seen, rotary_pos_emb=rotary)
        return hidden

    def graphs(self) -> list[Graph]:
        return step_graphs(self)

    @property
    def compiled_parts(self) -> Sequence[nn.Module]:
        """The step of sampling. (Training compiles the call of the whole network.)"""
        return [self.step]

    def make_items(
        self,
        request: SampleRequest,
        sampling: TokenSampling,
        *,
        generator: torch.Generator | None,
        callback: Callable[[int, int], None] | None,
    ) -> Generated:
        """Samples tokens; see `LatentGenerator.make_items` and `sample_tokens`.

        Randomness is drawn item after item, so an item does not depend on how many are sampled with it. Only the first
        chunks of an item can be given, since each token is drawn from those before it.
        """
        return sample_tokens(self, request, sampling, generator=generator, callback=callback)

    def make_stream(
        self, conditions: Conditions, sampling: TokenSampling, generator: torch.Generator | None
    ) -> GeneratorStream:
        return TokenStream(self, conditions, sampling, generator)
