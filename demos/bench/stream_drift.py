"""How far a stream strays from what it began with, by how the generator was trained.

    OMP_NUM_THREADS=1 python demos/bench/stream_drift.py --output drift.json

Each item is a tone: six channels of one sinusoid, whose amplitude and frequency differ from item to item and stay the
same within it. Nothing but the past says what they are, so that a generator which makes small mistakes strays: the
amplitude grows, fades or wanders. A chunk-causal diffusion transformer is trained on such tones in several ways, is
given the start of new ones, and continues them for many chunks.

With `--pipeline` a trained generator streams music instead, once for each line of `--prompts`: loudness, and level
above 4 kHz compared with the whole, in each part of `--part-s` seconds, and how both change from the first part to the
last.

    python demos/bench/stream_drift.py --pipeline runs/continuous --prompts prompts.txt --seconds 60
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from memorised_toy import CONFIG, DIM, FRAMES, NO_PATTERNS, SPEC, train
from torch import Tensor

from latentune import load_pipeline
from latentune.core.files import write_json
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, RectifiedFlowConfig
from latentune.generators.diffusion.own_past import OwnPast
from latentune.generators.given import Given
from latentune.layers.loudness import measure_loudness
from latentune.layers.stft import stft
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.tokenizers.base import Encoded

logger = logging.getLogger("stream_drift")

BLOCKS, WINDOW = 10, 6  # chunks of a training example, and chunks before its own that a chunk sees
CAUSAL = replace(CONFIG, attention="chunk_causal", max_frames=BLOCKS * FRAMES, past_blocks=WINDOW)
HIGH_HZ, HIGH_WINDOW_S = 4000.0, 0.04
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


def high_share_db(audio: Tensor, rate: int) -> float:
    """Power above 4 kHz compared with all of audio [C, N], in dB."""
    window = 2 * round(HIGH_WINDOW_S * rate / 2)
    power = stft(audio.double(), window, window // 2, nyquist=True).abs().square().mean((0, -1))
    return 10 * math.log10(float(power[math.ceil(HIGH_HZ * window / rate) :].sum() / power.sum()) + 1e-9)


def streamed(pipe: GenerationPipeline, prompt: str, seed: int, seconds: float, part_s: float) -> dict[str, list[float]]:
    """Loudness in LUFS and level above 4 kHz in dB of each part of a stream."""
    session = pipe.stream(prompt, duration_s=seconds, generator=torch.Generator().manual_seed(seed))
    audio = torch.cat(list(session), -1)
    parts = [x for x in audio.split(round(part_s * session.sample_rate), -1) if x.shape[-1] > session.sample_rate]
    return {
        "loudness_lufs": [round(measure_loudness(part, session.sample_rate), 2) for part in parts],
        "high_db": [round(high_share_db(part, session.sample_rate), 2) for part in parts],
    }


def stream_table(arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Figures of a stream of each prompt, and their means over streams."""
    pipe = load_pipeline(arguments.pipeline)
    prompts = [""] if arguments.prompts is None else arguments.prompts.read_text().splitlines()
    rows = {
        f"{number} {prompt}": streamed(pipe, prompt, number, arguments.seconds, arguments.part_s)
        for number, prompt in enumerate(prompts)
    }
    means = {}
    for figure in ("loudness_lufs", "high_db"):
        parts = torch.tensor([row[figure] for row in rows.values()])  # [streams, parts]
        changes = parts[:, -1] - parts[:, 0]
        means[figure] = [round(float(x), 2) for x in parts.mean(0)]
        means[f"{figure}_change"] = [round(float(changes.mean()), 2)]
        means[f"{figure}_change_deviation"] = [round(float(changes.std(correction=0)), 2)]
    return {**rows, "mean": means}


def toy_table(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Errors of the streams of tones, by how the generator was trained and sampled."""
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
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--chunks", type=int, default=60, help="of each stream")
    parser.add_argument("--ways", type=int, nargs="*", help="numbers of the ways to train, from 0 on; by default all")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--sampling-steps", type=int, default=8)
    parser.add_argument("--pipeline", help="trained generator that streams, in place of the toy")
    parser.add_argument("--prompts", type=Path, help="file with a prompt in each line, of --pipeline")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of its streams")
    parser.add_argument("--part-s", type=float, default=10.0, help="seconds whose loudness is one figure")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    table: dict[str, Any] = toy_table(arguments) if arguments.pipeline is None else stream_table(arguments)
    if arguments.output:
        write_json(arguments.output, table)
    logger.info("%s", json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
