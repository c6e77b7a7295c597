"""Drawing the tokens of chunk after chunk, those of a chunk in a few parallel passes.

In a pass every unknown token of the chunk is drawn, and the surest are kept (Chang et al., arXiv 2202.04200); how sure
one is says its likelihood under the digit head, which is exact. A token has one random number for all passes, so one
that is put off is drawn again from the same quantile: unlikely tokens come late, but they do come.

Shape letters: B batch, G branches of the guidance, R rows (B * G, the branches of an item in a row), C chunks, N tokens
of a chunk, K digits of a frame, W width.
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
from ..parts.request import SampleRequest
from .digits import digits_to_tokens
from .sampling import DigitSampling, known_digits
from .set_context import SetContext

if TYPE_CHECKING:
    from .set_lm import TokenSetLM

Order = Literal["confidence", "random", "in_order"]
Schedule = Literal["cosine", "linear"]


@dataclass(frozen=True, kw_only=True)
class SetSampling(DigitSampling):
    """Options of `TokenSetLM.sample`."""

    num_passes: int = option(12, "Passes of the network over each chunk.", name="passes")
    order: Order = option("confidence", "Which tokens of a chunk are kept first: the surest, random ones, or in order.")
    schedule: Schedule = option("cosine", "How many tokens a pass keeps: few at first (cosine), or as many in each.")
    choice_temperature: float = option(0.0, "Noise on how sure a token is, which falls to 0 in the last pass.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_passes < 1:
            raise ValueError(f"num_passes must be at least 1, got {self.num_passes}")
        if not (math.isfinite(self.choice_temperature) and self.choice_temperature >= 0):
            raise ValueError(f"choice_temperature must be 0 or more, got {self.choice_temperature}")

    def known_after(self, number: int, passes: int, unknown: Tensor) -> Tensor:
        """Returns how many of the tokens that were unknown are known after a pass.

        Args:
            number: of the pass, 1 ... `passes`.
            passes: passes in all.
            unknown: [B] tokens that were unknown before the first pass.

        Returns:
            [B] int64, all of them after the last pass; so many that one for each pass that follows is enough.
        """
        done = number / passes
        share = 1.0 - math.cos(0.5 * math.pi * done) if self.schedule == "cosine" else done
        count = (unknown * share - 1e-6).ceil().long()
        return torch.maximum(count, unknown - (passes - number)).clamp_max(unknown)


def sample_sets(
    model: TokenSetLM,
    request: SampleRequest,
    options: SetSampling,
    *,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns tokens [B, T', Q] int64, zero beyond each item's own frames; given ones are kept as they are.

    Args:
        model: the network.
        request: conditions and lengths of the B items, and which chunks are given. With a noise level, that share of
            their tokens is not.
        options: of the sampler.
        generator: source of all randomness.
        callback: called with (chunks done, chunks in all).

    Raises:
        ValueError: given tokens of another codec or out of range, or an item longer than the context.
    """
    spec = model.binding.spec
    size, most = spec.chunk_tokens, max(request.num_chunks)
    if most * size > model.settings.max_frames:
        raise ValueError(
            f"{most} chunks of {size} tokens do not fit the context of {model.settings.max_frames} token frames "
            f"(max_frames): ask for at most {model.longest_s:.2f} s, or continue in several calls"
        )
    known = known_digits(model, request).unflatten(1, (most, size))  # [B, C, N, K]
    seeds = [draw_seed(generator) for _ in range(len(request))]
    chunks = range(most)
    uniform = draw_uniform_sets(seeds, chunks, known.shape[2:], known.device, keyed="digits")
    keep = request.keep.to(known.device)
    if request.noise_level:
        again = draw_uniform_sets(seeds, chunks, (size, 1), known.device, keyed="noise") < request.noise_level
        known = known.masked_fill(again, -1)
        keep = torch.zeros_like(keep)  # no chunk is given as a whole
    noise = draw_uniform_sets(seeds, chunks, (size,), known.device, keyed="choice")
    ended = torch.arange(most) >= torch.tensor(request.num_chunks)[:, None]
    known[ended.to(known.device)] = 0  # nothing is drawn beyond the end
    order = _making_order(keep)
    context = SetContext(model, request.conditions, options, most)
    rows = torch.arange(len(known), device=known.device)
    for rank in range(most):
        chunk = order[:, rank]
        digits = fill_chunk(context, chunk, known[rows, chunk], uniform[rows, chunk], noise[rows, chunk], options)
        known[rows, chunk] = digits
        if rank + 1 < most:
            context.write(digits, chunk)
        if callback is not None:
            callback(rank + 1, most)
    tokens = digits_to_tokens(known.flatten(1, 2), spec.levels)
    return tokens.masked_fill(ended.repeat_interleave(size, 1).to(tokens.device)[..., None], 0)


def fill_chunk(
    context: SetContext, chunk: Tensor, known: Tensor, uniform: Tensor, noise: Tensor, options: SetSampling
) -> Tensor:
    """Draws what is unknown of a chunk of each item.

    Args:
        context: of the items, which holds the chunks before.
        chunk: [B] number of the chunk of each item.
        known: [B, N, K] digits, -1 where one is unknown.
        uniform: [B, N, K] numbers in [0, 1), from which the digits are drawn.
        noise: [B, N] numbers in [0, 1), for the choice of the tokens that are kept.
        options: of the sampler.

    Returns:
        Digits [B, N, K] int64.
    """
    hidden = (known < 0).any(-1)  # [B, N]
    unknown = hidden.sum(1)
    if not unknown.any():
        return known
    passes = min(options.num_passes, int(unknown.max()))
    size = known.shape[1]
    first = torch.arange(size, 0, -1, device=known.device).expand(known.shape[:2]).float()
    for number in range(1, passes + 1):
        digits, sure = context.draw(known, chunk, uniform)
        if options.order == "in_order":
            sure = first
        elif options.order == "random":
            sure = noise
        elif options.choice_temperature:
            gumbel = -torch.log(-torch.log(noise.clamp(1e-6, 1 - 1e-6)))
            sure = sure + options.choice_temperature * (1.0 - number / passes) * gumbel
        sure = sure.masked_fill(~hidden, torch.inf)
        place = sure.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        kept = size - unknown + options.known_after(number, passes, unknown)
        chosen = (place < kept[:, None]) & (known < 0).any(-1)
        known = torch.where(chosen[..., None], digits, known)
        hidden = (known < 0).any(-1)
    return known


def _making_order(keep: Tensor) -> Tensor:
    """Returns the number of the chunk that is made at each rank, [B, C]: given ones [B, C] first."""
    return (~keep).long().argsort(dim=1, stable=True)


def draw_uniform_sets(
    seeds: Sequence[int], chunks: range, shape: Sequence[int], device: torch.device, keyed: str
) -> Tensor:
    """Returns the randomness of some chunks of the items, which depends on nothing but their seeds and numbers.

    Args:
        seeds: of the B items.
        chunks: numbers of the chunks, C.
        shape: of the numbers of a chunk.
        device: of the result.
        keyed: what the numbers are for.

    Returns:
        Numbers [B, C, *shape] in [0, 1).
    """
    like = torch.zeros((), device=device)
    rows = [[rand(shape, keyed_generator(seed, keyed, chunk), like) for chunk in chunks] for seed in seeds]
    return torch.stack([torch.stack(row) for row in rows])
