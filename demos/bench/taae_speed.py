"""TAAE compared with the official classes on a CPU: same weights, same audio, fp32, window on, in one run.

    make bench        or        python demos/bench/taae_speed.py --size taae-base --seconds 30 --repeats 3

Seconds of work per second of audio (RTF, as in appendix A.9 of the paper) for encode and decode at each length, the
order alternating; the ratio of medians is reported, and the largest difference of the results. The official classes
drop the window where flash-attn is missing, as it is on a CPU; here they get it back as a mask, through torch's fused
attention, which they do not use there by themselves. With `--as-released` they run as they are, with other results.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from official_taae import give_window, official_network, save_official
from timing import add_precision, median_seconds, official_autocast
from torch import Tensor, nn

from latentune.core.device import DTYPES
from latentune.core.files import write_json
from latentune.tokenizers.taae import TAAE, TAAEConfig

logger = logging.getLogger("taae_speed")
Contender = Callable[[], Tensor]


def official_contenders(network: nn.Module, audio: Tensor, precision: str) -> dict[str, Contender]:
    """Encoder output before the bottleneck, and its decoding without rounding, as ours does with latents."""

    @torch.no_grad()
    @official_autocast(precision)
    def encode() -> Tensor:
        return network.encoder(network.pretransform.encode(audio))  # type: ignore[operator, union-attr]

    values = torch.tanh(encode())

    @torch.no_grad()
    @official_autocast(precision)
    def decode() -> Tensor:
        return network.pretransform.decode(network.decoder(values))  # type: ignore[operator, union-attr]

    return {"encode": encode, "decode": decode}


def our_contenders(codec: TAAE, audio: Tensor) -> dict[str, Contender]:
    """The whole path: checks, both streams, trimming."""

    def encode() -> Tensor:
        return codec.encode(audio, codec.settings.sample_rate, loudness_lufs=None).latents

    latents = encode()
    return {
        "encode": lambda: (encode() * codec.settings.latent_scale).transpose(1, 2),
        "decode": lambda: codec.decode(latents=latents),
    }


def compare(ours: dict[str, Contender], official: dict[str, Contender], seconds: float, repeats: int) -> dict:
    """RTF of both for each job and their ratio (above 1: ours is faster)."""
    result = {}
    for job in ours:
        contenders = {"ours": ours[job], "official": official[job]}
        made = {name: function() for name, function in contenders.items()}  # also the warm-up
        # ours clamps audio to [-1, 1] and latents to what tanh can distinguish
        limit = 1.0 if job == "decode" else 6.0
        difference = (
            (made["ours"].clamp(-limit, limit) - made["official"].float().clamp(-limit, limit)).abs().max().item()
        )
        rtf = {name: taken / seconds for name, taken in median_seconds(contenders, repeats).items()}
        result[job] = {
            "ours_rtf": rtf["ours"],
            "official_rtf": rtf["official"],
            "ratio": rtf["official"] / rtf["ours"],
            "largest_difference": difference,
        }
        logger.info("%g s, %s: %s", seconds, job, json.dumps(result[job]))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="taae-240m", help="a preset of configs/tokenizers; taae-base needs 9 GB")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 30.0, 60.0], help="lengths of the audio")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--as-released", action="store_true", help="leave the official classes without their window")
    parser.add_argument("--output", type=Path, default=Path("bench_out/taae.json"))
    add_precision(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = TAAEConfig.preset(arguments.size)
    network = official_network(config, seed=0)
    if not arguments.as_released:
        network = give_window(network)
    with tempfile.TemporaryDirectory() as folder:
        save_official(network, config, Path(folder))
        codec = TAAE.from_official(folder, torch_dtype=DTYPES[arguments.precision])
    result: dict[str, object] = {
        "size": arguments.size,
        "threads": torch.get_num_threads(),
        "precision": arguments.precision,
    }
    for seconds in arguments.seconds:
        # whole hops, which is all that the official classes take
        num_samples = round(seconds * config.sample_rate) // config.hop_samples * config.hop_samples
        audio = 0.1 * torch.randn(1, 1, num_samples, generator=torch.Generator().manual_seed(1))
        contenders = our_contenders(codec, audio), official_contenders(network, audio, arguments.precision)
        result[f"{seconds:g} s"] = compare(*contenders, seconds, arguments.repeats)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, result)
    logger.info("%s", json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
