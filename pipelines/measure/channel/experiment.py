"""Tokens on a damaging channel, measured at the decoder's output: what `latentune experiment robustness` does."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.config import config_to_dict
from ....core.device import pick_device
from ....core.errors import AudioError
from ....core.outputs import prepare_output
from ....core.random import keyed_generator
from ....core.settings import save_config
from ....tokenizers.base import AudioTokenizer, Encoded
from ....tokenizers.inputs import check_decode_options
from ....tokenizers.load import load_tokenizer
from ...data.audio.find import AudioItem, find_distinct_audio
from ..codecs.figures.distances import SI_SDR_LIMIT_DB, mel_distance, si_sdr_db
from ..results import silence_warning
from .build import Sources, build_systems
from .channel import BIT_CHANNELS, BURST_CHANNEL, PACKET_CHANNEL, gilbert_elliott
from .config import LEAST_SEEDS, RobustnessConfig
from .result import CHANGE, CHANNEL_METRICS, SIGNAL_METRICS, RobustnessResult, order_rows
from .speech import SpeechMetric, Undefined, load_speech_metrics, to_speech
from .systems import CHANNEL_FIGURES, CLEAN, Reception, System, TokenStream
from .theory import channel_figures

logger = logging.getLogger(__name__)

P_STEPS = 2**40  # p as a whole number in the key of its randomness

__all__ = ["RobustnessConfig", "RobustnessResult", "run_robustness"]


def run_robustness(
    config: RobustnessConfig,
    tokenizer: AudioTokenizer | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> RobustnessResult:
    """Send every file's tokens through a channel, at each p and seed in each system, and measure what is decoded.

    A file is measured at the codec's rate and channels against itself; speech metrics take both at 16 kHz, mono. The
    draws of a channel depend on seed, file and p alone: systems that send equally many bits have the same bits flipped,
    and neither the order of the files nor the choice of systems changes a row.

    Args:
        tokenizer: one loaded before, in place of the config's; it is moved to the config's device.
        progress: called with (measurements done, in all, file).

    Raises:
        FileNotFoundError, ValueError: no such audio or none in it, or a tokenizer without tokens.
        AudioError: not one file could be read. Those that could not are listed in the result.
        OSError: an output that cannot be written; found out before anything is measured.
    """
    folder = None if config.output is None else prepare_output(config.output)
    items = sorted(find_distinct_audio(config.audio), key=lambda item: item.name)[: config.max_files]
    if tokenizer is None:
        tokenizer = load_tokenizer(config.tokenizer)
    tokenizer.to(pick_device(config.device)).eval()
    if not tokenizer.spec.levels:
        raise ValueError(f"this {tokenizer.spec.name} has no tokens (no quantiser): there is nothing to send")
    check_decode_options(tokenizer, config.options)
    experiment = _Experiment(config, tokenizer)
    result = experiment.run(items, progress)
    if folder is not None:
        save_config(config, folder / "config.yaml")
        result.write(folder)
    return result


class _Experiment:
    """Systems and metrics of one run."""

    def __init__(self, config: RobustnessConfig, tokenizer: AudioTokenizer):
        self.config = config
        self.tokenizer = tokenizer
        self.speech, self.absent = load_speech_metrics(config.metrics)
        for name, reason in self.absent.items():
            logger.warning("%s is not measured: %s", name, reason)
        self.undefined: dict[tuple[str, str], str] = {}
        self.sources = Sources(tokenizer)
        self.failures = self.sources.failures
        self.silent: list[str] = []  # files of digital silence
        self.systems = build_systems(config, tokenizer, self.sources)

    # ------------------------------------------------------------------ measuring

    def run(self, items: Sequence[AudioItem], progress: Callable[[int, int, str], None] | None) -> RobustnessResult:
        streams = {system.stream.name: system.stream for system in self.systems}
        a_file = len(self.systems) * len(self.config.p) * self.config.seeds + len(streams)
        done, rows = 0, []
        for number, item in enumerate(items):
            audio = self.sources.read(item, self.config.max_duration_s)
            if audio is not None:
                if not audio.any():
                    self.silent.append(item.name)
                for row in self._rows(item.name, audio, streams.values()):
                    rows.append(row)
                    done += 1
                    if progress is not None:
                        progress(done, a_file * len(items), item.name)
            done = a_file * (number + 1)
        if not rows:
            first = f"; first: {self.failures[0]['reason']}" if self.failures else ""
            raise AudioError(f"none of {len(items)} audio files could be measured{first}")
        names = [*(f"{CLEAN}, {name}" for name in streams), *(system.name for system in self.systems)]
        return RobustnessResult(
            config=config_to_dict(self.config),
            tokenizer=self._identity(),
            systems=[self._describe(system) for system in self.systems],
            metrics=(*self.speech, *SIGNAL_METRICS, *CHANNEL_METRICS),
            rows=order_rows(rows, names),
            absent_metrics=self.absent,
            undefined=[{"file": f, "metric": m, "reason": r} for (f, m), r in sorted(self.undefined.items())],
            failures=self.failures,
            warnings=self._warnings(len({row["file"] for row in rows})),
        )

    def _rows(self, name: str, audio: Tensor, streams: Iterable[TokenStream]) -> Iterable[dict[str, Any]]:
        """All rows of one file: each stream as it is, then every system at each p and seed."""
        encoded = self.sources.encode(audio)
        reference = to_speech(audio, self.tokenizer.spec.sample_rate) if self.speech else np.zeros(0)
        measure = partial(self._measure, name, audio, reference)
        seconds = audio.shape[-1] / self.tokenizer.spec.sample_rate
        tokens, undamaged, clean = {}, {}, {}
        for stream in streams:
            tokens[stream.name] = stream.tokens(encoded)
            decoded = undamaged[stream.name] = self._decode(stream.streams(tokens[stream.name]), encoded)
            clean[stream.name] = measure(decoded, decoded)
            figures = dict.fromkeys(CHANNEL_FIGURES)
            keys = {"system": f"{CLEAN}, {stream.name}", "p": 0.0, "seed": 0, "file": name, "seconds": seconds}
            nothing = dict.fromkeys((*CHANNEL_METRICS, *_changes(clean[stream.name], clean[stream.name])))
            yield {**keys, **figures, **clean[stream.name], **nothing}
        for system in self.systems:
            sent = tokens[system.stream.name]
            for p in self.config.p:
                for seed in range(self.config.seeds):
                    reception = self._send(system, sent, p, seed, name)
                    if reception.intact:
                        metrics = clean[system.stream.name]
                    else:
                        decoded = self._decode(reception.streams, encoded)
                        metrics = measure(decoded, undamaged[system.stream.name])
                    keys = {"system": system.name, "p": p, "seed": seed, "file": name, "seconds": seconds}
                    changes = _changes(metrics, clean[system.stream.name])
                    yield {**keys, **reception.figures, **metrics, **changes}

    def _send(self, system: System, tokens: Tensor, p: float, seed: int, name: str) -> Reception:
        config = self.config
        file_key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        generator = keyed_generator(config.seed, seed, file_key, round(p * P_STEPS))
        if config.channel == PACKET_CHANNEL:
            return system.receive_packets(tokens, config.packet_chunks, p, generator)
        channel = BIT_CHANNELS[config.channel]
        if config.channel == BURST_CHANNEL:
            channel = partial(gilbert_elliott, burst_bits=config.burst_bits)
        return system.receive_bits(tokens, channel, p, generator)

    @torch.no_grad()
    def _decode(self, streams: dict[str, Tensor], encoded: Encoded) -> Tensor:
        """Audio [C, N] on the CPU; a decoder that needs noise has the same every time."""
        audio = self.tokenizer.decode(
            **{name: stream.to(self.tokenizer.device) for name, stream in streams.items()},
            lengths_samples=encoded.lengths_samples,
            gain_db=encoded.gain_db,
            generator=torch.Generator().manual_seed(self.config.seed),
            **self.config.options,
        )
        return audio[0].float().cpu()

    def _measure(
        self, name: str, audio: Tensor, speech: np.ndarray, estimate: Tensor, undamaged: Tensor
    ) -> dict[str, float | None]:
        rate = self.tokenizer.spec.sample_rate
        found: dict[str, float | None] = {}
        received = to_speech(estimate, rate) if self.speech else np.zeros(0)
        metric: SpeechMetric
        for label, metric in self.speech.items():
            try:
                found[label] = metric(speech, received)
            except Undefined as error:
                found[label] = None
                self.undefined.setdefault((name, label), str(error))
        for names, reference in ((SIGNAL_METRICS, audio), (CHANNEL_METRICS, undamaged)):
            ratio = si_sdr_db(reference.flatten(), estimate.flatten()).item()
            # equal signals, or silence: a limit, not a figure, and it would rule every mean
            figure = ratio if abs(ratio) < SI_SDR_LIMIT_DB else None
            found |= dict(zip(names, (figure, mel_distance(reference, estimate, rate).mean().item()), strict=True))
        return found

    # ------------------------------------------------------------------ telling

    def _identity(self) -> dict[str, Any]:
        spec = self.tokenizer.spec
        return {
            "name": spec.name,
            "source": str(self.tokenizer.config.get("_name_or_path") or self.config.tokenizer),
            "sample_rate": spec.sample_rate,
            "levels": spec.levels,
            "token_rate_hz": spec.token_rate_hz,
            "packed_bitrate_bps": spec.packed_bitrate_bps,
        }

    def _describe(self, system: System) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "name": system.name,
            "stream": system.stream.name,
            "labelling": system.labelling.code,
            "receiver": system.receiver,
            "bitrate_bps": system.bitrate_bps,
            "bits_per_frame": system.labelling.bits_per_frame,
            "levels": system.stream.levels,
        }
        if self.config.channel == "bsc" and system.stream.ordered and system.labelling.code != "index":
            code = system.labelling.code
            facts["predicted_if_uniform"] = [
                {"p": p, **asdict(channel_figures(system.stream.levels, code, p))} for p in self.config.p
            ]
        return facts

    def _warnings(self, num_files: int) -> list[str]:
        lines = []
        if self.config.seeds < LEAST_SEEDS:
            lines.append(f"{self.config.seeds} seeds say little of the channel's spread: use {LEAST_SEEDS} or more")
        if num_files < 2:
            lines.append("one file alone: the intervals show the spread of the channel, not that of audio")
        if self.failures:
            lines.append(f"{len(self.failures)} files could not be read and are left out")
        if self.silent:
            lines.append(silence_warning(self.silent))
        if self.undefined:
            lines.append(f"{len(self.undefined)} times a metric has no value for a file: see undefined in the summary")
        return lines


def _changes(metrics: dict[str, float | None], clean: dict[str, float | None]) -> dict[str, float | None]:
    """What a channel changed in each metric of a file: pairs spread less than files do."""
    changes: dict[str, float | None] = {}
    for name, value in metrics.items():
        if name not in CHANNEL_METRICS:
            before = clean[name]
            changes[name + CHANGE] = None if value is None or before is None else value - before
    return changes
