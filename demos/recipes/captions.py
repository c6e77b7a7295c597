"""Writes a manifest whose `text` is a list of short English captions per recording, to train generators on.

    python demos/recipes/captions.py CORPORA/manifest.jsonl captions.jsonl --kind music

A caption joins what is known of the package that a recording comes from (its style) with what is measured on the
recording: tempo, brightness and density of onsets. The words of a measured quality are those of its third among all
recordings, so that "fast" means fast for these data. Recordings that are silent where they are measured, for which
these words would be wrong and which teach generators silence, are left out and counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentune import read_audio
from latentune.core.files import write_text
from latentune.layers.mel import mel_filters
from latentune.layers.stft import stft

logger = logging.getLogger(__name__)

STYLES = {
    "colobot-common-sounds": ("electronic soundtrack", "ambient synthesizer soundtrack"),
    "fretsonfire-songs-muldjord": ("death metal", "heavy metal with distorted guitars"),
    "fretsonfire-songs-sectoid": ("rock with electric guitar", "guitar rock"),
    "hedgewars-data": ("cheerful cartoon music", "playful game music"),
    "marsshooter-data": ("metal with a female voice", "female fronted metal"),
    "nexuiz-music": ("industrial electronic music", "electronic action music"),
    "pushover-data": ("chiptune", "retro game music"),
    "supertux-data": ("cheerful electronic game music", "video game music with synthesizers"),
    "trackballs-data": ("techno", "electronic dance music"),
    "ufoai-music": ("dark electronic soundtrack", "science fiction soundtrack"),
    "warzone2100-music": ("ambient electronic music", "futuristic war game soundtrack"),
    "wesnoth-1.16-music": ("orchestral music", "romantic classical orchestral music"),
}
LANGUAGES = {
    "en": "English",
    "ru": "Russian",
    "cs": "Czech",
    "nl": "Dutch",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
}
WORDS = {  # of the lowest, middle and highest third of each measured quality
    "tempo": ("slow", "moderate", "fast"),
    "brightness": ("dark", "", "bright"),
    "density": ("calm", "", "busy"),
}
SAMPLE_RATE, WINDOW, HOP, NUM_MELS = 22050, 1024, 512, 64
MEASURED_S = 30.0  # from the middle of a recording
TEMPO_RANGE_BPM = (50.0, 200.0)
SILENCE_DB = -60.0  # relative to full scale; a recording whose mean level is lower counts as silent


def measure(path: Path, seconds: float) -> dict[str, float]:
    """Level in dB, tempo in BPM, brightness (spectral centroid in Hz) and density (mean onset strength)."""
    from latentune.pipelines.data.audio.convert import resample, select_channels

    audio, rate = read_audio(path, start_s=max(0.0, (seconds - MEASURED_S) / 2), duration_s=MEASURED_S)
    mono = resample(select_channels(audio, 1), rate, SAMPLE_RATE)
    spectrum = stft(mono, WINDOW, HOP, nyquist=True).abs()[0]  # [F, T]
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    brightness = float((spectrum.mean(1) * frequencies).sum() / spectrum.sum(0).mean().clamp_min(1e-9))
    mels = (mel_filters(SAMPLE_RATE, WINDOW, NUM_MELS).float() @ spectrum).clamp_min(1e-4).log()
    onsets = mels.diff(dim=1).clamp_min(0).mean(0)
    level_db = 10 * math.log10(max(float(mono.square().mean()), 1e-12))
    density = float(onsets.mean())
    return {"level_db": level_db, "tempo": tempo_bpm(onsets.numpy()), "brightness": brightness, "density": density}


def tempo_bpm(onsets: np.ndarray) -> float:
    """The lag of the highest peak of the onsets' autocorrelation, weighted towards 120 beats per minute."""
    centred = onsets - onsets.mean()
    size = 2 * len(centred)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2)[: len(centred)]
    lags = np.arange(1, len(centred))
    bpm = 60.0 * SAMPLE_RATE / HOP / lags
    inside = (bpm >= TEMPO_RANGE_BPM[0]) & (bpm <= TEMPO_RANGE_BPM[1])
    weight = np.exp(-0.5 * (np.log2(bpm / 120.0) / 0.8) ** 2)
    return float(bpm[np.argmax(np.where(inside, correlation[1:] * weight, -np.inf))])


def thirds(values: Sequence[float]) -> tuple[float, float]:
    """Limits of the lower and the upper third."""
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    return float(low), float(high)


def music_captions(row: dict[str, Any], limits: dict[str, tuple[float, float]]) -> list[str]:
    """The style alone, and with the words of what was measured."""
    words = {}
    for name, (low, high) in limits.items():
        words[name] = WORDS[name][int(row[name] > low) + int(row[name] > high)]
    captions = []
    for style in STYLES[row["package"]]:
        moods = [words[name] for name in ("density", "brightness") if words[name]]
        captions += [style, f"{words['tempo']} {style}", " ".join([", ".join(moods), style]).strip()]
        captions.append(f"{style}, {', '.join([*moods, words['tempo'] + ' tempo'])}")
    return list(dict.fromkeys(captions))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--kind", choices=["music", "speech"], help="by default both")
    parser.add_argument("--split", default="train")
    parser.add_argument("--every", type=int, default=1, help="keep every n-th recording of the split")
    parser.add_argument("--part-s", type=float, help="use this many seconds from the middle of each recording")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    rows = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == arguments.split and arguments.kind in (None, row["kind"])]
    known = [r for r in rows if (r["package"] in STYLES if r["kind"] == "music" else r["language"] in LANGUAGES)]
    known = known[:: arguments.every]
    logger.info("%d of %d recordings have a known style or language", len(known), len(rows))
    for row in known:
        row["path"] = str(arguments.manifest.resolve().parent / row["path"])
        if row["kind"] == "music":
            row |= measure(Path(row["path"]), row["seconds"])
    silent = [row["path"] for row in known if row.get("level_db", 0.0) < SILENCE_DB]
    logger.info("%d of them are silent and left out: %s", len(silent), ", ".join(silent) or "none")
    known = [row for row in known if row["path"] not in silent]
    music = [row for row in known if row["kind"] == "music"]
    limits = {name: thirds([row[name] for row in music]) for name in WORDS} if music else {}
    lines = []
    for row in known:
        is_music = row["kind"] == "music"
        texts = music_captions(row, limits) if is_music else [f"a voice speaking {LANGUAGES[row['language']]}"]
        facts = {key: row[key] for key in ("path", "kind", "package", "licence", "split", *WORDS) if key in row}
        if arguments.part_s is not None:
            offset = max(0.0, (row["seconds"] - arguments.part_s) / 2)
            facts |= {"offset": round(offset, 2), "duration": round(min(arguments.part_s, row["seconds"]), 2)}
        lines.append(json.dumps({**facts, "text": texts}, ensure_ascii=False))
    write_text(arguments.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
