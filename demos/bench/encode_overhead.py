"""How much longer `latentune encode` takes than the bare encoder on the same batches: reading, shards and all.

    python demos/bench/encode_overhead.py MANIFEST --every 12 [--tokenizer codicodec-mini] [--output FILE]

The batches that the encoder was given are kept and given to it once more, so that both do the same work in one run.
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
        start = time.perf_counter()
        encode_dataset(EncodeConfig(source=str(source), output=str(Path(folder) / "latents")), tokenizer=tokenizer)
        whole_s = time.perf_counter() - start
    start = time.perf_counter()
    for audio, sample_rate, lengths, options in calls:
        encode(audio, sample_rate, lengths, **options)
    bare_s = time.perf_counter() - start
    figures = {
        "tokenizer": arguments.tokenizer,
        "files": len(items),
        "whole_s": whole_s,
        "encoder_s": bare_s,
        "overhead": whole_s / bare_s - 1,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, figures)
    logger.info(
        "%d files: %.1f s, encoder alone %.1f s: %.1f %% over",
        len(items),
        whole_s,
        bare_s,
        100 * whole_s / bare_s - 100,
    )


if __name__ == "__main__":
    main()
