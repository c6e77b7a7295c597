"""Published codecs on transformers' networks, EnCodec, DAC and Mimi, as further systems next to the measured codec.

Their weights are given as a folder or hub id in transformers' format, such as `facebook/encodec_24khz`,
`descript/dac_24khz` or `kyutai/mimi`. Shape letters: B batch, C channels, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....core.errors import CheckpointError, ConfigError
from ....core.extras import import_class
from ....core.hub import Source
from ....generators.conditioning.frozen.pretrained import load_pretrained
from ....tokenizers.parts.official import read_json
from ...data.audio.convert import resample, to_channels
from .references import fit_length

CLASSES = {"encodec": "EncodecModel", "dac": "DacModel", "mimi": "MimiModel"}  # model_type of config.json -> class
CODEBOOKS = "#"  # between the source and the number of codebooks that are used


class PublishedCodec:
    """A codec of transformers as a system.

    Args:
        source: folder or hub id, and perhaps `#N` for the first N of its residual codebooks; by default all.
        device: where it computes.

    Raises:
        CheckpointError: nothing there, unreadable, or another kind of model.
        ConfigError: a number of codebooks that the codec does not have.
        MissingPackageError: the installed transformers does not have the codec.
    """

    def __init__(self, source: str, device: torch.device | str = "cpu"):
        place, mark, number = source.partition(CODEBOOKS)
        if mark and not number.isdecimal():
            raise ConfigError(f"{source!r}: write the number of codebooks behind {CODEBOOKS}, such as kyutai/mimi#8")
        kind = str(read_json(Source(place).file("config.json")).get("model_type"))
        if kind not in CLASSES:
            raise CheckpointError(f"{place} is a model of type {kind!r}, which is not one of {', '.join(CLASSES)}")
        model: Any = load_pretrained(import_class(CLASSES[kind], f"the codec {place}"), place, CLASSES[kind])
        self.source, self.kind, self._model = source, kind, model.to(device).eval()
        config = model.config
        self.sample_rate = int(config.sampling_rate)
        self.channels = int(getattr(config, "audio_channels", 1))  # DAC's config has none: mono
        self.frame_rate_hz = self.sample_rate / _hop_samples(kind, config)
        has = {"encodec": "num_quantizers", "dac": "n_codebooks", "mimi": "num_quantizers"}[kind]
        self.num_codebooks = int(number) if number else int(getattr(config, has))
        allowed = self._allowed(int(getattr(config, has)))
        if self.num_codebooks not in allowed:
            raise ConfigError(f"{place} can use {', '.join(map(str, allowed))} codebooks, not {self.num_codebooks}")

    def _allowed(self, most: int) -> list[int]:
        """Returns the numbers of codebooks that can be used; EnCodec was trained for some only."""
        if self.kind != "encodec":
            return list(range(1, most + 1))
        return sorted(self._bandwidths())

    def _bandwidths(self) -> dict[int, float]:
        """Returns EnCodec's bandwidth in kbit/s for each number of codebooks, as transformers counts."""
        quantizer = self._model.quantizer
        return {quantizer.get_num_quantizers_for_bandwidth(b): b for b in self._model.config.target_bandwidths}

    def facts(self) -> dict[str, Any]:
        """Returns what the codec is and its bit rate."""
        bits = self.num_codebooks * math.log2(self._model.config.codebook_size)
        return {
            "source": self.source,
            "model_type": self.kind,
            "sample_rate": self.sample_rate,
            "num_codebooks": self.num_codebooks,
            "bitrate_bps": round(
                bits * self.frame_rate_hz, 1
            ),  # of one channel, or of both where they are coded together
        }

    @torch.no_grad()
    def __call__(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Returns audio [C, N] through the codec; the channels of a mono codec are coded one by one.

        Args:
            audio: [C, N].
            sample_rate: in Hz.
        """
        heard = resample(audio, sample_rate, self.sample_rate)
        batch = heard[:, None] if self.channels == 1 else to_channels(heard, self.channels)[None]
        made = self._through(batch.to(self._model.device)).float().cpu()
        joined = made[:, 0] if self.channels == 1 else to_channels(made[0], len(audio))
        return fit_length(resample(joined, self.sample_rate, sample_rate), audio.shape[-1])

    def _through(self, audio: Tensor) -> Tensor:
        """Maps [B, C, N] at the codec's rate to [B, C, N'], N' about N."""
        model, codebooks = self._model, self.num_codebooks
        if self.kind == "encodec":
            coded = model.encode(audio, bandwidth=self._bandwidths()[codebooks])
            extra: Mapping[str, Any] = {"last_frame_pad_length": getattr(coded, "last_frame_pad_length", 0)}
            made: Tensor = model.decode(coded.audio_codes, coded.audio_scales, **extra).audio_values
        elif self.kind == "dac":
            hop = round(self.sample_rate / self.frame_rate_hz)
            padded = torch.nn.functional.pad(audio, (0, -audio.shape[-1] % hop))
            made = model.decode(audio_codes=model.encode(padded, n_quantizers=codebooks).audio_codes).audio_values
        else:
            made = model.decode(model.encode(audio, num_quantizers=codebooks).audio_codes).audio_values
        return made if made.ndim == 3 else made[:, None]


def published_codecs(sources: Mapping[str, str], device: torch.device | str) -> dict[str, PublishedCodec]:
    """Returns the codec of each name; what is raised as of `PublishedCodec`."""
    return {name: PublishedCodec(source, device) for name, source in sources.items()}


def _hop_samples(kind: str, config: Any) -> float:
    """Returns samples of a frame of tokens."""
    if kind == "mimi":
        return float(config.sampling_rate / config.frame_rate)
    return float(config.hop_length)
