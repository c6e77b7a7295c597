"""Reconstruction figures of a codec on held-out music and speech, for its model card.

    python demos/recipes/model_card_figures.py CODEC CORPORA/manifest.jsonl figures.json --steps 1 2 3 4 5

Music is the package singularity-music (the test split), speech the test split of all speech; the first seconds of each
file, through latents and tokens, also of an untrained network and silence. `--steps` for a codec that decodes in steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from latentune.core.files import write_json
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.measure.codecs.evaluate import evaluate_tokenizer
from latentune.pipelines.measure.codecs.systems import silence, untrained
from latentune.pipelines.measure.results import summary_records
from latentune.tokenizers.load import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--files", type=int, default=16, help="of music and of speech")
    parser.add_argument("--kinds", nargs="+", default=["music", "speech"], help="of the manifest")
    parser.add_argument("--steps", type=int, nargs="*", default=[], help="decoding steps to measure")
    parser.add_argument("--seconds", type=float, default=6.0, help="from the start of each file")
    arguments = parser.parse_args()
    codec = load_tokenizer(arguments.codec)
    figures = {}
    for kind in arguments.kinds:
        items = find_audio(arguments.manifest, where={"kind": kind, "split": "test"})
        items = [item for item in items if item.metadata["seconds"] >= 2.0]
        result = evaluate_tokenizer(
            codec,
            items[:: max(1, len(items) // arguments.files)][: arguments.files],
            options={f"{n} steps": {"steps": n} for n in arguments.steps},
            baselines={"silence": silence},
            untrained=untrained(codec),
            max_duration_s=arguments.seconds,
        )
        figures[kind] = summary_records(result)
    write_json(arguments.output, {"codec": codec.fingerprint(), "seconds": arguments.seconds, "figures": figures})


if __name__ == "__main__":
    main()
