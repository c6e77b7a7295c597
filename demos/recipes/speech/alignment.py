"""Draws which symbol of a text influences which frame of a diffusion transformer that speaks.

    python demos/recipes/speech/alignment.py melcodec-speech-say SPEECH/manifest.jsonl alignment.png --rows 0 1 2

Each symbol's vector is set to zero in turn, at diffusion time 0.7 on the latents of the recording; the picture shows
how much the predicted velocity of each frame changes. The solid line is the layout that the generator learned, through
the middle of each symbol, and the dashed one an even layout.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentune import load_pipeline, read_audio
from latentune.core.figures import new_figure, save_png
from latentune.generators.conditions import Conditions
from latentune.generators.parts.normalise import normalise
from latentune.pipelines.generation.pipeline import GenerationPipeline

logger = logging.getLogger(__name__)

DIFFUSION_TIME = 0.7


@torch.no_grad()
def influence(pipeline: GenerationPipeline, row: dict[str, Any], seed: int = 0) -> tuple[str, Tensor, Tensor]:
    """Returns the symbols of a text, how much each changes each frame [S, T], 1 for the largest of a frame, and the
    middle [S] of each in the layout, in frames."""
    model: Any = pipeline.generator
    encoder = model.condition_encoder
    audio, sample_rate = read_audio(row["path"])
    latents = normalise(pipeline.tokenizer.encode(audio[None], sample_rate).latents, model.binding)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    noisy = torch.lerp(latents, noise, DIFFUSION_TIME)
    symbols = encoder.symbols([row["text"]])[0]
    encoded = encoder(Conditions(values={encoder.transcript: [row["text"]]}))
    time = torch.full((1,), DIFFUSION_TIME)
    whole = model(noisy, time, conditions=encoded)
    changes = []
    for number in range(1, len(symbols) + 1):  # between two edges
        spread = encoded.spread.clone()
        spread[:, number] = 0.0
        changes.append((model(noisy, time, conditions=replace(encoded, spread=spread)) - whole)[0].norm(dim=-1))
    changed = torch.stack(changes)
    ends = encoded.spread_weights[0].cumsum(0)
    middles = (ends[:-1] + ends[1:])[: len(symbols)] / 2 / ends[-1] * latents.shape[1]
    return symbols, changed / changed.amax(0, keepdim=True).clamp_min(1e-9), middles


def centres(influences: Tensor) -> Tensor:
    """Returns the symbol [T] that influences each frame, as the mean place of those near the largest."""
    weight = influences.square()
    places = torch.arange(len(weight), dtype=weight.dtype)[:, None]
    return (weight * places).sum(0) / weight.sum(0).clamp_min(1e-9)


def draw(found: list[tuple[str, Tensor, Tensor]], frame_s: float, output: Path) -> None:
    """Writes one picture with a panel per text."""
    figure = new_figure(9, 4.2 * len(found))
    axes = figure.subplots(len(found), squeeze=False)[:, 0]
    for axis, (symbols, influences, middles) in zip(axes, found, strict=True):
        size = (0.0, influences.shape[1] * frame_s, -0.5, len(symbols) - 0.5)
        axis.imshow(influences, aspect="auto", origin="lower", extent=size, cmap="magma", interpolation="nearest")
        axis.plot([size[0], size[1]], [size[2], size[3]], "--", color="white", linewidth=0.8)
        axis.plot(middles * frame_s, range(len(symbols)), color="white", linewidth=0.8)
        axis.set_yticks(range(len(symbols)), ["␣" if symbol == " " else symbol for symbol in symbols], fontsize=7)
        axis.set_xlabel("time [s]")
        axis.set_title(symbols, fontsize=9)
    save_png(figure, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline")
    parser.add_argument("manifest", type=Path, help="with the columns path, text and split")
    parser.add_argument("output", type=Path, help="PNG")
    parser.add_argument("--split", default="test")
    parser.add_argument("--rows", type=int, nargs="+", default=[0], help="numbers of the rows of the split")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    rows = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == arguments.split]
    pipeline = load_pipeline(arguments.pipeline)
    found = [influence(pipeline, rows[number]) for number in arguments.rows]
    for symbols, influences, middles in found:
        path = centres(influences)
        forward = float((path.diff() >= 0).float().mean())
        even = (torch.arange(len(symbols)) + 0.5) / len(symbols) * len(path)
        logger.info(
            "%r: the centre moves forward in %.0f %% of frames; the learned layout is %.1f frames from an even one",
            symbols,
            100 * forward,
            float((middles - even).abs().mean()),
        )
    draw(found, pipeline.spec.hop_samples / pipeline.spec.sample_rate, arguments.output)


if __name__ == "__main__":
    main()
