"""Counts how often a classifier still distinguishes music from speech after a codec.

    python demos/recipes/melcodec/classify.py CORPORA/manifest.jsonl HELD_OUT --tokenizer melcodec-music

A linear classifier on mean embeddings is trained on recordings of the split `train`, as they are. It is applied
to `--num` held-out recordings of music and of speech (`HELD_OUT/{music,speech}.jsonl`), as they are and decoded from
the tokens of each codec.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import latentune
from latentune.core.files import write_json
from latentune.pipelines.data.audio.convert import resample, select_channels
from latentune.pipelines.measure.embedders import load_embedder

logger = logging.getLogger(__name__)

KINDS = ("music", "speech")
CLIP_S = 5.0
PENALTY = 1e-2  # of the squared weights of the classifier


def read_clips(path: Path, num: int, **wanted: str) -> list[tuple[Tensor, int]]:
    """Audio [C, N] and rates of `num` rows of a manifest, evenly spread, from the middle of each recording."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["seconds"] >= CLIP_S / 2 and all(row[k] == v for k, v in wanted.items())]
    chosen = [rows[i * len(rows) // num] for i in range(num)]
    starts = [max(0.0, (row["seconds"] - CLIP_S) / 2) for row in chosen]
    return [
        latentune.read_audio(path.parent / row["path"], start_s=start, duration_s=CLIP_S)
        for row, start in zip(chosen, starts, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--tokenizer", nargs="+", default=["melcodec-music"])
    parser.add_argument("--embedder", default="musicnn")
    parser.add_argument("--num", type=int, default=20)
    parser.add_argument("--num-train", type=int, default=100)
    parser.add_argument("--output", type=Path, help="JSON file of the counts")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    embedder = load_embedder(arguments.embedder)

    def embed(clips: list[tuple[Tensor, int]]) -> Tensor:
        mono = [resample(select_channels(audio, 1), rate, embedder.sample_rate)[0] for audio, rate in clips]
        return torch.stack([embedder.embed(audio).mean(0) for audio in mono])

    known = [embed(read_clips(arguments.manifest, arguments.num_train, kind=kind, split="train")) for kind in KINDS]
    classify = linear_classifier(known)
    held_out = {kind: read_clips(arguments.held_out / f"{kind}.jsonl", arguments.num) for kind in KINDS}

    def count(change: Callable[[Tensor, int], tuple[Tensor, int]]) -> int:
        right = 0
        for label, kind in enumerate(KINDS):
            own = int((classify(embed([change(*clip) for clip in held_out[kind]])) == label).sum())
            logger.info("%s: %d of %d", kind, own, arguments.num)
            right += own
        return right

    counts: dict[str, Any] = {"clips": len(KINDS) * arguments.num, "original": count(lambda audio, rate: (audio, rate))}
    for name in arguments.tokenizer:
        codec = latentune.load_tokenizer(name)

        def through(audio: Tensor, rate: int, codec: latentune.AudioTokenizer = codec) -> tuple[Tensor, int]:
            return codec.decode_encoded(codec.encode(audio[None], rate), "tokens")[0], codec.spec.sample_rate

        counts[name] = count(through)
    for name, right in counts.items():
        logger.info("%s: %d", name, right)
    if arguments.output:
        write_json(arguments.output, counts)


def linear_classifier(known: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Logistic regression on normalized embeddings [M, D] of each class; returns embeddings -> class numbers."""
    inputs, labels = torch.cat(known), torch.cat([torch.full((len(x),), i) for i, x in enumerate(known)])
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-4
    weight = torch.zeros(inputs.shape[1] + 1, len(known), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100)

    def scores(embeddings: Tensor) -> Tensor:
        return (embeddings - mean) / deviation @ weight[:-1] + weight[-1]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores(inputs), labels) + PENALTY * weight[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return lambda embeddings: scores(embeddings).argmax(1)


if __name__ == "__main__":
    main()
