"""Tokens on a damaging channel, measured at the decoder's output: what `latentune experiment robustness` does."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

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
from ...data.audio.find import choose_items, find_distinct_audio
from ...data.audio.item import AudioItem
from ..codecs.figures.common import Undefined
from ..codecs.lengths import SECONDS
from ..codecs.metrics import Case
from ..codecs.speech_metrics import load_speech_metrics
from ..codecs.systems import Reconstruction
from ..results import Resampling, ResultsTable
from ..results.findings import Findings
from .build import Sources, build_systems
from .channel import BIT_CHANNELS, BURST_CHANNEL, LEVEL_CHANNEL, PACKET_CHANNEL, BitChannel, gilbert_elliott
from .codec2 import Codec2, find_codec2
from .config import RobustnessConfig
from .figures import DAMAGE_FIGURES, ReceivedFigures
from .report import SCHEMA, clean_name, damaged_name, describe_system, experiment_warnings, robustness_findings
from .systems import CHANNEL_FIGURES, CLEAN, Reception, System

logger = logging.getLogger(__name__)

P_STEPS = 2**40  # p as a whole number in the key of its randomness
Progress = Callable[[int, int, str], None]  # (measurements done, in all, file)


def run_robustness(
    config: RobustnessConfig, tokenizer: AudioTokenizer | None = None, progress: Progress | None = None
) -> Findings:
    """Sends every file's tokens through a channel, at each p and seed in each system, and measures what is decoded.

    A file is measured at the codec's rate and channels against itself. The draws of a channel depend on seed, file and
    p alone: systems that send equally many bits have the same bits flipped, and neither the order of the files nor the
    choice of systems changes a row.

    Args:
        config: of the experiment.
        tokenizer: one loaded before, in place of the config's; it is moved to the config's device.
        progress: called with (measurements done, in all, file).

    Returns:
        The findings. In the table a system is one way of sending at one p, such as `gray, p = 0.01`; its seeds are
        repeated rows of a file.

    Raises:
        FileNotFoundError, ValueError: no such audio or none in it, or a tokenizer without tokens.
        AudioError: not one file could be read. Those that could not are listed in the result.
        OSError: an output that cannot be written; found out before anything is measured.
    """
    folder = None if config.output is None else prepare_output(config.output)
    items = choose_items(find_distinct_audio(config.audio), config.max_files)
    if tokenizer is None:
        tokenizer = load_tokenizer(config.tokenizer)
        config.prepare(tokenizer)
    tokenizer.to(pick_device(config.device)).eval()
    if not tokenizer.spec.levels:
        raise ValueError(f"this {tokenizer.spec.name} has no tokens (no quantizer): there is nothing to send")
    check_decode_options(tokenizer, config.options)
    experiment = _Experiment(config, tokenizer)
    found = robustness_findings(experiment.run(items, progress), experiment.figures.facts)
    if folder is not None:
        found.write(folder)
        save_config(config, folder / "config.yaml")
    return found


class _Experiment:
    """Systems and figures of one run."""

    def __init__(self, config: RobustnessConfig, tokenizer: AudioTokenizer):
        self.config = config
        self.tokenizer = tokenizer
        speech = load_speech_metrics(config) if config.transcriber is not None else None
        self.figures = ReceivedFigures(config.metrics, speech)
        for name, reason in self.figures.absent.items():
            logger.warning("%s is not measured: %s", name, reason)
        self.sources = Sources(tokenizer)
        self.systems = build_systems(config, tokenizer, self.sources)
        self.codec2 = find_codec2(config.codec2)
        self.streams = {system.stream.name: system.stream for system in self.systems}
        self.table = self._empty_table()

    def run(self, items: Sequence[AudioItem], progress: Progress | None) -> ResultsTable:
        """Measures the files; returns the table with its facts and warnings."""
        config, table = self.config, self.table
        silent = []
        num_measured, per_file = 0, self._per_file()
        for number, item in enumerate(items):
            audio = self.sources.read(item, config.max_duration_s)
            if audio is not None:
                silent += [item.name] * (not audio.any())
                for system, figures in self._measurements(item, audio):
                    self._add(system, item.name, figures)
                    num_measured += 1
                    if progress is not None:
                        progress(num_measured, per_file * len(items), item.name)
            num_measured = per_file * (number + 1)
        table.failures = self.sources.failures
        if not table.rows:
            first = f"; first: {table.failures[0]['reason']}" if table.failures else ""
            raise AudioError(f"none of {len(items)} audio files could be measured{first}")
        table.warnings = experiment_warnings(table, config, silent)
        return table

    def _per_file(self) -> int:
        """The number of measurements of a file."""
        damaged = (len(self.systems) + len(self.codec2)) * len(self.config.p) * self.config.seeds
        return damaged + len(self.streams) + len(self.codec2)

    def _empty_table(self) -> ResultsTable:
        """The table with its facts and all systems in their order: undamaged, then each by rising p."""
        config = self.config
        table = ResultsTable(schema=SCHEMA, nested=True, resampling=Resampling(seed=config.seed))
        table.figures = self.figures.all_facts
        table.facts = {
            "config": config_to_dict(config),
            "tokenizer": self._identity(),
            "metrics": list(self.figures.facts),
            "absent_metrics": self.figures.absent,
        }
        for name in (*self.streams, *(codec.name for codec in self.codec2)):
            table.systems[clean_name(name)] = {"system": clean_name(name), "p": 0.0}
        for system in self.systems:
            for p in sorted(config.p):
                table.systems[damaged_name(system.name, p)] = describe_system(system, p, config.channel)
        for codec in self.codec2:
            for p in sorted(config.p):
                table.systems[damaged_name(codec.name, p)] = codec.facts(p)
        return table

    def _measurements(self, item: AudioItem, audio: Tensor) -> Iterable[tuple[str, dict[str, Any]]]:
        """All measurements of one file: each stream undamaged, then every system at each p and seed."""
        encoded = self.sources.encode(audio)
        tokens, undamaged, clean = {}, {}, {}
        nothing = dict.fromkeys(CHANNEL_FIGURES)
        for name, stream in self.streams.items():
            tokens[name] = stream.tokens(encoded)
            undamaged[name] = self._decode(stream.streams(tokens[name]), encoded)
            clean[name] = self._measure(item, audio, f"{CLEAN}, {name}", undamaged[name], undamaged[name])
            yield clean_name(name), {**nothing, **{k: v for k, v in clean[name].items() if k not in DAMAGE_FIGURES}}
        for system in self.systems:
            name = system.stream.name
            for p in sorted(self.config.p):
                for seed in range(self.config.seeds):
                    reception = self._send(system, tokens[name], p, seed, item.name)
                    figures = clean[name]
                    if not reception.intact:
                        decoded = self._decode(reception.streams, encoded)
                        figures = self._measure(item, audio, system.name, decoded, undamaged[name])
                    changes = self.figures.changes(figures, clean[name])
                    yield damaged_name(system.name, p), {**reception.figures, **figures, **changes}
        for codec in self.codec2:
            yield from self._codec2_measurements(codec, item, audio)

    def _codec2_measurements(
        self, codec: Codec2, item: AudioItem, audio: Tensor
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        """All measurements of one file through one mode of Codec2."""
        rate, nothing = self.tokenizer.spec.sample_rate, dict.fromkeys(CHANNEL_FIGURES)
        bits = codec.encode(audio, rate)
        undamaged = codec.decode(bits, audio, rate)
        clean = self._measure(item, audio, f"{CLEAN}, {codec.name}", undamaged, undamaged)
        yield clean_name(codec.name), {**nothing, **{k: v for k, v in clean.items() if k not in DAMAGE_FIGURES}}
        for p in sorted(self.config.p):
            for seed in range(self.config.seeds):
                received = self._bit_channel()(bits, p, self._generator(p, seed, item.name)).bits
                damaged = int((received != bits).sum())
                figures = clean
                if damaged:
                    figures = self._measure(item, audio, codec.name, codec.decode(received, audio, rate), undamaged)
                counts = {**nothing, "num_sent": bits.numel(), "num_damaged": damaged}
                changes = self.figures.changes(figures, clean)
                yield damaged_name(codec.name, p), {**counts, **figures, **changes}

    def _add(self, system: str, file: str, figures: dict[str, Any]) -> None:
        """Adds one measurement; a figure without a value is a row with its reason."""
        for name in self.table.figures:
            value = figures.get(name)
            note = str(value) if isinstance(value, Undefined) else ""
            self.table.add(system, file, name, None if note else value, note=note)
        self.table.add(system, file, SECONDS, figures.get(SECONDS))

    def _measure(self, item: AudioItem, audio: Tensor, system: str, made: Tensor, undamaged: Tensor) -> dict[str, Any]:
        rate = self.tokenizer.spec.sample_rate
        case = Case(item=item, system=system, reference=audio, made=Reconstruction(audio=made), sample_rate=rate)
        return {SECONDS: audio.shape[-1] / rate, **self.figures.measure(case, undamaged)}

    def _send(self, system: System, tokens: Tensor, p: float, seed: int, name: str) -> Reception:
        config, generator = self.config, self._generator(p, seed, name)
        if config.channel == PACKET_CHANNEL:
            return system.receive_packets(tokens, config.packet_chunks, p, generator)
        if config.channel == LEVEL_CHANNEL:
            return system.receive_levels(tokens, p, generator)
        return system.receive_bits(tokens, self._bit_channel(), p, generator)

    def _generator(self, p: float, seed: int, name: str) -> torch.Generator:
        """The source of the draws for one file."""
        file_key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        return keyed_generator(self.config.seed, seed, file_key, round(p * P_STEPS))

    def _bit_channel(self) -> BitChannel:
        if self.config.channel == BURST_CHANNEL:
            return partial(gilbert_elliott, burst_bits=self.config.burst_bits)
        return BIT_CHANNELS[self.config.channel]

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
