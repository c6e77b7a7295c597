"""Pre-encode audio once, then read latents and tokens at random: what every training run starts from.

python demos/02_encode_a_folder.py demos/fixtures/manifest.jsonl --output demo_out/latents
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import print

import latentune

FIXTURES = Path(__file__).parent / "fixtures" / "manifest.jsonl"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", default=str(FIXTURES), help="a folder, a file or a manifest")
    parser.add_argument("--tokenizer", default="melcodec-music", help="shipped name, folder or hub id")
    parser.add_argument("--output", default="demo_out/latents", help="run again into the same folder to resume")
    options = parser.parse_args(arguments)

    config = latentune.EncodeConfig(source=options.source, output=options.output, tokenizer=options.tokenizer)
    summary = latentune.encode_dataset(config)
    print(f"{summary.num_items} items, {summary.hours * 3600:.1f} s, {summary.audio_hours_per_hour:.0f} hours an hour")
    for failure in summary.failures:
        print(f"left out: {failure.path} ({failure.reason})")

    dataset = latentune.LatentDataset(options.output)
    for index in range(min(3, len(dataset))):
        item = dataset[index]
        assert item.latents is not None  # the dataset holds both streams
        assert item.tokens is not None
        print(item.id, list(item.latents.shape), list(item.tokens.shape), item.metadata)
    batch = latentune.collate([dataset[i] for i in range(len(dataset))], dataset.spec, dataset.silence)
    assert batch.latents is not None
    assert batch.latent_mask is not None
    print(f"a batch: latents {list(batch.latents.shape)}, {int(batch.latent_mask.sum())} of its frames are not padding")


if __name__ == "__main__":
    main()
