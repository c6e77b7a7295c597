"""Measures samples in few steps against real audio: `python demos/bench/step_quality.py REFERENCE PROMPTS OUTPUT
--system base=melcodec-music-dit:solver=midpoint,num_inference_steps=4 --made old=FOLDER`.

Each system is a pipeline with options of its sampler in addition to its defaults. It makes `--num` samples of each
line of PROMPTS from the same seeds; what lies in OUTPUT already is not made again. Then the Fréchet distance of MusiCNN
embeddings (fad_musicnn) of all systems is measured with intervals, as by `latentune evaluate`. Every row goes to stdout
as a line of JSON, with the process seconds of the generator alone for a second of sound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from latentune import EvaluateConfig, evaluate, load_pipeline, write_audio
from latentune.core.files import write_json

TIMES = "times.json"


def parse_system(text: str) -> tuple[str, str, dict[str, Any]]:
    """`NAME=PIPELINE:key=value,key=value` -> name, pipeline, options."""
    name, _, rest = text.partition("=")
    pipeline, _, options = rest.partition(":")
    pairs = (part.partition("=") for part in options.split(",") if part)
    return name, pipeline, {key: yaml.safe_load(value) for key, _, value in pairs}


def sample(
    folder: Path, pipeline: str, options: dict[str, Any], prompts: list[str], arguments: argparse.Namespace
) -> None:
    """Writes the samples of a system, and the process seconds of sampling, to its folder."""
    if (folder / TIMES).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    pipe = load_pipeline(pipeline)
    generator: Any = pipe.generator
    generator_s = 0.0
    inner = generator.sample

    def timed(*parts: Any, **keys: Any) -> Any:
        nonlocal generator_s
        start = time.process_time()
        made = inner(*parts, **keys)
        generator_s += time.process_time() - start
        return made

    generator.sample = timed
    for number in range(arguments.num):
        made = pipe(
            prompts,
            duration_s=arguments.seconds,
            generator=torch.Generator().manual_seed(number),
            **options,
        )
        for row, audio in enumerate(made.audio):
            write_audio(folder / f"{row:03}_{number}.wav", audio, made.sample_rate)
    total_s = arguments.seconds * len(prompts) * arguments.num
    write_json(folder / TIMES, {"cpu_s_per_s": round(generator_s / total_s, 4)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", help="real audio: a folder or a manifest")
    parser.add_argument("prompts", type=Path, help="file with a prompt in each line")
    parser.add_argument("output", type=Path, help="folder with a folder for each system")
    parser.add_argument("--system", action="append", default=[], help="NAME=PIPELINE:key=value,key=value; repeat it")
    parser.add_argument("--made", action="append", default=[], help="NAME=FOLDER of samples that exist; repeat it")
    parser.add_argument("--num", type=int, default=2, help="samples of each prompt")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a sample")
    parser.add_argument("--overlap", type=float, default=0.5, help="of the windows of the embedder")
    parser.add_argument("--sample-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()

    prompts = [line for line in arguments.prompts.read_text().splitlines() if line.strip()]
    folders = dict(text.split("=", 1) for text in arguments.made)
    for name, pipeline, options in map(parse_system, arguments.system):
        folders[name] = str(arguments.output / name)
        sample(Path(folders[name]), pipeline, options, prompts, arguments)
    if arguments.sample_only:
        return
    first, *others = folders.values()
    table = evaluate(
        EvaluateConfig(
            reference=arguments.reference,
            generated=first,
            systems=tuple(others),
            names=tuple(folders),
            window_overlap=arguments.overlap,
            cache_dir=str(arguments.output / "cache"),
        )
    )
    for name, folder in folders.items():
        times = Path(folder) / TIMES
        row = table.estimate(name, table.metric)
        spent = json.loads(times.read_text()) if times.is_file() else {}
        numbers = {"fad_musicnn": row.value, "low": row.low, "high": row.high}
        figures = {key: None if value is None else round(value, 1) for key, value in numbers.items()}
        sys.stdout.write(json.dumps({"system": name, **figures, **spent}) + "\n")


if __name__ == "__main__":
    main()
