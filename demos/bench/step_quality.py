"""Measures samples against real audio: how good they are by the number of steps or passes, and what they cost.

    python demos/bench/step_quality.py HELD_OUT/music.jsonl OUTPUT --prompts prompts.txt --num 8 --seconds 5 \
      --system midpoint50=melcodec-music-dit:num_inference_steps=50 \
      --system euler4=melcodec-music-dit:solver=euler,num_inference_steps=4 --exact midpoint50

Each system is a pipeline with options of its sampler in addition to its defaults. It makes `--num` samples of each
prompt, or without `--prompts` that many batches of `--batch`, from the same noise as every other; what lies in OUTPUT
already is not made again. The sampled streams are kept next to the audio (`streams_*.safetensors`;
`token_statistics.py` reads tokens). Then distances of MusiCNN embeddings are measured with intervals, as by
`latentune evaluate`: fad_musicnn, and kad_musicnn, which few windows do not bias. Every row goes to stdout as a line of
JSON, with the process seconds of the generator alone for a sample, the standard deviation of latents, and their root
mean square difference from those of `--exact`, in units of the normalised latents.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentune import EvaluateConfig, evaluate, load_pipeline, write_audio
from latentune.core.files import write_json
from latentune.generators.parts.normalise import normalise
from latentune.pipelines.generation.pipeline import GenerationPipeline

COST, STREAMS = "cost_{}.json", "streams_{}.safetensors"  # of a seed


def parse_system(text: str) -> tuple[str, str, dict[str, Any]]:
    """`NAME=PIPELINE:key=value,key=value` -> name, pipeline, options."""
    name, _, rest = text.partition("=")
    pipeline, _, options = rest.partition(":")
    pairs = (part.partition("=") for part in options.split(",") if part)
    return name, pipeline, {key: yaml.safe_load(value) for key, _, value in pairs}


def timed_sample(pipe: GenerationPipeline) -> list[float]:
    """A list that gets the process seconds of each call of the generator of a pipeline."""
    generator: Any = pipe.generator
    inner, spent = generator.sample, []

    def timed(*parts: Any, **keys: Any) -> Any:
        start = time.process_time()
        made = inner(*parts, **keys)
        spent.append(time.process_time() - start)
        return made

    generator.sample = timed
    return spent


def sample(folder: Path, pipeline: str, options: dict[str, Any], prompts: list[str], num: int, seconds: float) -> None:
    """Writes the samples of a system for each seed to its folder, with the streams and what they cost."""
    missing = [seed for seed in range(num) if not (folder / COST.format(seed)).is_file()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    pipe = load_pipeline(pipeline)
    spent = timed_sample(pipe)
    for seed in missing:
        made = pipe(prompts, duration_s=seconds, generator=torch.Generator().manual_seed(seed), **options)
        for row, audio in enumerate(made.audio):
            write_audio(folder / f"{row:03}_{seed}.wav", audio, made.sample_rate)
        streams = {} if made.latents is None else {"latents": normalise(made.latents, pipe.generator.binding)}
        streams |= {} if made.tokens is None else {"tokens": made.tokens}
        save_file({name: x.contiguous() for name, x in streams.items()}, folder / STREAMS.format(seed))
        write_json(folder / COST.format(seed), {"samples": len(prompts), "cpu_s": round(spent[-1], 3)})


def cost_of(folder: Path) -> dict[str, Any]:
    """How many samples a folder has, and what the generator took for one; nothing for audio from elsewhere."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(COST.format("*")))]
    count = sum(row["samples"] for row in found)
    return {"samples": count, "cpu_s_per_sample": round(sum(row["cpu_s"] for row in found) / count, 4)} if count else {}


def latents_of(folder: Path) -> Tensor | None:
    """Normalised latents [B, T, D] of a system; None where it has none."""
    found = [load_file(path).get("latents") for path in sorted(folder.glob(STREAMS.format("*")))]
    parts = [x for x in found if x is not None]
    return torch.cat(parts) if parts else None


def rms_between(folder: Path, exact: Path) -> float | None:
    """Root mean square difference of the latents of two systems, where both have some."""
    one, other = latents_of(folder), latents_of(exact)
    if one is None or other is None or one.shape != other.shape:
        return None
    return round(float((one - other).square().mean().sqrt()), 4)


def rows(folders: dict[str, Path], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of each system."""
    first, *others = map(str, folders.values())
    table = evaluate(
        EvaluateConfig(
            reference=arguments.reference,
            generated=first,
            systems=tuple(others),
            names=tuple(folders),
            metrics=("fad", "kad"),
            window_overlap=arguments.overlap,
            cache_dir=str(arguments.output / "cache"),
        )
    )
    for name, folder in folders.items():
        row: dict[str, Any] = {"system": name}
        for figure in table.figures:
            found = table.estimate(name, figure)
            ends = {figure: found.value, f"{figure}_low": found.low, f"{figure}_high": found.high}
            row |= {key: None if value is None else round(value, 2) for key, value in ends.items()}
        row |= cost_of(folder)
        latents = latents_of(folder)
        row["deviation"] = None if latents is None else round(float(latents.std()), 3)
        if arguments.exact is not None:
            row["rms_from_exact"] = rms_between(folder, folders[arguments.exact])
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", help="real audio: a folder or a manifest")
    parser.add_argument("output", type=Path, help="folder with a folder for each system")
    parser.add_argument("--prompts", type=Path, help="file with a prompt in each line; by default nothing is asked for")
    parser.add_argument("--system", action="append", default=[], help="NAME=PIPELINE:key=value,key=value; repeat it")
    parser.add_argument("--made", action="append", default=[], help="NAME=FOLDER of audio that exists; repeat it")
    parser.add_argument("--exact", help="name of the system whose latents all others are compared with")
    parser.add_argument("--num", type=int, default=8, help="samples of each prompt")
    parser.add_argument("--batch", type=int, default=12, help="samples for each seed where there are no prompts")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a sample")
    parser.add_argument("--overlap", type=float, default=0.5, help="of the windows of the embedder")
    parser.add_argument("--sample-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()

    prompts = [""] * arguments.batch
    if arguments.prompts is not None:
        prompts = [line for line in arguments.prompts.read_text().splitlines() if line.strip()]
    folders = {name: Path(folder) for name, folder in (text.split("=", 1) for text in arguments.made)}
    systems = list(map(parse_system, arguments.system))
    folders |= {name: arguments.output / name for name, _, _ in systems}
    if arguments.exact is not None and arguments.exact not in folders:
        parser.error(f"--exact names no system: {arguments.exact!r} is not one of {', '.join(folders)}")
    for name, pipeline, options in systems:
        sample(folders[name], pipeline, options, prompts, arguments.num, arguments.seconds)
    if not arguments.sample_only:
        for row in rows(folders, arguments):
            sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
