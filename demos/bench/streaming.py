"""Streams of a chunk-causal diffusion transformer: time to the first audio, real-time factor, memory.

    OMP_NUM_THREADS=2 python demos/bench/streaming.py --seconds 20 --output streaming.json

The generator has the size of `dit-small` and random weights, which cost the same time as trained ones, on the latents
of `melcodec-music` with its live decoder. Beside the stream stands what needs no cache: every block is sampled with
the whole window before it read again at each step, which is how streams without a cache work. `--no-wall` takes
process times, for a machine that has other work.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentune import load_tokenizer
from latentune.core.files import write_json
from latentune.generators.base import TokenizerBinding, TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.pipelines.generation.pipeline import GenerationPipeline

logger = logging.getLogger("streaming")
CROP_S = 5.12  # of the window, as the recipes train it


def random_pipeline(tokenizer_name: str, block_s: float) -> GenerationPipeline:
    """A pipeline of the size of `dit-small` with random weights."""
    tokenizer = load_tokenizer(tokenizer_name)
    spec, dim = tokenizer.spec, tokenizer.spec.latent_dim
    config = DiffusionTransformerConfig(
        binding=TokenizerBinding(
            spec=spec, fingerprint=tokenizer.fingerprint(), latent_mean=(0.0,) * dim, latent_std=(1.0,) * dim
        ),
        width=208,
        depth=5,
        heads=4,
        max_frames=4096,
        attention="chunk_causal",
        block_chunks=spec.nearest_chunks(block_s),
        conditioning=ConditioningConfig(
            width=128,
            conditioners={
                "text": {"kind": "bytes", "layers": 2, "heads": 4, "num_tokens": 8},
                "seconds": {"kind": "seconds"},
            },
        ),
        trained_on=TrainedOn(crop_s=CROP_S, conditions=("text",), given=True),
    )
    torch.manual_seed(0)
    return GenerationPipeline(tokenizer, DiffusionTransformer(config).eval())


@torch.no_grad()
def read_again_s(pipe: GenerationPipeline, steps: int, clock: Callable[[], float]) -> float:
    """Seconds to sample one block behind a full window that is read again at each step, without the codec."""
    model: Any = pipe.generator
    block, window = model.settings.block_frames, model.settings.window_blocks
    x = torch.randn(1, (window + 1) * block, pipe.spec.latent_dim)
    times = torch.zeros(x.shape[:2])
    encoded = model.condition_encoder(Conditions.of(["piano"], 10.0))
    start = clock()
    for step in range(steps):
        times[:, -block:] = 1.0 - step / steps
        model(x, times, conditions=encoded)
    return clock() - start


def measure(pipe: GenerationPipeline, seconds: float, steps: int, clock: Callable[[], float]) -> dict[str, float]:
    """Figures of one stream, with the codec's live decoder."""
    session = pipe.stream("piano", generator=torch.Generator().manual_seed(0), num_inference_steps=steps)
    start = before = clock()
    first, times, samples = 0.0, [], 0
    memory_mb: list[float] = []
    while samples < seconds * session.sample_rate:
        audio: Tensor = next(session)
        now = clock()
        first = first or now - start
        times.append((now - before) / (audio.shape[-1] / session.sample_rate))
        samples, before = samples + audio.shape[-1], now
        memory_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    half = len(memory_mb) // 2
    return {
        "time_to_first_audio_s": round(first, 3),
        "computing_time_per_second": round(statistics.median(times[half:]), 3),
        "peak_memory_mb_at_half": round(memory_mb[half]),
        "peak_memory_mb_at_end": round(memory_mb[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default="melcodec-music")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--block-s", type=float, default=0.5, help="length of a block")
    parser.add_argument("--steps", type=int, default=8, help="of sampling, for each block")
    parser.add_argument("--no-wall", action="store_true", help="times of the process in place of the clock")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clock = time.process_time if arguments.no_wall else time.perf_counter
    pipe = random_pipeline(arguments.tokenizer, arguments.block_s)
    next(pipe.stream("piano", num_inference_steps=1))  # warms up
    settings: Any = pipe.generator.settings
    block_s = settings.block_frames / pipe.spec.latent_rate_hz
    figures = measure(pipe, arguments.seconds, arguments.steps, clock)
    again = statistics.median(read_again_s(pipe, arguments.steps, clock) for _ in range(3))
    figures |= {
        "block_s": round(block_s, 3),
        "read_again_computing_time_per_second": round(again / block_s, 3),
        "window_blocks": settings.window_blocks,
    }
    logger.info("%s", json.dumps(figures, indent=2))
    if arguments.output:
        write_json(arguments.output, figures)


if __name__ == "__main__":
    main()
