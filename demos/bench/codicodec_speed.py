"""CoDiCodec compared with the official package on a CPU, same weights, same audio, in one run.

    make bench        or        python demos/bench/codicodec_speed.py --seconds 30 --steps 5 --repeats 3

Both run encode and parallel decode at equal precision; the official package's own default, autocast to fp16, is made
for GPUs. The order alternates; the ratio of medians is reported. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from official_codicodec import official_modules, official_network, save_official, test_audio
from timing import add_precision, median_seconds, official_autocast
from torch import Tensor

from latentune.core.device import DTYPES
from latentune.core.files import write_json
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

logger = logging.getLogger("codicodec_speed")
Contender = Callable[[], Tensor]


def official_contenders(
    models: Any, audio_module: Any, network: Any, audio: Tensor, steps: int, precision: str
) -> dict[str, Contender]:
    """Encode and parallel decode as the official inference code runs them, in batches of its default sizes."""
    config = models
    spectrogram = audio_module.to_representation_encoder(audio)
    pad = -spectrogram.shape[-1] % config.spec_length

    @torch.no_grad()
    def run(function: Contender) -> Tensor:
        with official_autocast(precision):
            return function()

    def encode() -> Tensor:
        frames = torch.nn.functional.pad(audio_module.to_representation_encoder(audio), (0, pad))
        chunks = torch.cat(torch.split(frames, config.spec_length, dim=-1), dim=0)
        return torch.cat([network.encoder_forward(part, dont_quantize=True) for part in chunks.split(64)])

    latents = run(encode).float().flatten(0, 1)[None]
    latents = torch.nn.functional.pad(latents, (0, 0, 0, -latents.shape[1] % (2 * config.num_latents)))

    def decode() -> Tensor:
        with official_autocast(precision):
            frames = network.decode_single_parallel(latents, denoising_steps=steps)
        return audio_module.to_waveform(frames.float())

    return {"encode": lambda: run(encode), "decode": lambda: run(decode)}


def our_contenders(codec: CoDiCodec, audio: Tensor, steps: int) -> dict[str, Contender]:
    latents = codec.encode(audio, codec.settings.sample_rate).latents
    return {
        "encode": lambda: codec.encode(audio, codec.settings.sample_rate).latents,
        "decode": lambda: codec.decode(latents=latents, steps=steps, generator=torch.Generator().manual_seed(0)),
    }


def compare(ours: dict[str, Contender], theirs: dict[str, Contender], repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of both for each job, alternating, and their ratio (above 1: ours is faster)."""
    result = {}
    for job in ours:
        seconds = median_seconds({"ours": ours[job], "official": theirs[job]}, repeats)
        logger.info("%s: ours %.2f s, official %.2f s", job, *seconds.values())
        result[job] = {f"{name}_s": taken for name, taken in seconds.items()}
        result[job]["ratio"] = seconds["official"] / seconds["ours"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the audio")
    parser.add_argument("--steps", type=int, default=5, help="denoising steps")
    parser.add_argument("--repeats", type=int, default=1)
    add_precision(parser)
    parser.add_argument("--output", type=Path, default=Path("bench_out/codicodec.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models, audio_module = official_modules(CoDiCodecConfig())
    network = official_network(models, seed=0)
    audio = test_audio(int(arguments.seconds * 48000), seed=1)
    with tempfile.TemporaryDirectory() as folder:
        save_official(network, Path(folder) / "codicodec.pt")
        codec = CoDiCodec.from_official(folder, torch_dtype=DTYPES[arguments.precision])
    short = audio[..., : 3 * 48000]  # the first calls pay for threads, kernels and memory
    for warm_up in (
        our_contenders(codec, short, 1),
        official_contenders(models, audio_module, network, short, 1, arguments.precision),
    ):
        for function in warm_up.values():
            function()
    threads = torch.get_num_threads()
    result: dict[str, object] = {"seconds": arguments.seconds, "steps": arguments.steps, "threads": threads}
    theirs = official_contenders(models, audio_module, network, audio, arguments.steps, arguments.precision)
    result[arguments.precision] = compare(our_contenders(codec, audio, arguments.steps), theirs, arguments.repeats)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, result)
    logger.info("%s", json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
