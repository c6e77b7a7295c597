"""The config of a channel experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ....core.compute import ComputeConfig
from ....core.config import option
from ....core.errors import ConfigError
from .channel import (
    BIT_CHANNELS,
    BURST_CHANNEL,
    CHANNELS,
    LEVEL_CHANNEL,
    NOISE_CHANNEL,
    PACKET_CHANNEL,
    check_bursts,
    check_probability,
    noise_deviation,
)
from .codec2 import MODES
from .concealment import CONCEALMENTS
from .figures import OPTIONAL_FIGURES
from .labelling import CODES, check_labellings

LEAST_SEEDS = 3  # below which an interval says little


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig(ComputeConfig):
    """A codec, audio, a channel, and ways to label and receive tokens: every combination is measured."""

    audio: str = option(help="Audio to send: a file, folder or manifest.", positional=True)
    output: str | None = option(
        None, "Folder for robustness.csv, .json, .png and config.yaml. By default nothing is written.", positional=True
    )
    tokenizer: str = option("melcodec-speech", "Tokenizer to measure: a shipped name, a folder, or a hub id.")
    channel: str = option(
        "bsc",
        "Channel: bsc (bits flip), erasure (bits are lost), gilbert-elliott (bursts), awgn (white noise on the signs, "
        "which a soft receiver knows bit by bit), levels (digits move) or packet (packets are lost).",
    )
    p: tuple[float, ...] = option(
        (0.001, 0.005, 0.01, 0.05, 0.1),
        "Probability of damage to each bit or digit, or loss of each packet; repeat it.",
    )
    seeds: int = option(3, "Number of channels drawn per probability.")
    seed: int = option(0, "Seed of all randomness.")
    labellings: tuple[str, ...] = option(
        ("natural",),
        "Labelling of the values by bits: natural, gray (each FSQ digit) or index (whole tokens); repeat it.",
        name="labelling",
    )
    soft: bool = option(False, "Also decode the mean of all values that may have been sent.")
    prior_audio: str | None = option(
        None, "Audio whose level counts serve as a prior of soft decoding; not the audio that is measured."
    )
    burst_bits: float = option(20.0, "Mean length of a burst in bits (gilbert-elliott).")
    level_distances: tuple[int, ...] = option(
        (1, 2, 3), "Number of levels that a damaged digit moves (levels); repeat it.", name="level-distance"
    )
    packet_chunks: int = option(1, "Number of the codec's chunks per packet (packet).")
    concealments: tuple[str, ...] = option(
        ("repeat", "interpolate"), "How lost packets are replaced; repeat it.", name="concealment"
    )
    rvq_audio: str | None = option(None, "Audio to fit residual codebooks on, which are sent for comparison.")
    rvq_codebooks: int | None = option(
        None, "Number of residual codebooks. By default the number that is nearest to the codec's bit rate."
    )
    rvq_codebook_size: int = option(256, "Number of entries per residual codebook.")
    codec2: tuple[int, ...] = option(
        (),
        f"Modes of Codec2 in bit/s to send for comparison: {', '.join(map(str, MODES))}; repeat it. "
        "`apt-get install codec2`.",
    )
    metrics: tuple[str, ...] = option(
        ("stoi", "pesq_wb"),
        "Figures in addition to si_sdr_db and mel_distance, such as estoi; repeat it.",
        name="metric",
        short="m",
    )
    transcriber: str | None = option(None, "Folder or hub id of a speech recognizer, for wer and cer.")
    text: Literal["manifest", "original"] = option(
        "manifest", "Text that transcripts are compared with: that of the manifest, or the original's transcript."
    )
    language: str = option("en", "Language of the speech.")
    max_files: int | None = option(None, "Largest number of files, spread evenly over the files by name.")
    max_duration_s: float | None = option(None, "Number of seconds sent from the start of each file.")
    options: dict[str, Any] = option(
        factory=dict, help="Options of the codec's own `decode`, such as steps=1.", name="decode-option"
    )

    def __post_init__(self) -> None:
        try:
            check_labellings(self.labellings)
            for p in self.p:
                check_probability(p)
                if self.channel == BURST_CHANNEL:
                    check_bursts(p, self.burst_bits)
                if self.channel == NOISE_CHANNEL:
                    noise_deviation(p)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not self.p or len(set(self.p)) < len(self.p):
            raise ConfigError(f"p must be one or more different probabilities, got {list(self.p)}")
        _check_names("channel", (self.channel,), CHANNELS)
        _check_names("metrics", self.metrics, OPTIONAL_FIGURES)
        _check_names("codec2", tuple(map(str, self.codec2)), tuple(map(str, MODES)))
        if self.codec2 and self.channel not in BIT_CHANNELS:
            raise ConfigError(f"codec2 is sent as bits: leave it out, or choose one of {', '.join(BIT_CHANNELS)}")
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
        if self.channel == LEVEL_CHANNEL:
            self._check_levels()

    def _check_levels(self) -> None:
        distances = self.level_distances
        if not distances or min(distances) < 1 or len(set(distances)) < len(distances):
            raise ConfigError(f"level_distances must be one or more different numbers from 1 up, got {list(distances)}")
        if self.soft or self.rvq_audio is not None or self.labellings != (CODES[0],):
            raise ConfigError(
                f"channel {LEVEL_CHANNEL} moves digits, whose order has a meaning, and sends no bits: leave out soft, "
                "rvq_audio and labellings"
            )


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ComputeConfig):
    """Two encoders that share a quantizer, and the audio that both encode."""

    first: str = option(help="Tokenizer: a shipped name, a folder, or a hub id.", positional=True)
    second: str = option(help="Another one with the same FSQ, such as a distilled one.", positional=True)
    audio: str = option(help="Audio that both encode: a file, folder or manifest.", positional=True)
    output: str = option(help="Folder for locality.json and locality.png.", positional=True)
    max_duration_s: float | None = option(None, "Number of seconds encoded from the start of each file.")


def _check_names(field_name: str, names: tuple[str, ...], known: Any) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{field_name}: no {name!r}: known are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"{field_name} names one twice: {list(names)}")
