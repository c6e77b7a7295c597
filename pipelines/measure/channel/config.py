"""What a channel experiment is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ....core.errors import ConfigError
from .channel import BURST_CHANNEL, CHANNELS, PACKET_CHANNEL, check_bursts, check_probability
from .concealment import CONCEALMENTS
from .labelling import CODES, check_labellings
from .speech import SPEECH_METRICS

LEAST_SEEDS = 3  # below which an interval says little


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig:
    """A codec, audio, a channel, and ways to label and receive tokens: every combination is measured."""

    audio: str  # file, folder or manifest
    output: str | None = None  # folder for robustness.csv, .json, .png and config.yaml; None: nothing is written
    tokenizer: str = "codicodec-mini"  # shipped name, folder or hub id
    channel: str = "bsc"  # bsc, erasure, gilbert-elliott (p: of each bit) or packet (p: of each packet)
    p: tuple[float, ...] = (0.001, 0.005, 0.01, 0.05, 0.1)  # flip, erasure or loss probabilities
    seeds: int = 3  # channels drawn at each p
    seed: int = 0  # of all randomness
    labellings: tuple[str, ...] = ("natural",)  # natural, gray (each FSQ digit), index (whole tokens); not of packets
    soft: bool = False  # also receive each by the mean of what may have been sent
    prior_audio: str | None = None  # soft decoding with level counts of this audio as well; not the audio measured
    burst_bits: float = 20.0  # mean length of a burst of gilbert-elliott
    packet_chunks: int = 1  # chunks of the codec in a packet
    concealments: tuple[str, ...] = ("repeat", "interpolate")  # of lost packets
    rvq_audio: str | None = None  # fit residual codebooks on this audio's latents and send those as well
    rvq_codebooks: int | None = None  # by default as many as come nearest to the codec's bit rate
    rvq_codebook_size: int = 256
    metrics: tuple[str, ...] = ("stoi", "pesq")  # beside si_sdr_db and mel_distance, which need no package
    max_files: int | None = None  # the first ones by name; by default all
    max_duration_s: float | None = None  # of each file, from its start
    options: dict[str, Any] = field(default_factory=dict)  # of the codec's `decode`, such as {steps: 1}
    device: str = "auto"

    def __post_init__(self) -> None:
        try:
            check_labellings(self.labellings)
            for p in self.p:
                check_probability(p)
                if self.channel == BURST_CHANNEL:
                    check_bursts(p, self.burst_bits)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not self.p or len(set(self.p)) < len(self.p):
            raise ConfigError(f"p must be one or more different probabilities, got {list(self.p)}")
        _check_names("channel", (self.channel,), CHANNELS)
        _check_names("metrics", self.metrics, SPEECH_METRICS)
        _check_names("concealments", self.concealments, CONCEALMENTS)
        for name in ("seeds", "packet_chunks", "rvq_codebooks", "max_files", "max_duration_s", "burst_bits"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        if self.seed < 0 or self.rvq_codebook_size < 2:
            raise ConfigError(f"seed {self.seed} must be at least 0, rvq_codebook_size {self.rvq_codebook_size} 2")
        if self.soft and self.channel != PACKET_CHANNEL and "index" in self.labellings:
            raise ConfigError("soft decoding works digit by digit: leave out labelling 'index', or soft")
        if self.prior_audio is not None and not self.soft:
            raise ConfigError("prior_audio is the prior of soft decoding: set soft, or leave it out")
        if self.rvq_codebooks is not None and self.rvq_audio is None:
            raise ConfigError("rvq_codebooks are fitted to rvq_audio: give it, or leave them out")
        if self.channel == PACKET_CHANNEL and not (self.concealments or self.soft):
            raise ConfigError(f"lost packets need a concealment ({', '.join(CONCEALMENTS)}) or soft")
        if self.channel == PACKET_CHANNEL and self.labellings != (CODES[0],):
            raise ConfigError("packets are lost whole, however they are labelled: leave out labellings")


def _check_names(field_name: str, names: tuple[str, ...], known: Any) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{field_name}: no {name!r}: known are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"{field_name} names one twice: {list(names)}")
