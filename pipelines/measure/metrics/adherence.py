"""Prompt adherence: the CLAP score of audio against its prompt, or against audio it should be like.

The score of a pair is a cosine. A cosine alone says little (CLAP's own scale differs from checkpoint to checkpoint), so
every score comes with a baseline: the same audio against another pair's prompt, fixed by a derangement. The difference
of the two, and how often the own prompt wins, can be read without knowing the scale.
Shape letters: n pairs, N samples, W windows, D embedding width.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from ..embedders.base import Embedder

if TYPE_CHECKING:
    from ..embedders.clap_text import ClapTextEncoder


@dataclass(frozen=True, kw_only=True)
class AdherenceResult:
    """Scores of n pairs and their baseline."""

    metric: Literal["clap_score", "audio_similarity"]
    mean: float  # of `scores`
    std: float  # of `scores`, with n - 1; 0 for one pair
    negatives_mean: float | None  # of `negatives` that are; None where no pair has another prompt to be held against
    margin: float | None  # mean of score less negative, over pairs that have both
    win_rate: float | None  # share of those whose own prompt scores higher; a draw is half a win; chance gives 0.5
    num_pairs: int
    num_negatives: int  # pairs that have a mismatched prompt
    num_windows: int  # of audio, in all
    scores: tuple[float, ...]  # in [-1, 1], in order of the pairs
    negatives: tuple[float | None, ...]  # the same audio with another pair's prompt
    embedder: dict[str, Any]  # identity of the audio side
    text: dict[str, Any] | None  # identity of the text side

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def clap_score(
    embedder: Embedder,
    pairs: Iterable[tuple[Tensor, str]],
    *,
    text_encoder: ClapTextEncoder | None = None,
    batch_size: int = 16,
) -> AdherenceResult:
    """Score audio against the prompts it was made from: the mean over windows of the cosine of window and prompt.

    Args:
        embedder: CLAP. `clap_fusion` gives Stable Audio's and laion-clap's reading (one embedding a file), `clap` the
            mean over 10 s windows, which hears all of a file.
        pairs: mono audio [N] at `embedder.sample_rate` and its prompt; consumed one by one. Where prompts occur more
            than once the baseline depends on the order of pairs; nothing else does.
        text_encoder: by default that of the embedder's checkpoint.

    Raises:
        ValueError: no pairs, an empty prompt, bad audio, or an embedder that shares no space with the text.
        CheckpointError: the checkpoint has no text tower, or its tokenizer cannot be had.
    """
    if not embedder.name.startswith("clap"):
        raise ValueError(f"the CLAP score needs a CLAP embedder, not {embedder.name}: load clap or clap_fusion")
    if text_encoder is None:
        from ..embedders.clap_text import ClapTextEncoder

        text_encoder = ClapTextEncoder.from_checkpoint(embedder.source).to(embedder.device)
    if text_encoder.dim != embedder.dim:
        raise ValueError(f"text of {text_encoder.dim} and audio of {embedder.dim} dimensions share no space")
    embeddings, prompts = [], []
    for audio, prompt in pairs:
        embeddings.append(embedder.embed(audio, batch_size).numpy())
        prompts.append(prompt)
    distinct = sorted(set(prompts))
    targets = dict(zip(distinct, text_encoder.embed(distinct).numpy(), strict=True)) if prompts else {}
    return adherence(
        embeddings,
        [targets[prompt] for prompt in prompts],
        keys=prompts,
        metric="clap_score",
        embedder=embedder.identity(),
        text=text_encoder.identity(),
    )


def audio_similarity(
    embedder: Embedder, pairs: Iterable[tuple[Tensor, Tensor]], *, batch_size: int = 16
) -> AdherenceResult:
    """Score audio against the audio it should be like: the mean over windows of the cosine with the other's mean.

    Args:
        embedder: CLAP for the audio-audio CLAP score; any other gives its own similarity.
        pairs: two mono signals [N] at `embedder.sample_rate`, lengths of their own: the judged one, then its reference.

    Raises:
        ValueError: no pairs, or bad audio.
    """
    embeddings, targets = [], []
    for audio, reference in pairs:
        embeddings.append(embedder.embed(audio, batch_size).numpy())
        targets.append(embedder.embed(reference, batch_size).double().mean(0).numpy())
    return adherence(embeddings, targets, metric="audio_similarity", embedder=embedder.identity())


def adherence(
    embeddings: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    keys: Sequence[Hashable] | None = None,
    metric: Literal["clap_score", "audio_similarity"] = "clap_score",
    embedder: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
) -> AdherenceResult:
    """The result of embeddings that were made before.

    Args:
        embeddings: of the windows of each pair's audio, [W, D] each.
        targets: what each pair's audio is held against, [D] each.
        keys: pairs with one key have the same target, such as the prompt; by default all are different.

    Raises:
        ValueError: no pairs, or lists of different lengths.
    """
    keys = range(len(targets)) if keys is None else keys
    if not targets or not len(embeddings) == len(targets) == len(keys):
        raise ValueError(f"need pairs to score, got {len(embeddings)} audio and {len(targets)} targets")
    others = derangement(keys)
    scores = [mean_cosine(x, y) for x, y in zip(embeddings, targets, strict=True)]
    negatives = [None if k is None else mean_cosine(x, targets[k]) for x, k in zip(embeddings, others, strict=True)]
    both = np.array([(s, n) for s, n in zip(scores, negatives, strict=True) if n is not None]).reshape(-1, 2)
    own, other = both.T
    return AdherenceResult(
        metric=metric,
        mean=float(np.mean(scores)),
        std=float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        negatives_mean=float(other.mean()) if len(both) else None,
        margin=float((own - other).mean()) if len(both) else None,
        win_rate=float(((own > other) + 0.5 * (own == other)).mean()) if len(both) else None,
        num_pairs=len(scores),
        num_negatives=len(both),
        num_windows=sum(map(len, embeddings)),
        scores=tuple(scores),
        negatives=tuple(negatives),
        embedder=embedder or {},
        text=text,
    )


def mean_cosine(embeddings: np.ndarray, target: np.ndarray) -> float:
    """Mean over windows [W, D] of the cosine with `target` [D], in float64; a vector of zeros has cosine 0."""
    x, y = np.asarray(embeddings, np.float64), np.asarray(target, np.float64)
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y)
    cosines = np.divide(x @ y, lengths, out=np.zeros(len(x)), where=lengths > 0)
    return float(np.clip(cosines, -1.0, 1.0).mean())


def derangement(keys: Sequence[Hashable]) -> list[int | None]:
    """For each of n keys the index of a pair with another key, every index at most once; None where there is none.

    Pairs are sorted by key and turned by the size of the largest group of equal keys. That gives every pair another key
    unless one key has more than half of all pairs; then those that would meet their own key have none.
    """
    order = sorted(range(len(keys)), key=lambda index: (str(keys[index]), index))
    groups: dict[Hashable, int] = {}
    for key in keys:
        groups[key] = groups.get(key, 0) + 1
    turn = max(groups.values(), default=0)
    partners: list[int | None] = [None] * len(keys)
    for place, index in enumerate(order):
        other = order[(place + turn) % len(order)]
        partners[index] = None if keys[other] == keys[index] else other
    return partners
