"""How well a codec gives back what it was given: files through systems, distances for each.

A system is any function from audio [C, N] and its sample rate to audio [C, N]: a codec under some options, silence, an
untrained network. Shape letters: C channels, N samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...tokenizers.base import STREAMS, AudioTokenizer, Encoded, Stream
from ...tokenizers.parts.errors import AudioError
from ..audio.convert import resample, select_channels
from ..audio.find import AudioItem, find_audio
from ..audio.read import read_audio
from .reconstruction import mel_distance, si_sdr_db, stft_distance

logger = logging.getLogger(__name__)

System = Callable[[Tensor, int], Tensor]
FIGURES = ("mel_distance", "stft_distance", "si_sdr_db")


@dataclass(kw_only=True)
class ReconstructionResult:
    """Distances of each file under each system."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # system, file, seconds, FIGURES
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: files that could not be read

    def means(self) -> list[dict[str, Any]]:
        """One row a system, in the systems' order: system, num_files, and the mean over files of each figure."""
        names = dict.fromkeys(row["system"] for row in self.rows)
        return [self._mean(name, [row for row in self.rows if row["system"] == name]) for name in names]

    def to_dict(self) -> dict[str, Any]:
        return {"means": self.means(), "files": self.rows, "failures": self.failures}

    @staticmethod
    def _mean(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        means = {figure: sum(row[figure] for row in rows) / len(rows) for figure in FIGURES}
        return {"system": name, "num_files": len(rows), **means}


def silence(audio: Tensor, sample_rate: int) -> Tensor:
    """The baseline that gives back nothing."""
    return torch.zeros_like(audio)


class CodecSystems:
    """Systems that share one codec; each file is encoded once, however many ways it is decoded."""

    def __init__(self, tokenizer: AudioTokenizer, seed: int = 0):
        self.tokenizer = tokenizer
        self.seed = seed  # of the noise, anew for each file, so that the files' order does not matter
        self._last: tuple[Tensor, Encoded] | None = None

    def system(self, stream: Stream = "latents", **options: Any) -> System:
        """Encode and decode by `stream`; `options` are those of the codec's `decode`, such as `steps`."""
        if stream not in STREAMS:
            raise ValueError(f"stream must be 'latents' or 'tokens', got {stream!r}")

        def run(audio: Tensor, sample_rate: int) -> Tensor:
            encoded = self._encode(audio, sample_rate)
            noise = torch.Generator().manual_seed(self.seed)
            return self.tokenizer.decode_encoded(encoded, stream, generator=noise, **options)[0].float().cpu()

        return run

    def _encode(self, audio: Tensor, sample_rate: int) -> Encoded:
        if self._last is None or self._last[0] is not audio:
            self._last = audio, self.tokenizer.encode(audio[None].to(self.tokenizer.device), sample_rate)
        return self._last[1]


def evaluate_tokenizer(
    tokenizer: AudioTokenizer,
    source: str | Path | Sequence[AudioItem],
    *,
    streams: Sequence[Stream] = STREAMS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: Mapping[str, System] | None = None,
    untrained: AudioTokenizer | None = None,
    seed: int = 0,
    max_duration_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReconstructionResult:
    """Distances of files to their reconstructions, for every stream and set of decoding options.

    Args:
        source: a file, folder or manifest, or items found before.
        options: label -> options of `decode`, such as `{"1 step": {"steps": 1}}`; by default one set, the codec's own.
            A system is called by stream and label: `latents, 1 step`.
        baselines: further systems by name, such as `{"silence": silence}`.
        untrained: a codec of the same kind with random weights; measured as `untrained` with the first options.
        max_duration_s: measure at most this much of each file, from its start.
        progress: called with (files done, files in all).

    Raises:
        AudioError: no file could be read.
        ValueError: nothing found, or two systems of one name.
    """
    sets = dict(options) if options else {"": {}}
    systems: dict[str, System] = {}
    codec = CodecSystems(tokenizer, seed)
    for stream in streams:
        for label, chosen in sets.items():
            systems[f"{stream}, {label}" if label else stream] = codec.system(stream, **chosen)
    extra = dict(baselines or {})
    if untrained is not None:
        extra["untrained"] = CodecSystems(untrained, seed).system("latents", **next(iter(sets.values())))
    if both := systems.keys() & extra.keys():
        raise ValueError(f"two systems are called {sorted(both)[0]!r}: rename the baseline")
    items = find_audio(source) if isinstance(source, (str, Path)) else source
    spec = tokenizer.spec
    return evaluate_systems(
        {**systems, **extra},
        items,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        max_duration_s=max_duration_s,
        progress=progress,
    )


def evaluate_systems(
    systems: Mapping[str, System],
    items: Sequence[AudioItem],
    *,
    sample_rate: int,
    channels: int,
    max_duration_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReconstructionResult:
    """Distances of every file to what each system makes of it, at one rate and channel count.

    Figures of a file are means over its channels; SI-SDR takes them as one signal. Files that cannot be read are
    listed in `failures`.

    Raises:
        AudioError: no file could be read.
        ValueError: no system, or one that changes the shape of the audio or gives NaN.
    """
    if not systems:
        raise ValueError("no system to measure: give at least one")
    result = ReconstructionResult()
    for done, item in enumerate(items, start=1):
        try:
            audio = _read(item, sample_rate, channels, max_duration_s)
        except (AudioError, ValueError) as error:
            logger.warning("left out: %s", error)
            result.failures.append({"path": str(item.path), "reason": str(error)})
        else:
            for name, system in systems.items():
                result.rows.append(_row(name, system, item, audio, sample_rate))
        if progress is not None:
            progress(done, len(items))
    if not result.rows:
        first = f"; first: {result.failures[0]['reason']}" if result.failures else ""
        raise AudioError(f"none of {len(items)} audio files could be measured{first}")
    return result


def _read(item: AudioItem, sample_rate: int, channels: int, max_duration_s: float | None) -> Tensor:
    audio, rate = read_audio(item.path, duration_s=max_duration_s)
    if not torch.isfinite(audio).all():
        raise AudioError(f"{item.path}: holds NaN or inf")
    return resample(select_channels(audio, channels), rate, sample_rate)


def _row(name: str, system: System, item: AudioItem, audio: Tensor, sample_rate: int) -> dict[str, Any]:
    with torch.no_grad():
        estimate = system(audio, sample_rate).detach().float().cpu()
    if estimate.shape != audio.shape or not torch.isfinite(estimate).all():
        raise ValueError(
            f"system {name!r} made audio {tuple(estimate.shape)} of {item.name} with shape {tuple(audio.shape)}: "
            "it must keep the shape and give no NaN"
        )
    return {
        "system": name,
        "file": item.name,
        "seconds": audio.shape[-1] / sample_rate,
        "mel_distance": mel_distance(audio, estimate, sample_rate).mean().item(),
        "stft_distance": stft_distance(audio, estimate).mean().item(),
        "si_sdr_db": si_sdr_db(audio.flatten(), estimate.flatten()).item(),
    }
