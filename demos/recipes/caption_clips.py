"""Draws recordings with a caption of each: the captions to sample a generator with, and what it is compared with.

    python demos/recipes/caption_clips.py captions.jsonl clips/ --num 48
    latentune sample melcodec-music-dit samples/ --prompts-file clips/prompts.txt --num 1 --seconds 10
    latentune evaluate HELD_OUT/music.jsonl clips/ samples/ --window-overlap 0

The clips went through the codec, as samples do, so that the distance of a generator that obeys its captions is theirs.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import latentune
from latentune.core.files import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokenizer", default="melcodec-music")
    parser.add_argument("--num", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each clip")
    parser.add_argument("--start-s", type=float, default=25.0, help="of the clip in its excerpt, or earlier if it ends")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.captions.read_text(encoding="utf-8").splitlines()]
    if arguments.num > len(rows):
        parser.error(f"{arguments.captions} has {len(rows)} recordings, {arguments.num} are asked for")
    draws = random.Random(0)
    drawn = draws.sample(rows, arguments.num)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output / "prompts.txt", "".join(draws.choice(row["text"]) + "\n" for row in drawn))
    codec = latentune.load_tokenizer(arguments.tokenizer)
    for number, row in enumerate(drawn):
        latest_s = max(0.0, row.get("duration", 0.0) - arguments.seconds)
        start_s = row.get("offset", 0.0) + min(arguments.start_s, latest_s)
        audio, rate = latentune.read_audio(row["path"], start_s=start_s, duration_s=arguments.seconds)
        decoded = codec.decode_encoded(codec.encode(audio[None], rate), "latents")
        latentune.write_audio(arguments.output / f"{number:03}.wav", decoded[0], codec.spec.sample_rate)


if __name__ == "__main__":
    main()
