"""How much longer `latentune encode` takes than the bare encoder on the same batches: reading, shards and all.

    python demos/bench/encode_overhead.py MANIFEST --every 12 [--tokenizer codicodec-mini] [--output FILE]

The batches that the encoder was given are kept and given to it once more, so that both do the same work in one run.
What a run costs however little it encodes (locks, plan, index, silence) is measured with one file, and counted apart.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentune.core.files import write_json
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.tokenizers.base import Encoded
from latentune.tokenizers.load import load_tokenizer

logger = logging.getLogger("encode_overhead")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--tokenizer", default="codicodec-mini")
    parser.add_argument("--every", type=int, default=1, help="of the manifest's files, each n-th")
    parser.add_argument("--output", type=Path, default=Path("bench_out/encode_overhead.json"))
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(arguments.tokenizer)
    encode, calls = tokenizer.encode, []

    @functools.wraps(encode)
    def recorded(audio: Tensor, sample_rate: int, lengths: Tensor | None = None, **options: Any) -> Encoded:
        calls.append((audio.clone(), sample_rate, lengths, options))
        return encode(audio, sample_rate, lengths, **options)

    with tempfile.TemporaryDirectory() as folder:
        items = find_audio(arguments.manifest)[:: arguments.every]
        source = Path(folder) / "part.jsonl"
        source.write_text("".join(json.dumps({"path": str(item.path)}) + "\n" for item in items))
        encode(torch.zeros(1, tokenizer.spec.channels, tokenizer.spec.sample_rate), tokenizer.spec.sample_rate)
        tokenizer.encode = recorded  # type: ignore[method-assign]

        def encode_all(path: Path, name: str) -> tuple[float, float]:
            """Returns the seconds of a run, and of the bare encoder on the same batches."""
            calls.clear()
            start = time.perf_counter()
            encode_dataset(EncodeConfig(source=str(path), output=str(Path(folder) / name)), tokenizer=tokenizer)
            middle = time.perf_counter()
            for audio, sample_rate, lengths, options in calls:
                encode(audio, sample_rate, lengths, **options)
            return middle - start, time.perf_counter() - middle

        one = Path(folder) / "one.jsonl"
        one.write_text(source.read_text().partition("\n")[0])
        encode_all(one, "warm")  # imports what is needed
        one_s, one_bare_s = encode_all(one, "one")
        fixed_s = max(0.0, one_s - one_bare_s)
        whole_s, bare_s = encode_all(source, "all")
    figures = {
        "tokenizer": arguments.tokenizer,
        "files": len(items),
        "whole_s": whole_s,
        "encoder_s": bare_s,
        "fixed_s": fixed_s,
        "overhead": (whole_s - fixed_s) / bare_s - 1,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, figures)
    logger.info(
        "%d files: %.2f s, of which %.2f s for any number of files; encoder alone %.2f s: %.1f %% over",
        len(items),
        whole_s,
        fixed_s,
        bare_s,
        100 * figures["overhead"],
    )


if __name__ == "__main__":
    main()
