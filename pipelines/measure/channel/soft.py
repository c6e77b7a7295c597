"""Soft decoding: the mean of everything that may have been sent, in place of the word that was received.

A posterior over the levels of each word follows from the received bits, the probability that each of them is wrong,
and a prior. The mean code value under it goes through the codec's continuous stream. The decoder needs no change: it
sees values between its levels, nearer to the prior's mean the less a word can be trusted. Natural binary of 2**n
evenly spaced and evenly used levels is a sum of its bits, so that its mean is the received value, shrunk by 1 - 2 P.
Gray code, a prior, and probabilities that differ from bit to bit give more than that.

Shape letters: T token frames, K chunks, P token frames of a chunk, W words of a frame, L levels of a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....core.random import keyed_generator
from ....layers.fsq import latents_to_values, values_to_latents
from ....tokenizers.base import AudioTokenizer
from .channel import Received
from .labelling import Labelling

MAX_LEVELS = 2**14  # of a word over which a posterior is written out
LEAST_FLIP = 1e-12  # of the flip probability, so that a word that cannot occur still has a nearest one
PROBE_TOLERANCE = 1e-3  # of values in [-1, 1]; the clamp of atanh costs 1e-5
PROBE_CHUNKS = 4


def posterior(bits: Tensor, flip_probability: Tensor, codewords: Tensor, prior: Tensor | None = None) -> Tensor:
    """Returns the probability [T, L] float64 that each level was sent, given the received bits.

    Args:
        bits: [T, b] bool.
        flip_probability: [] or [T, b], of each bit; 0.5 for one that was erased.
        codewords: [L, b] bool, the bits of each level.
        prior: [L], how often each level is sent; by default all alike. A level of prior 0 is never decoded.

    Raises:
        ValueError: shapes that do not fit, probabilities outside [0, 1], or a prior that is not a distribution.
    """
    count = len(codewords)
    if bits.ndim != 2 or codewords.ndim != 2 or bits.shape[1] != codewords.shape[1]:
        raise ValueError(f"bits {tuple(bits.shape)} and codewords {tuple(codewords.shape)} must be [T, b] and [L, b]")
    if float(flip_probability.min()) < 0 or float(flip_probability.max()) > 1:
        raise ValueError("flip probabilities must lie in [0, 1]")
    if prior is None:
        prior = torch.ones(count)
    if prior.shape != (count,) or float(prior.min()) < 0 or not float(prior.sum()) > 0:
        raise ValueError(f"the prior must be {count} numbers of at least 0, not all 0; got shape {tuple(prior.shape)}")
    wrong = flip_probability.double().clamp(LEAST_FLIP, 1 - LEAST_FLIP).expand(bits.shape)
    # log P(bits | level) = sum of log(1 - wrong), and of the log odds of every bit that differs
    odds = torch.log(wrong) - torch.log1p(-wrong)
    received, sent = bits.double(), codewords.double()
    # a bit differs: r + s - 2 r s, which splits into a part of the bits alone and one that is a matrix product
    scores = (odds * (1 - 2 * received)) @ sent.T + (odds * received).sum(-1, keepdim=True)
    return torch.softmax(scores + prior.double().log(), -1)


def word_posteriors(received: Received, labelling: Labelling, priors: Sequence[Tensor] | None = None) -> list[Tensor]:
    """Returns the posteriors [T, L] of each of the W words of a frame.

    Args:
        received: bits [T, bits_per_frame], and how likely each is wrong.
        labelling: of the words.
        priors: [L] of each word; by default all levels alike.

    Raises:
        ValueError: words of more than 2 ** 14 levels.
    """
    largest = max(labelling.word_levels)
    if largest > MAX_LEVELS:
        raise ValueError(
            f"labelling {labelling.code!r} has words of {largest} levels, soft decoding takes at most {MAX_LEVELS}: "
            "choose natural or gray"
        )
    wrong = received.flip_probability.expand(received.bits.shape)
    words = zip(labelling.split_words(received.bits), labelling.split_words(wrong), strict=True)
    return [
        posterior(bits, chance, labelling.codewords(k), None if priors is None else priors[k])
        for k, (bits, chance) in enumerate(words)
    ]


def count_usage(tokens: Tensor, labelling: Labelling) -> list[Tensor]:
    """Returns an empirical prior: how often tokens [T, Q] use each level [L] of each word, plus one."""
    digits = labelling.tokens_to_digits(tokens).unbind(1)
    pairs = zip(digits, labelling.word_levels, strict=True)
    return [torch.bincount(column, minlength=size).double() + 1.0 for column, size in pairs]


@dataclass(frozen=True, kw_only=True)
class ValueMap:
    """The latents of a chunk as sums over the digits of its tokens: each adds to one value, tanh(scale * latent).

    It is found through the public methods of a codec, so that it holds for FSQ of any grid, order, number of codebooks
    and residual stages. Latents and values of a chunk are flat here: E = latent frames of a chunk * D of them.
    """

    labelling: Labelling  # natural: word k of a frame is digit k here
    chunk_tokens: int
    latent_dim: int
    scale: float  # latent = atanh(value) / scale
    base: Tensor  # [E], values of the reference chunk
    places: Tensor  # [P, W] int64, the value that each digit adds to
    shares: tuple[Tensor, ...]  # W of [P, L], what each level adds to it

    @classmethod
    def probe(cls, tokenizer: AudioTokenizer) -> ValueMap:
        """Finds the map of a codec by changing one digit at a time.

        Raises:
            ValueError: the codec has no tokens or no `latent_scale`, or its latents are not such sums.
        """
        spec = tokenizer.spec
        labelling = Labelling(spec.levels)
        scale = getattr(tokenizer.settings, "latent_scale", None)
        if scale is None:
            raise ValueError(f"soft decoding works on bounded values, and {spec.name} has no latent_scale for them")
        # from the middle of the grid no single change leaves [-1, 1], where residual stages are clipped
        middle = torch.tensor([size // 2 for size in labelling.word_levels]).expand(spec.chunk_tokens, -1)
        base = _values(tokenizer, labelling, middle[None], scale)[0]
        places, shares = [], []
        for word, size in enumerate(labelling.word_levels):
            changed = middle.expand(spec.chunk_tokens, size, -1, -1).clone()
            for position in range(spec.chunk_tokens):
                changed[position, :, position, word] = torch.arange(size)
            moved = _values(tokenizer, labelling, changed.flatten(0, 1), scale).unflatten(0, (-1, size)) - base
            place = moved.abs().amax(1).argmax(-1)  # [P]
            places.append(place)
            shares.append(moved.gather(2, place[:, None, None].expand(-1, size, 1)).squeeze(2))
        found = cls(
            labelling=labelling,
            chunk_tokens=spec.chunk_tokens,
            latent_dim=spec.latent_dim,
            scale=scale,
            base=base,
            places=torch.stack(places, 1),
            shares=tuple(shares),
        )
        found._check(tokenizer)
        return found

    def values(self, posteriors: Sequence[Tensor]) -> Tensor:
        """Returns the mean values [K, E] under posteriors [K * P, L] of each word."""
        num_chunks = len(posteriors[0]) // self.chunk_tokens
        total = self.base.expand(num_chunks, -1).clone()
        for word, (chances, shares) in enumerate(zip(posteriors, self.shares, strict=True)):
            mean = (chances.unflatten(0, (num_chunks, self.chunk_tokens)) * shares).sum(-1)
            total.scatter_add_(1, self.places[:, word].expand(num_chunks, -1), mean)
        return total.clamp(-1.0, 1.0)

    def latents(self, posteriors: Sequence[Tensor]) -> Tensor:
        """Returns the mean values under posteriors [T, L] of each word, as latents [1, K * frames of a chunk, D]."""
        latents = values_to_latents(self.values(posteriors), self.scale)
        return latents.float().reshape(1, -1, self.latent_dim)

    def _check(self, tokenizer: AudioTokenizer) -> None:
        """Raises ValueError unless random tokens have the latents that the map gives, clipped where those are."""
        generator = keyed_generator(0)
        count = PROBE_CHUNKS * self.chunk_tokens
        sizes = self.labelling.word_levels
        columns = [torch.randint(size, (count,), generator=generator) for size in sizes]
        exact = [torch.eye(size, dtype=torch.float64)[c] for c, size in zip(columns, sizes, strict=True)]
        digits = torch.stack(columns, 1).unflatten(0, (PROBE_CHUNKS, -1))
        wanted = _values(tokenizer, self.labelling, digits, self.scale)
        error = (self.values(exact) - wanted).abs().max().item()
        if not error <= PROBE_TOLERANCE:
            raise ValueError(
                f"the latents of {tokenizer.spec.name} are not sums of its tokens' digits (off by {error:.3g}): "
                "soft decoding is not defined for it"
            )


def _values(tokenizer: AudioTokenizer, labelling: Labelling, digits: Tensor, scale: float) -> Tensor:
    """Digits [K, P, W] of chunks to their values [K, E] float64 on the CPU."""
    tokens = labelling.digits_to_tokens(digits.flatten(0, 1)).unflatten(0, digits.shape[:2])
    latents = tokenizer.tokens_to_latents(tokens.to(tokenizer.device))
    return latents_to_values(latents.detach().cpu().double(), scale).flatten(1)
