"""The locality probe: two encoders that share an FSQ and a decoder, and how far apart their tokens are.

NeuCodec and its distilled version agree in few tokens, but nearly always within one level in each dimension
(arXiv 2509.09550): tokens of neighboring levels sound alike. Shape letters: T token frames, Q codebooks, L levels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ....core.errors import AudioError, MismatchError
from ....tokenizers.base import AudioTokenizer
from ...data.audio.find import find_distinct_audio, left_out
from ..codecs.audio import read_reference
from .labelling import Labelling

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LocalityResult:
    """Statistics of two token streams of the same audio, over all frames that both have."""

    levels: tuple[tuple[int, ...], ...]  # of each codebook's digits, least significant first
    num_frames: int
    num_trimmed: int  # frames that only one of the two had
    exact_tokens: float  # share of equal tokens
    confusions: tuple[Tensor, ...]  # of each digit, [L first, L second] counts
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: files that could not be read

    @property
    def num_codebooks(self) -> int:
        """The codebooks of each stream."""
        return len(self.levels)

    @property
    def dimensions(self) -> list[tuple[int, int]]:
        """The (codebook, digit) of each confusion matrix."""
        return [(q, k) for q, sizes in enumerate(self.levels) for k in range(len(sizes))]

    @property
    def exact_levels(self) -> float:
        """The share of equal digits, mean over the dimensions."""
        return _mean([_share(counts, 0) for counts in self.confusions])

    @property
    def within_one(self) -> float:
        """The share of digits at most one level apart, mean over the dimensions."""
        return _mean([_share(counts, 1) for counts in self.confusions])

    @property
    def uniform_exact_levels(self) -> float:
        """The `exact_levels` of two independent encoders that use all levels alike: 1 / L."""
        return _mean([uniform_within(len(counts), 0) for counts in self.confusions])

    @property
    def uniform_within_one(self) -> float:
        """The `within_one` of the same: (3 L - 2) / L ** 2, which is 62.5 % for four levels."""
        return _mean([uniform_within(len(counts), 1) for counts in self.confusions])

    @property
    def independent_within_one(self) -> float:
        """The `within_one` of two independent encoders that use the levels as often as these do."""
        return _mean([_share(_independent(counts), 1) for counts in self.confusions])

    def summary(self) -> str:
        """Returns all shares in one line, with those of independent encoders."""
        return (
            f"{self.num_frames} frames: tokens equal {self.exact_tokens:.2%}, levels equal {self.exact_levels:.2%}, "
            f"within one level {self.within_one:.2%} (by chance {self.uniform_within_one:.2%} of uniform levels, "
            f"{self.independent_within_one:.2%} of levels used as here)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers, ready for JSON."""
        names = ("exact_tokens", "exact_levels", "within_one")
        baselines = ("uniform_exact_levels", "uniform_within_one", "independent_within_one")
        return {
            "num_frames": self.num_frames,
            "num_trimmed": self.num_trimmed,
            **{name: getattr(self, name) for name in (*names, *baselines)},
            "dimensions": [
                {
                    "codebook": codebook,
                    "digit": digit,
                    "exact": _share(counts, 0),
                    "within_one": _share(counts, 1),
                    "confusion": counts.tolist(),
                }
                for (codebook, digit), counts in zip(self.dimensions, self.confusions, strict=True)
            ],
            "failures": self.failures,
        }


def uniform_within(num_levels: int, distance: int) -> float:
    """Returns the probability that two independent, uniform levels are at most `distance` apart."""
    near = sum(min(num_levels - 1, level + distance) - max(0, level - distance) + 1 for level in range(num_levels))
    return near / num_levels**2


def locality(first: Sequence[Tensor], second: Sequence[Tensor], levels: Sequence[Sequence[int]]) -> LocalityResult:
    """Compares the tokens of two encoders for the same clips; each pair is cut to the shorter one.

    Args:
        first: tokens [T, Q] of each clip.
        second: tokens [T, Q] of each clip.
        levels: of each codebook's digits, as in `TokenizerSpec.levels`.

    Returns:
        How often tokens agree, and by how much their levels differ.

    Raises:
        ValueError: different numbers of clips, no frame in common, or tokens out of range.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} clips: give both encoders' tokens of the same clips")
    labelling = Labelling(tuple(map(tuple, levels)))
    sizes = [min(len(a), len(b)) for a, b in zip(first, second, strict=True)]
    if not sum(sizes):
        raise ValueError("no token frame to compare")
    a, b = (torch.cat([t[:n].cpu() for t, n in zip(side, sizes, strict=True)]) for side in (first, second))
    pairs = zip(_digits(a, labelling), _digits(b, labelling), [s for book in levels for s in book], strict=True)
    return LocalityResult(
        levels=labelling.levels,
        num_frames=len(a),
        num_trimmed=sum(map(len, first)) + sum(map(len, second)) - 2 * len(a),
        exact_tokens=(a == b).double().mean().item(),
        confusions=tuple(torch.bincount(x * size + y, minlength=size**2).reshape(size, size) for x, y, size in pairs),
    )


@torch.no_grad()
def probe_encoders(
    first: AudioTokenizer,
    second: AudioTokenizer,
    source: str,
    *,
    max_duration_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LocalityResult:
    """Encodes every file of `source` with both tokenizers and compares their tokens.

    Args:
        first: tokenizers with the same FSQ.
        second: tokenizers with the same FSQ.
        source: a file, folder or manifest.
        max_duration_s: of each file, from its start.
        progress: called with (files done, files in all).

    Returns:
        The comparison over all files that could be read.

    Raises:
        MismatchError: tokens of different levels or rates.
        FileNotFoundError, ValueError: no such source, no audio in it, or tokenizers without tokens.
        AudioError: no file could be read. Those that could not are listed in the result.
    """
    if first.spec.levels != second.spec.levels or first.spec.token_rate_hz != second.spec.token_rate_hz:
        raise MismatchError(
            f"the probe needs one FSQ: levels {first.spec.levels} at {first.spec.token_rate_hz} Hz are not "
            f"{second.spec.levels} at {second.spec.token_rate_hz} Hz"
        )
    Labelling(first.spec.levels)  # raises where there are no tokens, before anything is encoded
    streams: tuple[list[Tensor], list[Tensor]] = ([], [])
    failures = []
    items = sorted(find_distinct_audio(source), key=lambda item: item.name)
    for done, item in enumerate(items, start=1):
        try:
            heard = [read_reference(item, t.spec.sample_rate, t.spec.channels, max_duration_s) for t in (first, second)]
        except (AudioError, ValueError) as error:
            failures.append(left_out(item.path, error))
        else:
            for tokenizer, audio, tokens in zip((first, second), heard, streams, strict=True):
                encoded = tokenizer.encode(audio[None].to(tokenizer.device), tokenizer.spec.sample_rate)
                tokens.append(encoded.tokens[0].cpu())
        if progress is not None:
            progress(done, len(items))
    if not streams[0]:
        raise AudioError(f"none of {len(items)} audio files could be read; first: {failures[0]['reason']}")
    result = locality(*streams, first.spec.levels)
    result.failures.extend(failures)
    return result


def _digits(tokens: Tensor, labelling: Labelling) -> list[Tensor]:
    """Columns [T] of digits in the order of the levels: each codebook's least significant one first."""
    words = iter(labelling.tokens_to_digits(tokens).unbind(1))
    books = [[next(words) for _ in sizes][::-1] for sizes in labelling.levels]
    return [digit for book in books for digit in book]


def _share(counts: Tensor, distance: int) -> float:
    places = torch.arange(len(counts))
    near = (places[:, None] - places).abs() <= distance
    return float(counts[near].double().sum() / counts.double().sum())


def _independent(counts: Tensor) -> Tensor:
    return counts.double().sum(1)[:, None] * counts.double().sum(0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
