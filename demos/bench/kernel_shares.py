"""Shares of the kernels in the time of a codec: `python demos/bench/kernel_shares.py codicodec taae neucodec`.

Convolution, matrix multiplication and attention are torch's, for the official packages as for Latentune, so that their
share bounds what anything around them can gain: at most 1 / share. Random weights at the official sizes, fp32, one
thread, one pass of encoding and of decoding after a first one; the times are those that torch's profiler gives each
operator by itself.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.codicodec import CoDiCodec
from latentune.tokenizers.neucodec import NeuCodec
from latentune.tokenizers.taae import TAAE, TAAEConfig

logger = logging.getLogger("kernel_shares")
KERNELS = {
    "matmul": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "convolution": ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward", "aten::convolution_overrideable"),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu",),
}
LARGEST = 5  # operators that are named by themselves


def codec(name: str) -> tuple[AudioTokenizer, dict[str, Any], dict[str, Any]]:
    """Returns the codec, its options of encoding and those of decoding."""
    if name == "taae":
        return TAAE(TAAEConfig.preset("taae-240m")).eval(), {"loudness_lufs": None}, {}
    if name == "neucodec":
        return NeuCodec.from_config({}).eval(), {}, {}
    return CoDiCodec.from_config({}).eval(), {}, {"steps": 1}


def shares(call: Callable[[], Any]) -> dict[str, Any]:
    call()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        call()
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(times.values())
    found = {group: sum(times.get(key, 0) for key in keys) / total for group, keys in KERNELS.items()}
    largest = sorted(times, key=lambda key: -times[key])[:LARGEST]
    return {
        "kernels": sum(found.values()),
        **found,
        "largest": {key: times[key] / total for key in largest},
        "seconds": total / 1e6,
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codecs", nargs="+", choices=("codicodec", "taae", "neucodec"))
    parser.add_argument("--seconds", type=float, default=12.0, help="of audio")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    for name in args.codecs:
        torch.manual_seed(0)
        model, encoding, decoding = codec(name)
        spec = model.spec
        audio = 0.1 * torch.randn(1, spec.channels, int(args.seconds * spec.sample_rate))
        encoded = model.encode(audio, spec.sample_rate, **encoding)
        calls: dict[str, Callable[[], Any]] = {
            "encode": lambda m=model, a=audio, o=encoding: m.encode(a, m.spec.sample_rate, **o),
            "decode": lambda m=model, z=encoded.latents, o=decoding: m.decode(latents=z, **o),
        }
        for job, call in calls.items():
            logger.info("%s", json.dumps({"codec": name, "job": job, **shares(call)}))


if __name__ == "__main__":
    main()
