"""Everything that is missing from docs/benchmarks without a GPU, measured on one GPU in one process within ten minutes.

    python demos/bench/gpu_all.py --output gpu.json        or, on a CPU at tiny sizes:  --tiny --device cpu

Codecs of official sizes with random weights: encode and decode at three lengths in fp32, bf16 and fp16, and compiled,
and the tokens that equal those of fp32. The diffusion transformer next to diffusers' and the language model next to a
Llama, eager and compiled; the backends of attention next to torch's SDPA; the time to the first audio of a stream. Each
figure is a median after a warm-up, the GPU being waited for; memory is the peak that torch has allocated. The file is
written after each row. A part that fails or exceeds its time is a row with `failed`, and the next one follows.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dit_speed
import lm_speed
import streaming
import torch
from gpu_parts import Bench, Call, Row, host_reads
from precision import digits
from torch import Tensor, nn

from latentune.core.compute import compile_model
from latentune.core.device import DTYPES, pick_device
from latentune.core.settings import load_settings
from latentune.layers.attention import Causal, ChunkCausal, Mask, SlidingWindow, attend
from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.load import tokenizer_class

MASKS: dict[str, Mask | None] = {
    "none": None,
    "causal": Causal(),
    "window": SlidingWindow(64, 64),
    "chunks": ChunkCausal(64),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of all that is measured; the default is for a GPU."""

    codecs: tuple[str, ...] = ("codicodec", "taae-240m", "taae-base", "neucodec")
    lengths_s: tuple[float, ...] = (5.0, 30.0, 60.0)
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    dit: tuple[int, int, int, int] = (640, 12, 8, 512)  # width, depth, items, frames: dit-base
    lm: tuple[int, int, int] = (768, 12, 12)  # width, depth, heads: lm-base
    lm_frames: int = 128
    lm_batches: tuple[int, ...] = (1, 8, 32)
    attention: tuple[int, int, int, int] = (4, 12, 2048, 64)  # items, heads, positions, width of a head
    stream: tuple[float, int] = (5.0, 8)  # seconds, steps


TINY = Sizes(
    codecs=("codicodec-tiny", "taae-tiny", "neucodec-tiny"),
    lengths_s=(0.5, 1.0),
    precisions=("fp32", "bf16"),
    dit=(64, 1, 1, 16),
    lm=(32, 1, 2),
    lm_frames=4,
    lm_batches=(1, 2),
    attention=(1, 2, 160, 8),
    stream=(0.5, 1),
)


def codec_calls(codec: AudioTokenizer, seconds: float, device: torch.device) -> dict[str, Call]:
    """Encode and decode of one item at the encoder's own rate, as a user calls them."""
    rate, options = codec.encoder_rate, {"loudness_lufs": None} if type(codec).__name__ == "TAAE" else {}
    noise = torch.randn(1, codec.spec.channels, round(seconds * rate), generator=torch.Generator().manual_seed(1))
    audio = 0.1 * noise.to(device)
    encode = partial(codec.encode, audio, rate, **options)
    latents = encode().latents
    decode = lambda: codec.decode(latents=latents, generator=torch.Generator().manual_seed(0))  # noqa: E731
    return {"encode": encode, "decode": decode}


def random_codec(name: str, dtype: torch.dtype, device: torch.device) -> AudioTokenizer:
    """A codec with weights that depend on the seed alone; made on the device, which is much faster."""
    settings = load_settings(f"tokenizers/{name}")
    torch.manual_seed(0)
    with device:
        codec: AudioTokenizer = tokenizer_class(settings["class_name"]).from_config(settings.get("config", {}))
    return nn.Module.to(codec.eval(), device=device, dtype=dtype)  # not `place`, which reads all weights for a hash


def codec_rows(bench: Bench, sizes: Sizes, name: str, precision: str, compiled: bool = False) -> Iterator[Row]:
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")  # as ComputeConfig does
    codec = random_codec(name, DTYPES[precision], bench.device)
    if compiled:
        compile_model(codec)
    for seconds in sizes.lengths_s:
        for job, call in codec_calls(codec, seconds, bench.device).items():
            figures = bench.time(call)
            row = {"job": job, "length_s": seconds, "rtf": figures["seconds"] / seconds, **figures}
            yield row if compiled else {**row, "host_reads": host_reads(call, bench.device.type)}
            if job == "encode" and seconds == sizes.lengths_s[0]:
                yield {"job": "tokens", **agreement(bench, name, precision, codec, call().tokens.cpu())}


def agreement(bench: Bench, name: str, precision: str, codec: AudioTokenizer, tokens: Tensor) -> Row:
    """The share of tokens and of their digits that equal those of eager fp32."""
    if precision == "fp32":
        bench.kept[name] = tokens
    if name not in bench.kept:
        return {"failed": "fp32 gave no tokens to compare with"}
    whole = bench.kept[name]
    same = digits(tokens, codec) == digits(whole, codec)
    return {"tokens_equal": (tokens == whole).float().mean().item(), "digits_equal": same.float().mean().item()}


def dit_rows(bench: Bench, sizes: Sizes, dtype: torch.dtype, compiled: bool = False) -> Iterator[Row]:
    half = torch.autocast(bench.device.type, dtype, enabled=dtype != torch.float32)
    with bench.device, half:
        for job, calls in dit_speed.contenders(*sizes.dit, compiled=compiled).items():
            row = {"job": job, "items": sizes.dit[2], **bench.medians(calls)}
            row |= {f"{name}_peak_mb": bench.time(call).get("peak_mb") for name, call in calls.items() if bench.cuda}
            yield row if compiled else {**row, "host_reads": host_reads(calls["ours"], bench.device.type)}


def lm_rows(bench: Bench, sizes: Sizes, dtype: torch.dtype, compiled: bool = False) -> Iterator[Row]:
    torch.manual_seed(0)
    ours, llama = (make(*sizes.lm).to(bench.device, dtype) for make in (lm_speed.ours, lm_speed.theirs))
    if compiled:
        compile_model(ours)  # the Llama stays as it is, since `generate` compiles by itself or not at all
    frames = sizes.lm_frames
    for batch in sizes.lm_batches:
        runs = {"ours": lambda n=batch: lm_speed.run_ours(ours, n, frames)}
        if not compiled:
            runs["llama"] = lambda n=batch: lm_speed.run_theirs(llama, n, frames)
        timed = {name: bench.time(call) for name, call in runs.items()}
        row = {f"{name}_{key}": value for name, made in timed.items() for key, value in made.items()}
        speed = {f"{name}_tokens_per_s": batch * frames / made["seconds"] for name, made in timed.items()}
        reads = {} if compiled else {"host_reads": host_reads(runs["ours"], bench.device.type)}
        yield {"batch": batch, **speed, **row, **reads}


def attention_rows(bench: Bench, sizes: Sizes, backend: str) -> Iterator[Row]:
    """One backend next to SDPA on the same inputs: the largest difference, and milliseconds of both."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    q, k, v = torch.randn(3, *sizes.attention, device=bench.device, dtype=dtype)
    for name, mask in MASKS.items():
        calls = {kind: partial(attend, q, k, v, mask, backend=kind) for kind in ("sdpa", backend)}
        try:
            difference = (calls["sdpa"]().float() - calls[backend]().float()).abs().max().item()
            milliseconds = {f"{kind}_ms": 1000 * taken for kind, taken in bench.medians(calls).items()}
            yield {"mask": name, "largest_difference": difference, **milliseconds}
        except (ImportError, ValueError) as error:  # not installed, or it has no kernel for this mask
            yield {"mask": name, "failed": str(error)}


def stream_rows(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    pipe = streaming.random_pipeline("melcodec-music", 0.5).to(bench.device)
    next(pipe.stream("piano", num_inference_steps=1))
    figures = streaming.measure(pipe, *sizes.stream, bench.clock)
    yield {key: value for key, value in figures.items() if "memory" not in key}  # which is the host's


def parts(bench: Bench, sizes: Sizes, compiled: bool) -> Iterator[tuple[str, Callable[[], Iterator[Row]], float]]:
    """Name, rows and most seconds of each part; what is compiled comes last, since it takes longest."""
    for name in sizes.codecs:
        for precision in sizes.precisions:
            yield f"{name} {precision}", partial(codec_rows, bench, sizes, name, precision), 40
    for precision in ("fp32", "bf16"):
        yield f"dit {precision}", partial(dit_rows, bench, sizes, DTYPES[precision]), 30
        yield f"lm {precision}", partial(lm_rows, bench, sizes, DTYPES[precision]), 60
    for backend in ("flex", "flash"):
        yield f"attention {backend}", partial(attention_rows, bench, sizes, backend), 60
    yield "stream", partial(stream_rows, bench, sizes), 30
    if compiled:
        yield "dit bf16 compiled", partial(dit_rows, bench, sizes, torch.bfloat16, compiled=True), 90
        yield "lm bf16 compiled", partial(lm_rows, bench, sizes, torch.bfloat16, compiled=True), 90
        for name in sizes.codecs:
            yield f"{name} bf16 compiled", partial(codec_rows, bench, sizes, name, "bf16", compiled=True), 120


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU, to try the script")
    parser.add_argument("--minutes", type=float, default=9.5, help="after which no part is begun")
    parser.add_argument("--only", nargs="+", help="parts whose names contain one of these words")
    parser.add_argument("--no-compile", action="store_true", help="leave out what is compiled")
    parser.add_argument("--output", type=Path, default=Path("bench_out/gpu.json"))
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bench = Bench(
        device=pick_device(arguments.device),
        repeats=1 if arguments.tiny else 3,
        output=arguments.output,
        end=time.monotonic() + 60 * arguments.minutes,
    )
    gpu = torch.cuda.get_device_name(bench.device) if bench.cuda else None
    bench.head |= {"device": gpu or "cpu", "torch": torch.__version__, "tiny": arguments.tiny}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for name, rows, limit_s in parts(bench, TINY if arguments.tiny else Sizes(), not arguments.no_compile):
        if not arguments.only or any(word in name for word in arguments.only):
            bench.run(name, rows, limit_s)


if __name__ == "__main__":
    main()
