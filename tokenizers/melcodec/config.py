"""Every constant of MelCodec. The defaults are the speech codec's: 16 kHz, 50 tokens of 16 bits per second."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar, Self

from ...core.config import build_config
from ..parts.residual import ResidualConfig

NUM_LAGS = 64  # of the autocorrelation that the encoder hears, evenly spaced in octaves of the pitch


@dataclass(frozen=True, kw_only=True)
class SpectrumConfig:
    """One of the log mel spectrograms that the encoder hears."""

    window_samples: int = 1024
    num_mels: int = 100
    per_frame: int = 2  # spectra per latent frame, joined to one vector

    def __post_init__(self) -> None:
        if min(self.window_samples, self.num_mels, self.per_frame) < 1:
            raise ValueError(f"window_samples, num_mels and per_frame must be at least 1, got {self}")


@dataclass(frozen=True, kw_only=True)
class MelCodecConfig:
    """Sizes and rates of MelCodec."""

    PRESETS: ClassVar[tuple[str, ...]] = ("melcodec-speech", "melcodec-music", "melcodec-tiny")

    sample_rate: int = 16000  # Hz
    hop_samples: int = 320  # per latent frame
    causal: bool = False  # no layer looks ahead; decoded audio still waits for the windows that overlap it
    spectra: tuple[SpectrumConfig, ...] = (SpectrumConfig(),)
    encoder_width: int = 256
    encoder_blocks: int = 4
    decoder_width: int = 256
    decoder_blocks: int = 8
    kernel_frames: int = 7  # of the depthwise convolution of each block
    expansion: int = 4  # of each block's hidden layer
    levels: tuple[int, ...] = (4,) * 8  # FSQ levels of the digits of one codebook
    num_codebooks: int = 1  # of these levels each
    residual: ResidualConfig | None = None  # codebooks over the same values in place of levels, for comparisons
    synthesis_window_samples: int = 1280  # of the inverse STFT
    # of one voice, whose harmonics the decoder then makes with coherent phases; null: no harmonic part (music)
    pitch_range_hz: tuple[float, float] | None = (60.0, 400.0)
    latent_scale: float = 0.8  # continuous latent = atanh(value) / scale; also the deviation that z starts with

    def __post_init__(self) -> None:
        if not self.spectra:
            raise ValueError("spectra is empty: the encoder needs at least one spectrogram")
        for spectrum in self.spectra:
            step, rest = divmod(self.hop_samples, spectrum.per_frame)
            if rest or spectrum.window_samples < step or (spectrum.window_samples - step) % 2:
                raise ValueError(
                    f"a spectrum of {spectrum.window_samples} samples {spectrum.per_frame} times per frame of "
                    f"{self.hop_samples}: hop_samples / per_frame must be whole, and window_samples at least that "
                    "much and longer by an even number"
                )
        if not self.levels or min(self.levels) < 2 or self.num_codebooks < 1:
            raise ValueError(
                f"levels must be at least 2, num_codebooks at least 1, got {self.levels} and {self.num_codebooks}"
            )
        window, rest = divmod(self.synthesis_window_samples, self.hop_samples)
        if rest or window < 2 or (self.synthesis_window_samples - self.hop_samples) % 2:
            raise ValueError(
                f"synthesis_window_samples must be a multiple of hop_samples {self.hop_samples}, at least twice it and "
                f"longer by an even number, got {self.synthesis_window_samples}"
            )
        if self.kernel_frames < 1 or self.kernel_frames % 2 == 0:
            raise ValueError(f"kernel_frames must be odd, got {self.kernel_frames}")
        if (
            self.pitch_range_hz is not None
            and not 0 < self.pitch_range_hz[0] < self.pitch_range_hz[1] <= self.sample_rate / 2
        ):
            raise ValueError(
                f"pitch_range_hz must be (lowest, highest) below half the sample rate, got {self.pitch_range_hz}"
            )
        if not self.latent_scale > 0:
            raise ValueError(f"latent_scale must be above 0, got {self.latent_scale}")

    @property
    def num_features(self) -> int:
        """Values of a frame's log mel spectra."""
        return sum(spectrum.num_mels * spectrum.per_frame for spectrum in self.spectra)

    @property
    def front_width(self) -> int:
        """F, values of a frame that the encoder hears: log mel spectra, and autocorrelations where there is a pitch."""
        return self.num_features + (0 if self.pitch_range_hz is None else NUM_LAGS)

    @property
    def latent_dim(self) -> int:
        """D, digits of all codebooks."""
        return len(self.levels) * self.num_codebooks

    @classmethod
    def preset(cls, name: str) -> Self:
        """A size that ships in configs/tokenizers, such as `melcodec-speech`.

        Raises:
            ValueError: no such preset.
        """
        import yaml

        if name not in cls.PRESETS:
            raise ValueError(f"no {cls.__name__} {name!r}: known are {', '.join(cls.PRESETS)}")
        text = (files("latentune.configs") / f"tokenizers/{name}.yaml").read_text()
        return build_config(cls, yaml.safe_load(text)["config"], name)

    @classmethod
    def tiny(cls) -> Self:
        """The smallest size, for tests."""
        return cls.preset(cls.PRESETS[-1])
