"""Drawing tokens digit by digit, with guidance, given chunks and a window that moves on.

Shape letters: B batch, T' token frames, Q codebooks, K digits of all codebooks, L most levels of a digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.config import option
from ...core.random import draw_seed, keyed_generator, rand
from ...tokenizers.base import Encoded
from ..base import SamplingConfig
from ..conditions import Conditions
from ..parts.request import SampleRequest, lay_given
from .context import Context
from .digits import check_tokens, digits_to_tokens, tokens_to_digits

if TYPE_CHECKING:
    from .lm import TokenLM


@dataclass(frozen=True, kw_only=True)
class TokenSampling(SamplingConfig):
    """Options of `TokenLM.sample`."""

    temperature: float = option(1.0, "Divisor of each digit's logits; 0 takes the likeliest digit.")
    top_k: int | None = option(None, "Number of likeliest levels of each digit that are drawn from. By default all.")
    top_p: float = option(1.0, "Probability that the likeliest levels of each digit reach together; the rest is cut.")
    use_cache: bool = option(True, "Keep keys and values of the past. Without it the result takes longer.", hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}: 0 takes the likeliest digit")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, or None for all levels, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")


def draw_digit(logits: Tensor, uniform: Tensor, options: TokenSampling) -> Tensor:
    """Draws digits by inversion of the filtered distribution, which lets the caller draw all randomness beforehand.

    Args:
        logits: [B, L].
        uniform: [B] numbers in [0, 1), one per item.
        options: temperature, `top_k` and `top_p`.

    Returns:
        Digits [B] int64.
    """
    if options.temperature == 0:
        return logits.argmax(-1)
    # float64, so that a sum of probabilities never falls short of a uniform number below 1
    probabilities = torch.softmax(logits.double() / options.temperature, -1)
    ordered, levels = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    keep = before < options.top_p
    if options.top_k is not None:
        keep[..., options.top_k :] = False
    cumulative = (ordered * keep).cumsum(-1)
    target = uniform.double()[:, None] * cumulative[:, -1:]
    place = (cumulative <= target).sum(-1, keepdim=True).clamp_max(logits.shape[-1] - 1)
    return levels.gather(-1, place).squeeze(-1)


@torch.no_grad()
def sample_tokens(
    model: TokenLM,
    conditions: Conditions,
    request: SampleRequest,
    options: TokenSampling,
    *,
    encoded: Encoded | None,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns tokens [B, T', Q] int64, zero beyond each item's own frames; given ones are kept as they are.

    Args:
        model: the network.
        conditions: of the B items.
        request: their lengths and which chunks are given.
        options: of the sampler.
        encoded: the given audio, of 1 or B items; None where nothing is given.
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
    frames = torch.tensor(request.num_chunks) * spec.chunk_tokens
    known = request.keep.sum(1) * spec.chunk_tokens
    num_frames, first = int(frames.max()), int(known.min())
    digits = _known_digits(model, request, encoded, num_frames)
    seeds = [draw_seed(generator) for _ in range(len(request))]
    chunks = range(first // spec.chunk_tokens, num_frames // spec.chunk_tokens)
    uniform = draw_uniform(model, seeds, chunks)
    is_known = (torch.arange(num_frames) < known[:, None]).to(model.device)
    context = Context(model, conditions, options)
    for frame in range(first, num_frames):
        hidden = context.hidden(digits[:, :frame])
        drawn = draw_frame(model, hidden, context.weights, uniform[:, frame - first], options)
        digits[:, frame] = torch.where(is_known[:, frame, None], digits[:, frame], drawn)
        if callback is not None:
            callback(frame + 1 - first, num_frames - first)
    tokens = digits_to_tokens(digits, spec.levels)
    return tokens.masked_fill((torch.arange(num_frames) >= frames[:, None]).to(tokens.device)[..., None], 0)


def draw_uniform(model: TokenLM, seeds: Sequence[int], chunks: range) -> Tensor:
    """Returns the randomness of some chunks of the items, which depends on nothing but their seeds and numbers.

    Args:
        model: the language model.
        seeds: of the B items.
        chunks: numbers of the chunks.

    Returns:
        Numbers [B, frames of these chunks, K] in [0, 1).
    """
    spec = model.binding.spec
    shape = spec.chunk_tokens, sum(len(levels) for levels in spec.levels)
    like = torch.zeros((), device=model.device)
    rows = [torch.cat([rand(shape, keyed_generator(seed, chunk), like) for chunk in chunks]) for seed in seeds]
    return torch.stack(rows)


def draw_frame(
    model: TokenLM, hidden: Tensor, weights: tuple[float, ...], uniform: Tensor, options: TokenSampling
) -> Tensor:
    """Draws the digits of one frame.

    Args:
        model: the language model.
        hidden: [G * B, W] hidden states of G branches.
        weights: of the branches.
        uniform: [B, K] numbers in [0, 1).
        options: temperature, `top_k` and `top_p`.

    Returns:
        Digits [B, K].
    """
    state = model.head.start(hidden)
    count, drawn = len(weights), []
    for k in range(uniform.shape[-1]):
        logits = model.head.next_logits(state, k)
        if count > 1:
            branches = torch.log_softmax(logits, -1).unflatten(0, (count, -1))  # [G, B, L]
            logits = torch.tensordot(branches.new_tensor(weights), branches, 1)
        digit = draw_digit(logits, uniform[:, k], options)
        drawn.append(digit)
        state = state + model.head.earlier.one(digit.repeat(count), k)
    return torch.stack(drawn, -1)


def _known_digits(model: TokenLM, request: SampleRequest, encoded: Encoded | None, num_frames: int) -> Tensor:
    """Returns digits [B, T', K] with the given ones in place and zero elsewhere."""
    spec = model.binding.spec
    num_digits = sum(len(levels) for levels in spec.levels)
    digits = torch.zeros(len(request), num_frames, num_digits, dtype=torch.int64, device=model.device)
    if encoded is None:
        return digits
    check_tokens(encoded.tokens, spec)
    known, _ = lay_given(tokens_to_digits(encoded.tokens, spec.levels), request.keep, spec.chunk_tokens, digits)
    return known
