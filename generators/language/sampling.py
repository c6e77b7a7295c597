"""Drawing tokens digit by digit, with guidance, given chunks and a window that moves on.

Shape letters: B batch, T' token frames, Q codebooks, K digits of all codebooks, L most levels of a digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...core.config import option
from ...core.random import draw_seed, keyed_generator, rand
from ..base import Generated, SamplingConfig
from ..parts.request import SampleRequest, lay_given
from .context import Context
from .digits import check_tokens, digits_to_tokens, tokens_to_digits
from .ends import Ends

if TYPE_CHECKING:
    from .lm import TokenLM


@dataclass(frozen=True, kw_only=True)
class DigitSampling(SamplingConfig):
    """Options of how digits are drawn."""

    temperature: float = option(1.0, "Divisor of each digit's logits; 0 takes the likeliest digit.")
    top_k: int | None = option(None, "Number of likeliest levels of each digit that are drawn from. By default all.")
    top_p: float = option(1.0, "Probability that the likeliest levels of each digit reach together; the rest is cut.")
    min_p: float = option(0.0, "Share of the likeliest level's probability below which a level is not drawn.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}: 0 takes the likeliest digit")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, or None for all levels, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must lie in [0, 1], got {self.min_p}: 0 cuts nothing")


@dataclass(frozen=True, kw_only=True)
class TokenSampling(DigitSampling):
    """Options of `TokenLM.sample`."""

    stop: bool = option(
        True,
        "Whether an item ends where a generator that learned ends (model.config.ends) expects it; the length that is "
        "asked for is then the longest. Streams have no end.",
    )
    repetition_penalty: float = option(
        1.0, "Divisor of the probability of what occurred lately, once for each time that it did; 1 turns it off."
    )
    repetition_window: int = option(64, "Token frames before the present one in which occurrences count.")
    repetition_of: Literal["token", "digit"] = option(
        "token", "What occurrences are of: whole tokens of a codebook, or single digits, which is much stronger."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty >= 1):
            raise ValueError(f"repetition_penalty must be 1 or more, got {self.repetition_penalty}: 1 turns it off")
        if self.repetition_window < 1:
            raise ValueError(
                f"repetition_window must be at least 1 token frame, got {self.repetition_window}: set "
                "repetition_penalty to 1 to turn it off"
            )


def sample_tokens(
    model: TokenLM,
    request: SampleRequest,
    options: TokenSampling,
    *,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Generated:
    """Returns tokens [B, T', Q] int64, zero beyond each item's own frames, and lengths; given tokens are kept.

    Args:
        model: the network.
        request: conditions and lengths of the B items, and which chunks are given.
        options: of the sampler.
        generator: source of all randomness.
        callback: called with (frames done, frames in all).

    Raises:
        ValueError: given tokens of another codec or out of range, given chunks that are not the first ones, or a noise
            level above 0.
    """
    spec = model.binding.spec
    if request.noise_level:
        raise ValueError(
            f"noise_level is {request.noise_level}, but tokens carry no noise: give them as they are, or use a "
            "diffusion generator to vary a recording"
        )
    if (request.keep[:, 1:] & ~request.keep[:, :-1]).any():
        raise ValueError(
            "a token language model draws each token from those before it, so only the first chunks of an item can be "
            "given: keep no chunk after one that is to be sampled, or use a diffusion generator with attention full"
        )
    patch, device = model.settings.patch_frames, model.device
    frames = torch.tensor(request.num_chunks) * spec.chunk_tokens
    patches = [-(-count // patch) for count in frames.tolist()]
    begins = (request.keep.sum(1) * spec.chunk_tokens // patch).tolist()
    known = known_digits(model, request)
    seeds = [draw_seed(generator) for _ in range(len(request))]
    first = min(begins)
    uniform = draw_uniform(model, seeds, range(first, max(patches)))
    order = sorted(range(len(request)), key=lambda item: -patches[item])  # those that end first leave last rows
    ends = Ends(len(request), spec.chunk_tokens, patch, device) if model.settings.ends and options.stop else None
    drawn = torch.empty_like(known)
    drawn[order] = _draw_all(
        model,
        Context(model, request.conditions.rows(order), options, max(patches)),
        [patches[item] for item in order],
        first,
        uniform[order],
        known[order],
        ends,
        callback,
    )
    lengths = request.lengths_samples
    if ends is not None:
        chunks = torch.empty(len(request), dtype=torch.int64)
        chunks[order] = ends.chunks(torch.tensor(request.num_chunks)[order])
        lengths = lengths.minimum(chunks * spec.chunk_samples)
        frames = chunks * spec.chunk_tokens
    tokens = digits_to_tokens(model.to_frames(drawn)[:, : int(frames.max())], spec.levels)
    beyond = (torch.arange(tokens.shape[1]) >= frames[:, None]).to(device)
    return Generated(latents=None, tokens=tokens.masked_fill(beyond[..., None], 0), lengths_samples=lengths)


def draw_uniform(model: TokenLM, seeds: Sequence[int], patches: range) -> Tensor:
    """Returns the randomness of some patches of the items, which depends on nothing but their seeds and numbers.

    Args:
        model: the language model.
        seeds: of the B items.
        patches: numbers of the patches, at least one.

    Returns:
        Numbers [B, n, C K] in [0, 1).
    """
    spec, patch = model.binding.spec, model.settings.patch_frames
    shape = spec.chunk_tokens, sum(len(levels) for levels in spec.levels)
    like = torch.zeros((), device=model.device)
    begin, end = patches.start * patch, patches.stop * patch  # in token frames
    chunks = range(begin // spec.chunk_tokens, -(-end // spec.chunk_tokens))
    rows = [torch.cat([rand(shape, keyed_generator(seed, chunk), like) for chunk in chunks]) for seed in seeds]
    before = begin - chunks.start * spec.chunk_tokens
    return model.to_patches(torch.stack(rows)[:, before : before + end - begin])


def _draw_all(
    model: TokenLM,
    context: Context,
    patches: list[int],
    first: int,
    uniform: Tensor,
    known: Tensor,
    ends: Ends | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns digits [B, n, K] of items of so many patches each, the longest first.

    Items of full length are computed no longer, except by a compiled step, whose shapes stay. Those that `ends` stops
    are computed until the last one stops.
    """
    digits, num_patches = known.clamp_min(0), patches[0]
    given = (known >= 0).any(2).any(0).tolist()  # whether anything is given of a patch
    context.feed(digits[:, :first])
    for patch in range(first, num_patches):
        active = sum(end > patch for end in patches)
        count = len(patches) if model.step.is_compiled else active
        digits[:count, patch] = context.draw(
            uniform[:count, patch - first], known[:count, patch] if given[patch] else None
        )
        if ends is not None and context.end_logits is not None:
            ends.see(patch, context.end_logits, given=(known[:count, patch] >= 0).all(-1))
            if ends.have_ended(active):
                break
        if callback is not None:
            callback(patch + 1 - first, num_patches - first)
    return digits


def known_digits(model: TokenLM, request: SampleRequest) -> Tensor:
    """Returns digits [B, n, C K] of patches with the given ones in place and -1 elsewhere.

    Args:
        model: the language model.
        request: of B items.

    Raises:
        ValueError: given tokens of another codec or out of range.
    """
    spec = model.binding.spec
    shape = (len(request), request.keep.shape[1] * spec.chunk_tokens, sum(len(levels) for levels in spec.levels))
    known = torch.full(shape, -1, dtype=torch.int64, device=model.device)
    if request.encoded is not None:
        check_tokens(request.encoded.tokens, spec)
        digits = tokens_to_digits(request.encoded.tokens, spec.levels)
        given, where = lay_given(digits, request.keep, spec.chunk_tokens, known)
        known = given.masked_fill(~where[..., None], -1)
    return model.to_patches(known + 1) - 1  # so that what fills up the last patch is not known
