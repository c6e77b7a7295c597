"""Measures a generator of music: whether prompts differ, diversity, loudness, and seams. Writes a JSON file.

    python demos/recipes/music_figures.py melcodec-music-dit captions.jsonl HELD_OUT/music.jsonl figures.json

`captions.jsonl` is the manifest of the training data (`captions.py`). Embeddings are MusiCNN's, one mean per clip.

* prompts: samples are assigned, each left out in its turn, to the prompt with the nearest mean of the others.
  Real recordings with these captions go through the same test.
* diversity: mean distance between samples over that between as many held-out clips.
* loudness: of samples, of training recordings, and of these decoded from the latents that a generator is trained on.
* seams: of edits and streams, see `music_seams.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import latentune
from latentune.core.files import write_json
from latentune.demos.recipes.music_seams import Clips, seams_of_edits, seams_of_streams
from latentune.layers.audio import to_channels, to_rate
from latentune.layers.loudness import measure_loudness
from latentune.pipelines.measure.embedders import Embedder, load_embedder

logger = logging.getLogger(__name__)

PROMPTS = (
    "romantic classical orchestral music",
    "techno",
    "metal with a female voice",
    "cheerful cartoon music",
    "dark electronic soundtrack",
    "death metal",
)


def nearest_mean(embeddings: Tensor, labels: Sequence[int]) -> list[int]:
    """Returns the label of the nearest mean of the others for each embedding [n, D]."""
    own, kinds, found = torch.tensor(labels), sorted(set(labels)), []
    for place in range(len(embeddings)):
        others = torch.arange(len(embeddings)) != place
        means = torch.stack([embeddings[others & (own == kind)].mean(0) for kind in kinds])
        found.append(kinds[int((means - embeddings[place]).norm(dim=1).argmin())])
    return found


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson)."""
    z, share = 1.96, right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return middle - half, middle + half


def told_apart(embeddings: Tensor, labels: Sequence[int]) -> dict[str, Any]:
    """How many embeddings are nearest to their own, over all labels and over the best four of them."""
    found = nearest_mean(embeddings, labels)
    kinds = sorted(set(labels))
    own = {kind: sum(f == kind for f, label in zip(found, labels, strict=True) if label == kind) for kind in kinds}
    right = sum(own.values())
    best = sorted(kinds, key=lambda kind: -own[kind])[:4]
    chosen = [place for place, label in enumerate(labels) if label in best]
    among = nearest_mean(embeddings[chosen], [labels[place] for place in chosen])
    right_of_best = sum(f == labels[place] for f, place in zip(among, chosen, strict=True))
    return {
        "right": right,
        "of": len(labels),
        "interval": wilson(right, len(labels)),
        "chance": 1 / len(kinds),
        "right_by_prompt": own,
        "best_four": {"prompts": best, "right": right_of_best, "of": len(chosen), "chance": 0.25},
    }


def mean_distance(embeddings: Tensor) -> float:
    """Mean distance between two of the embeddings [n, D]."""
    return float(torch.pdist(embeddings).mean())


class Measurement:
    """One generator and what it is compared with."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.pipeline = latentune.load_pipeline(arguments.pipeline)
        self.codec = self.pipeline.tokenizer
        self.embedder: Embedder = load_embedder("musicnn")
        self.training = _rows(arguments.captions)
        self.held_out = _rows(arguments.held_out)

    def run(self) -> dict[str, Any]:
        """All figures."""
        samples, labels = self.samples()
        real, real_labels = self.recordings()
        held = [self.clip(row) for row in _spread(self.held_out, max(len(samples), self.arguments.num_edits))]
        found: dict[str, Any] = {"prompts": list(PROMPTS), "seconds": self.arguments.seconds}
        made = self.embed(samples)
        found["told_apart"] = told_apart(made, labels)
        found["told_apart_real"] = told_apart(self.embed(real), real_labels)
        found["diversity"] = mean_distance(made) / mean_distance(self.embed(held[: len(samples)]))
        found["loudness"] = self.loudness(samples, real)
        found["seams"] = seams_of_edits(self.pipeline, held[: self.arguments.num_edits])
        found["seams"]["stream"] = seams_of_streams(self.pipeline, PROMPTS, 2 * self.arguments.seconds)
        return found

    def samples(self) -> tuple[Clips, list[int]]:
        """Samples of each prompt, and the number of the prompt of each."""
        clips: Clips = []
        for number, prompt in enumerate(PROMPTS):
            output = self.pipeline(
                prompt,
                num_per_prompt=self.arguments.num,
                duration_s=self.arguments.seconds,
                generator=torch.Generator().manual_seed(number),
            )
            clips += [(output.item(row), output.sample_rate) for row in range(self.arguments.num)]
            logger.info("%s: sampled", prompt)
        return clips, [number for number in range(len(PROMPTS)) for _ in range(self.arguments.num)]

    def recordings(self) -> tuple[Clips, list[int]]:
        """Clips of as many training recordings with each caption, and the number of the caption of each."""
        clips: Clips = []
        labels: list[int] = []
        for number, prompt in enumerate(PROMPTS):
            rows = _spread([row for row in self.training if prompt in row["text"]], self.arguments.num)
            clips += [self.clip(row) for row in rows]
            labels += [number] * len(rows)
        return clips, labels

    def clip(self, row: dict[str, Any]) -> tuple[Tensor, int]:
        """Audio of a manifest's row at the codec's rate, from the middle of it."""
        offset, length = row.get("offset", 0.0), row.get("duration", row.get("seconds", 0.0))
        start_s = offset + max(0.0, (length - self.arguments.seconds) / 2)
        audio, rate = latentune.read_audio(row["path"], start_s=start_s, duration_s=self.arguments.seconds)
        spec = self.codec.spec
        return to_channels(to_rate(audio, rate, spec.sample_rate)[None], spec.channels)[0], spec.sample_rate

    def embed(self, clips: Clips) -> Tensor:
        """Mean embedding [n, D] of each clip."""
        rate = self.embedder.sample_rate
        return torch.stack([self.embedder.embed(to_rate(audio.mean(0), own, rate)).mean(0) for audio, own in clips])

    def loudness(self, samples: Clips, real: Clips) -> dict[str, Any]:
        """Mean loudness in LUFS, and the difference of the samples from what the generator was trained on."""
        decoded = [(self.codec.decode_encoded(self.codec.encode(a[None], r), "latents")[0], r) for a, r in real]
        found: dict[str, Any] = {}
        for name, clips in (("samples", samples), ("training", real), ("training_decoded", decoded)):
            values = sorted(measure_loudness(audio, rate) for audio, rate in clips)
            heard = [value for value in values if math.isfinite(value)]
            if not heard:
                raise ValueError(f"{name}: all {len(values)} clips are silent")
            silent = len(values) - len(heard)  # below the gate of the measurement
            mean = sum(heard) / len(heard)
            found[name] = {"mean": mean, "lowest": heard[0], "highest": heard[-1], "num_silent": silent}
        found["difference_lu"] = found["samples"]["mean"] - found["training_decoded"]["mean"]
        return found


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _spread(rows: list[dict[str, Any]], num: int) -> list[dict[str, Any]]:
    """`num` rows in an order that mixes packages, the same at every call."""
    return random.Random(0).sample(rows, min(num, len(rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline")
    parser.add_argument("captions", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--num", type=int, default=8, help="samples of each prompt")
    parser.add_argument("--num-edits", type=int, default=24, help="clips that are edited")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_json(arguments.output, Measurement(arguments).run())


if __name__ == "__main__":
    main()
