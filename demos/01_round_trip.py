"""Hear what a codec does to a file: audio -> latents and tokens -> audio, both streams written to one folder.

python demos/01_round_trip.py demos/fixtures/guitar_em9.flac --output demo_out/round_trip
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich import print

import latentune

FIXTURE = Path(__file__).parent / "fixtures" / "guitar_em9.flac"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", nargs="?", default=FIXTURE, help="an audio file of any rate and format")
    parser.add_argument("--tokenizer", default="melcodec-music", help="shipped name, folder or hub id")
    parser.add_argument("--steps", type=int, help="of a codec that decodes in steps; by default its own number")
    parser.add_argument("--output", type=Path, default=Path("demo_out/round_trip"))
    options = parser.parse_args(arguments)

    tokenizer = latentune.load_tokenizer(options.tokenizer)
    spec = tokenizer.spec
    audio, sample_rate = latentune.read_audio(options.audio)  # [C, N]
    encoded = tokenizer.encode(audio[None], sample_rate)
    print(f"{audio.shape[-1] / sample_rate:.1f} s of audio at {sample_rate} Hz, {len(audio)} channels")
    print(f"latents {list(encoded.latents.shape)}: {spec.latent_dim} numbers, {spec.latent_rate_hz:.1f} times a second")
    print(f"tokens  {list(encoded.tokens.shape)}: {spec.bitrate_bps / 1000:.2f} kbit/s")

    options.output.mkdir(parents=True, exist_ok=True)
    decoding = {} if options.steps is None else {"steps": options.steps}
    for stream in ("latents", "tokens"):
        noise = torch.Generator().manual_seed(0)
        decoded = tokenizer.decode_encoded(encoded, stream, generator=noise, **decoding)
        path = options.output / f"from_{stream}.wav"
        latentune.write_audio(path, decoded[0], spec.sample_rate)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
