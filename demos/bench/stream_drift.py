"""How far a stream strays from what it began with, by how the generator was trained.

    OMP_NUM_THREADS=1 python demos/bench/stream_drift.py --output drift.json

Each item is a tone: six channels of one sinusoid, whose amplitude and frequency differ from item to item and stay the
same within it. Nothing but the past says what they are, so that a generator which makes small mistakes strays: the
amplitude grows, fades or wanders. A chunk-causal diffusion transformer is trained on such tones in several ways, is
given the start of new ones, and continues them for many chunks.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from memorised_toy import CONFIG, DIM, FRAMES, NO_PATTERNS, SPEC, train
from torch import Tensor

from latentune.core.files import write_json
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, RectifiedFlowConfig
from latentune.generators.diffusion.own_past import OwnPast
from latentune.generators.given import Given
from latentune.tokenizers.base import Encoded

logger = logging.getLogger("stream_drift")

BLOCKS, WINDOW = 10, 6  # chunks of a training example, and chunks before its own that a chunk sees
CAUSAL = replace(CONFIG, attention="chunk_causal", max_frames=BLOCKS * FRAMES, past_blocks=WINDOW)
WAYS = {
    "true past": {},
    "past_noise 0.3": {"past_noise": 0.3},
    "own_past from level 0.5": {"own_past": OwnPast(probability=0.5, level=0.5)},
    "own_past from noise": {"own_past": OwnPast(probability=0.5, level=1.0)},
    "own_past from level 0.5, past_noise 0.3": {"own_past": OwnPast(probability=0.5, level=0.5), "past_noise": 0.3},
}


def tones(count: int, frames: int, seed: int) -> Tensor:
    """Tones [count, frames, 6] of amplitude 0.6 ... 1.6 and of 0.3 ... 0.9 radians a frame."""
    random = torch.Generator().manual_seed(seed)
    amplitude, frequency, phase = torch.rand(3, count, 1, 1, generator=random)
    angle = (0.3 + 0.6 * frequency) * torch.arange(frames)[:, None] + 2 * math.pi * (phase + torch.arange(DIM) / DIM)
    return (0.6 + amplitude) * torch.sin(angle)


@torch.no_grad()
def astray(model: DiffusionTransformer, items: int, chunks: int, steps: int, past_noise: float) -> dict[str, float]:
    """Relative error of the amplitude in the first and the last tenth of what is made after the given start."""
    true = tones(items, chunks * FRAMES, seed=7)
    keep = torch.zeros(1, chunks, dtype=torch.bool)
    keep[:, :WINDOW] = True
    lengths = torch.full((items,), chunks * FRAMES * SPEC.hop_samples)
    made = model.sample(
        Conditions.of([""] * items, 1.0),
        lengths,
        sampling=model.make_sampling({"num_inference_steps": steps, "past_noise": past_noise}),
        given=Given(
            encoded=Encoded(latents=true, tokens=torch.zeros(items, 1, 1).long(), lengths_samples=lengths), keep=keep
        ),
        generator=torch.Generator().manual_seed(2),
    ).latents
    assert made is not None
    made, true = made[:, WINDOW * FRAMES :], true[:, WINDOW * FRAMES :]
    tenth = max(1, made.shape[1] // 10)
    # the six channels are a sixth of a period apart, so that their mean square is that of the amplitude at any time
    ratio = made.square().mean(-1).sqrt() / true.square().mean(-1).sqrt()
    error = (ratio - 1.0).abs()
    return {"early": round(float(error[:, :tenth].mean()), 3), "late": round(float(error[:, -tenth:].mean()), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--chunks", type=int, default=60, help="of each stream")
    parser.add_argument("--ways", type=int, nargs="*", help="numbers of the ways to train, from 0 on; by default all")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--sampling-steps", type=int, default=8)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    table = {}
    data = tones(4096, BLOCKS * FRAMES, seed=0)
    ways = list(WAYS.items())
    for name, way in ways if arguments.ways is None else [ways[number] for number in arguments.ways]:
        started = time.process_time()
        model = train(CAUSAL, RectifiedFlowConfig(keep_patterns=NO_PATTERNS, **way), data, arguments.steps)
        cpu_s = round(time.process_time() - started, 1)
        for level in (0.0, 0.1) if "past_noise" in way else (0.0,):
            found = astray(model, arguments.items, arguments.chunks, arguments.sampling_steps, level)
            table[f"{name}, sampled with {level:g}"] = {**found, "training_cpu_s": cpu_s}
    if arguments.output:
        write_json(arguments.output, table)
    logger.info("%s", json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
