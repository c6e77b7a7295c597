"""Send the tokens of speech over a channel that flips bits: listen to the result, and measure ways to receive it.

python demos/06_channel.py --output demo_out/channel
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich import print

import latentune
from latentune.pipelines.measure.channel.channel import binary_symmetric
from latentune.pipelines.measure.channel.labelling import Labelling

FIXTURE = Path(__file__).parent / "fixtures" / "austen_0880.wav"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", nargs="?", default=FIXTURE, help="a file of speech")
    parser.add_argument("--tokenizer", default="melcodec-speech", help="shipped name, folder or hub id")
    parser.add_argument("--p", type=float, nargs="+", default=[0.001, 0.01, 0.1], help="probabilities that a bit flips")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the file")
    parser.add_argument("--output", type=Path, default=Path("demo_out/channel"))
    options = parser.parse_args(arguments)

    tokenizer = latentune.load_tokenizer(options.tokenizer)
    audio, sample_rate = latentune.read_audio(options.audio, duration_s=options.seconds)  # [C, N]
    encoded = tokenizer.encode(audio[None], sample_rate)
    labelling = Labelling(tokenizer.spec.levels, "gray")  # neighboring levels differ in one bit
    bits = labelling.tokens_to_bits(encoded.tokens[0])  # [T, bits of a frame]
    options.output.mkdir(parents=True, exist_ok=True)
    for p in options.p:
        received = binary_symmetric(bits, p, torch.Generator().manual_seed(0))
        damaged = replace(encoded, tokens=labelling.bits_to_tokens(received.bits)[0][None])
        decoded = tokenizer.decode_encoded(damaged, "tokens", generator=torch.Generator().manual_seed(0))
        latentune.write_audio(options.output / f"p_{p:g}.wav", decoded[0], tokenizer.spec.sample_rate)
        print(f"p_{p:g}.wav: {int((received.bits ^ bits).sum())} of {bits.numel()} bits flipped")

    config = latentune.RobustnessConfig(
        audio=str(options.audio),
        output=str(options.output),
        p=tuple(options.p),
        labellings=("natural", "gray"),
        soft=True,  # also decode the mean of everything that may have been sent
        max_duration_s=options.seconds,
    )
    print(latentune.run_robustness(config, tokenizer).view())
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
