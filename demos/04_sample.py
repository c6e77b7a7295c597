"""Prompts to audio, as a library: load a pipeline, call it, write what it gives.

python demos/04_sample.py melcodec-music-dit --prompt "calm orchestral music" --seconds 5 --output demo_out/samples
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich import print

import latentune


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", nargs="?", default="melcodec-music-dit", help="shipped name or a folder")
    parser.add_argument("--prompt", action="append", help="say it several times for several samples")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo_out/samples"))
    options = parser.parse_args(arguments)

    pipe = latentune.load_pipeline(options.pipeline)
    prompts = options.prompt or ["calm orchestral music", "fast electronic dance music"]
    generator = torch.Generator().manual_seed(options.seed)  # all randomness comes from here
    out = pipe(prompts, duration_s=options.seconds, generator=generator)

    options.output.mkdir(parents=True, exist_ok=True)
    for index, prompt in enumerate(out.prompts):
        path = options.output / f"{index}.wav"
        latentune.write_audio(path, out.item(index), out.sample_rate)
        print(f"{prompt!r}: wrote {path}")


if __name__ == "__main__":
    main()
