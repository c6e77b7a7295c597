"""How the tokens of generators differ from those that they were trained on.

    python demos/bench/token_statistics.py DATASET held_out=HELD_OUT_DATASET one_by_one=OUT/lm in_16_passes=OUT/set16

A set is a dataset that `latentune encode` wrote, or a folder of `step_quality.py`. Frequencies of digits are compared
with those of all of DATASET, as the divergence KL(DATASET || set) in nats, mean over tables:

* `levels`: of each digit; `places`: of each digit at each of the places in a chunk;
* `digits`: of pairs of digits of a token; `neighbors`: of a digit in tokens that follow each other in a chunk;
* `chunks`: of a digit at the same place one chunk later.

`entropy_bits` and `used_share` are those of whole tokens. Few tokens bias all of these, so that every set is cut to as
many items and chunks as the smallest has; what a set from the same source has is the floor.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentune import LatentDataset
from latentune.layers.fsq import indices_to_digits
from latentune.pipelines.measure.codecs.figures.tokens import TokenCounts
from latentune.pipelines.measure.metrics import kl_divergence
from latentune.tokenizers.base import TokenizerSpec

STREAMS = "streams_*.safetensors"
SMOOTHING = 0.5  # added to each count of a set


def digits_of(tokens: Tensor, levels: Sequence[Sequence[int]]) -> Tensor:
    """Digits [..., K] of all codebooks of tokens [..., Q]."""
    books = zip(tokens.unbind(-1), levels, strict=True)
    return torch.cat([indices_to_digits(codes, sizes) for codes, sizes in books], -1)


def frequencies(digits: Tensor, sizes: Sequence[int]) -> dict[str, list[Tensor]]:
    """Counts of digits [B, C, N, K] of items of C chunks of N tokens: for each statistic, one vector per table."""

    def single(values: Tensor, size: int) -> Tensor:
        return torch.bincount(values.flatten(), minlength=size).double()

    def pair(one: Tensor, other: Tensor, size: int, other_size: int) -> Tensor:
        return single(one * other_size + other, size * other_size)

    each = list(zip(digits.unbind(-1), sizes, strict=True))  # [B, C, N] and the number of levels
    return {
        "levels": [single(x, n) for x, n in each],
        "places": [single(part, n) for x, n in each for part in x.unbind(2)],
        "digits": [pair(x, y, n, m) for (x, n), (y, m) in itertools.pairwise(each)],
        "neighbors": [pair(x[:, :, :-1], x[:, :, 1:], n, n) for x, n in each],
        "chunks": [pair(x[:, :-1], x[:, 1:], n, n) for x, n in each],
    }


def divergences(reference: dict[str, list[Tensor]], found: dict[str, list[Tensor]]) -> dict[str, float]:
    """KL(reference || found) in nats of each statistic, mean over its tables."""
    result = {}
    for name, tables in reference.items():
        if not tables:  # a single digit has no pairs
            continue
        values = [
            kl_divergence(_shares(own)[None], _shares(other + SMOOTHING)[None], eps=0.0)[0]
            for own, other in zip(tables, found[name], strict=True)
        ]
        result[name] = round(float(np.mean(values)), 4)
    return result


def _shares(counts: Tensor) -> np.ndarray:
    shares: np.ndarray = (counts / counts.sum()).numpy()
    return shares


def chunks_of(source: Path, spec: TokenizerSpec) -> list[Tensor]:
    """Tokens [C, N, Q] of each item of a dataset or of a folder of samples, in whole chunks."""
    made = sorted(source.glob(STREAMS))
    if made:
        items = [x for path in made for x in load_file(path)["tokens"]]
    else:
        dataset = LatentDataset(source)
        items = [x for x in (dataset[number].tokens for number in range(len(dataset))) if x is not None]
    size = spec.chunk_tokens
    return [x[: len(x) // size * size].unflatten(0, (-1, size)).long() for x in items if len(x) >= size]


def drawn(items: list[Tensor], num: int, chunks: int) -> Tensor:
    """`num` parts of `chunks` chunks [num, C, N, Q], each from a random place of another item as far as they go."""
    random = torch.Generator().manual_seed(0)
    long = [x for x in items if len(x) >= chunks]
    order = [int(n) for _ in range(-(-num // len(long))) for n in torch.randperm(len(long), generator=random)][:num]
    starts = [int(torch.randint(len(long[n]) - chunks + 1, (), generator=random)) for n in order]
    return torch.stack([long[n][start : start + chunks] for n, start in zip(order, starts, strict=True)])


def figures(tokens: Tensor, reference: dict[str, list[Tensor]], spec: TokenizerSpec) -> dict[str, Any]:
    """Figures of the tokens [B, C, N, Q] of a set."""
    sizes = [size for book in spec.levels for size in book]
    counts = TokenCounts(spec.levels)
    counts.add(tokens)
    books = counts.analysis(spec.token_rate_hz).codebooks
    return {
        **divergences(reference, frequencies(digits_of(tokens, spec.levels), sizes)),
        "entropy_bits": [round(book.entropy_bits, 3) for book in books],
        "used_share": [round(book.used_share, 4) for book in books],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="dataset that the generators were trained on")
    parser.add_argument("sets", nargs="+", metavar="NAME=SOURCE")
    parser.add_argument("--items", type=int, default=64, help="parts of each set")
    parser.add_argument("--chunks", type=int, default=9, help="chunks of each part")
    arguments = parser.parse_args()
    spec = LatentDataset(arguments.dataset).spec
    sizes = [size for book in spec.levels for size in book]
    own = chunks_of(arguments.dataset, spec)
    total: dict[str, list[Tensor]] = {}
    for item in own:
        for name, tables in frequencies(digits_of(item[None], spec.levels), sizes).items():
            total[name] = tables if name not in total else [a + b for a, b in zip(total[name], tables, strict=True)]
    sources = {name: Path(path) for name, path in (text.split("=", 1) for text in arguments.sets)}
    for name, items in {"dataset": own, **{n: chunks_of(path, spec) for n, path in sources.items()}}.items():
        tokens = drawn(items, arguments.items, arguments.chunks)
        row = {"set": name, "tokens": tokens[..., 0].numel(), **figures(tokens, total, spec)}
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
