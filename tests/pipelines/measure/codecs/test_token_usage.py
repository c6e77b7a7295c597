"""Entropy, Huffman code and usage of token streams, against known cases, the entropy bound and plain counting."""

from __future__ import annotations

import json
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from token_analysis import analyse_tokens

from latentune.core.errors import DatasetError
from latentune.pipelines.measure.codecs.figures import tokens as module
from latentune.pipelines.measure.codecs.figures.tokens import (
    SparseCounts,
    TokenCounts,
    analyse_dataset,
    entropy_bits,
    huffman_bits,
)
from latentune.tokenizers.base import TokenizerSpec


def make_spec(*levels: tuple[int, ...]) -> TokenizerSpec:
    return TokenizerSpec(
        name="any", sample_rate=1000, channels=1, hop_samples=40, latent_dim=2, levels=levels, token_hop_samples=40
    )


@pytest.mark.parametrize(
    ("counts", "bits", "total"),
    [
        ([45, 13, 12, 16, 9, 5], 224, 100),  # Cormen et al., Introduction to Algorithms, section on Huffman codes
        ([1, 1, 2, 4], 14, 8),  # powers of two: the entropy itself, 1.75
        ([5, 5, 5, 5], 40, 20),
        ([3, 1], 4, 4),
        ([7], 0, 7),
        ([0, 9, 0], 0, 9),
    ],
)
def test_huffman_of_known_cases(counts: list[int], bits: int, total: int) -> None:
    assert huffman_bits(np.array(counts)) == bits / total


def _lengths(counts: list[int]) -> list[int]:
    """Code lengths by building the tree leaf by leaf: another way to the same code."""
    groups = [(count, [k]) for k, count in enumerate(counts)]
    lengths = [0] * len(counts)
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0])
        (a, left), (b, right) = groups[:2]
        for leaf in left + right:
            lengths[leaf] += 1
        groups = [(a + b, left + right), *groups[2:]]
    return lengths


@pytest.mark.parametrize("seed", range(8))
def test_huffman_keeps_the_entropy_bound_and_is_a_code(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.ceil(rng.pareto(0.7, rng.integers(2, 60)) + 1e-9).astype(np.int64)
    entropy, bits = entropy_bits(counts), huffman_bits(counts)
    assert entropy - 1e-12 <= bits < entropy + 1
    lengths = _lengths(counts.tolist())
    assert sum(2.0**-length for length in lengths) == 1  # Kraft: a full prefix code
    assert bits == pytest.approx(np.dot(lengths, counts) / counts.sum())


def test_entropy_of_known_cases() -> None:
    assert entropy_bits(np.array([5, 5, 5, 5])) == 2
    assert entropy_bits(np.array([1, 1, 2, 4, 0])) == 1.75
    assert entropy_bits(np.array([3])) == 0


def test_counts_are_those_of_plain_counting_however_they_come() -> None:
    rng = np.random.default_rng(0)
    numbers = np.minimum(rng.zipf(1.3, 30000), 17**6).astype(np.int64)
    counts = SparseCounts()
    longest = 0
    for piece in np.split(numbers, np.sort(rng.integers(0, len(numbers), 300))):  # also empty ones
        counts.add(piece)
        longest = max(longest, len(counts._pieces))
    entries, times = counts.total()
    assert dict(zip(entries.tolist(), times.tolist(), strict=True)) == Counter(numbers.tolist())
    assert (np.diff(entries) > 0).all()
    assert longest <= math.log2(len(numbers)) + 1


def test_figures_of_a_small_stream() -> None:
    spec = make_spec((2, 3), (4,))
    first = [0, 0, 1, 1, 4, 4, 5, 5]  # digits (0,0) (1,0) (0,2) (1,2): two of three levels of the second digit
    tokens = torch.tensor([first, [3] * 8]).T.reshape(2, 4, 2)
    analysis = analyse_tokens(tokens, spec)
    a, b = analysis.codebooks
    assert (a.size, a.num_used, a.num_tokens, a.entropy_bits, a.huffman_bits) == (6, 4, 8, 2, 2)
    assert a.used_share == pytest.approx(4 / 6)
    assert a.normalised_entropy == pytest.approx(2 / math.log2(6))
    assert [(d.size, d.num_used, d.entropy_bits) for d in a.digits] == [(2, 2, 1), (3, 2, 1)]
    assert (b.num_used, b.entropy_bits, b.huffman_bits, b.normalised_entropy) == (1, 0, 0, 0)
    assert analysis.entropy_bitrate_bps == analysis.huffman_bitrate_bps == 50
    assert analysis.packed_bitrate_bps == spec.packed_bitrate_bps == 25 * (3 + 2)
    facts = analysis.to_dict()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["codebooks"][0]["digits"][1] == {
        "size": 3,
        "num_used": 2,
        "entropy_bits": 1.0,
        "used_share": 2 / 3,
        "normalised_entropy": 1 / math.log2(3),
    }


def test_uniform_tokens_reach_the_rate_of_the_spec(generator: torch.Generator) -> None:
    spec = make_spec((3, 3), (2, 2, 2))
    tokens = torch.stack([torch.randint(size, (40000,), generator=generator) for size in (9, 8)], -1)
    analysis = analyse_tokens(tokens, spec)
    assert analysis.entropy_bitrate_bps == pytest.approx(spec.bitrate_bps, rel=1e-3)
    assert all(book.normalised_entropy > 0.999 and book.used_share == 1 for book in analysis.codebooks)


def test_a_codebook_of_24_million_entries_costs_what_is_seen_of_it() -> None:
    """Two tokens of 17^6 and 17^8: a dense table of the latter would need 56 GB."""
    spec = make_spec((17,) * 6, (17,) * 8)
    tokens = torch.tensor([[17**6 - 1, 17**8 - 1], [17**6 - 2, 17**8 - 1]])
    a, b = analyse_tokens(tokens, spec).codebooks
    assert (a.num_used, a.entropy_bits, b.num_used) == (2, 1, 1)
    assert [d.num_used for d in a.digits] == [2, 1, 1, 1, 1, 1]  # the least significant digit alone differs


def test_tokens_that_cannot_be_counted() -> None:
    spec = make_spec((5,), (5,))
    with pytest.raises(ValueError, match=r"\[\.\.\., 2\], got shape \(3, 1\)"):
        analyse_tokens(torch.zeros(3, 1, dtype=torch.int64), spec)
    with pytest.raises(ValueError, match=r"0\.\.4, got 0\.\.5"):
        analyse_tokens(torch.tensor([[0, 0], [0, 5]]), spec)
    with pytest.raises(TypeError, match="integers"):
        analyse_tokens(torch.zeros(3, 2), spec)
    with pytest.raises(ValueError, match="no tokens"):
        analyse_tokens(torch.zeros(0, 2, dtype=torch.int64), spec)
    counts = TokenCounts(spec.levels)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        counts.add(torch.tensor([[0, 7]]))
    assert counts.num_tokens == 0  # nothing of a refused block is counted
    with pytest.raises(ValueError, match="no tokens"):
        counts.analysis(25)


def make_dataset(spec: TokenizerSpec, shards: list[np.ndarray], streams: tuple[str, ...] = ("tokens",)) -> object:
    """All that counting reads of a dataset; real ones are counted in `tests/pipelines/data/shards`."""
    opened = [SimpleNamespace(path=f"{k:05d}", array=lambda name, a=a: a) for k, a in enumerate(shards)]
    return SimpleNamespace(path="dataset", spec=spec, streams=streams, shards=opened)


def test_a_dataset_is_counted_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec((5, 5))
    rng = np.random.default_rng(0)
    shards = [rng.integers(0, 25, (rows, 1)).astype(np.uint8) for rows in (100, 0, 37)]
    whole = analyse_tokens(torch.from_numpy(np.concatenate(shards)), spec)
    monkeypatch.setattr(module, "BLOCK_TOKENS", 16)
    assert analyse_dataset(make_dataset(spec, shards)) == whole  # type: ignore[arg-type]


def test_a_dataset_that_cannot_be_counted() -> None:
    spec = make_spec((5,))
    bad = make_dataset(spec, [np.zeros((2, 1), np.uint8), np.full((2, 1), 9, np.uint8)])
    with pytest.raises(DatasetError, match=r"shard 00001 is corrupt: tokens must lie in 0\.\.4"):
        analyse_dataset(bad)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="holds no items"):
        analyse_dataset(make_dataset(spec, []))  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="encode with `--stream tokens`"):
        analyse_dataset(make_dataset(spec, [], ("latents",)))  # type: ignore[arg-type]
