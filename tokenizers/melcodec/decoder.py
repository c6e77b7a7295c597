"""From values to audio: ConvNeXt blocks, an excitation, and an inverse STFT (Vocos, arXiv 2306.00814).

Shape letters: B batch, T frames, D latent width, W width, F bins.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.stft import hann_window, mean_log_magnitudes
from .blocks import ConvNeXtBlock, FrameLinear
from .config import MelCodecConfig
from .excitation import ExcitationState, harmonic_excitation
from .stages import Stage, StatelessStage

HARMONIC_LOG = -1.5  # log magnitude of the harmonic part at the start, compared with the free part's
HEAD_GAIN = 0.3  # of the last layer at the start


class SpectralHead(FrameLinear):
    """Frames [B, T, W] to the parameters of their spectra [B, T, 2F], or [B, T, 4F + 1] with a harmonic part.

    In this order: log magnitudes and phases of a free part, log magnitudes and phases relative to the excitation's of a
    harmonic part, and the octave of the pitch.
    """

    def __init__(self, config: MelCodecConfig):
        self.harmonic = config.pitch_range_hz is not None
        num_bins = config.synthesis_window_samples // 2 + 1
        out_width = 4 * num_bins + 1 if self.harmonic else 2 * num_bins
        super().__init__(config.decoder_width, out_width, norm=True, gain=HEAD_GAIN)
        self.window_samples = config.synthesis_window_samples

    def fit(self, audio: Tensor) -> None:
        """Starts from the mean log magnitudes of audio [B, N], the harmonic part `HARMONIC_LOG` below them."""
        mean = mean_log_magnitudes(audio, self.window_samples)
        bins = len(mean)
        self.linear.bias[:bins] = mean
        if self.harmonic:
            self.linear.bias[2 * bins : 3 * bins] = mean + HARMONIC_LOG


class Synthesis(Stage):
    """Parameters of `SpectralHead` to windowed pieces of audio, each with a 1 behind it: [B, T, window + 1].

    The 1 distinguishes a frame from the zeros beyond the ends of the signal.
    """

    def __init__(self, config: MelCodecConfig):
        super().__init__()
        self.config, self.window_samples = config, config.synthesis_window_samples

    def begin(self) -> ExcitationState:
        return ExcitationState()

    def resume(self, segment: Tensor, state: ExcitationState) -> Tensor:
        bins = self.window_samples // 2 + 1
        with torch.autocast(segment.device.type, enabled=False):
            parameters = segment.float()
            spectrum = self._spectrum(parameters[..., :bins], parameters[..., bins : 2 * bins])
            if self.config.pitch_range_hz is not None:
                log_magnitude, offset, octave = parameters[..., 2 * bins :].split((bins, bins, 1), dim=-1)
                gain, phase = harmonic_excitation(self.config, octave[..., 0].detach(), state)
                spectrum = spectrum + gain * self._spectrum(log_magnitude, phase + offset)
            pieces = torch.fft.irfft(spectrum, n=self.window_samples)
            pieces = pieces * hann_window(self.window_samples, pieces)
        return F.pad(pieces, (0, 1), value=1.0)

    def _spectrum(self, log_magnitude: Tensor, phase: Tensor) -> Tensor:
        # a full-scale tone has window / 4; what lies far beyond is a mistake, and could overflow
        return torch.polar(log_magnitude.clamp_max(math.log(self.window_samples)).exp(), phase)


class OverlapAdd(StatelessStage):
    """Pieces [B, T, window + 1] of `Spectra` to audio [B, T, hop]: added, and divided by the windows' energy.

    The middle of a piece lies in the middle of its hop.
    """

    def __init__(self, config: MelCodecConfig):
        self.window_samples, self.hop_samples = config.synthesis_window_samples, config.hop_samples
        self.cut = (self.window_samples - self.hop_samples) // 2  # samples of a piece before its own hop
        reach = math.ceil(self.cut / self.hop_samples)
        super().__init__(reach, reach)

    def valid(self, segment: Tensor) -> Tensor:
        pieces, present = segment.split((self.window_samples, 1), dim=-1)
        energy = present * hann_window(self.window_samples, pieces).square()
        first = self.left * self.hop_samples + self.cut
        count = segment.shape[1] - self.left - self.right
        added, weight = (
            _add(x, self.hop_samples)[:, first : first + count * self.hop_samples] for x in (pieces, energy)
        )
        frames: Tensor = (added / weight).unflatten(1, (count, self.hop_samples))
        return frames


def _add(pieces: Tensor, hop_samples: int) -> Tensor:
    """Pieces [B, T, window] laid over one another a hop apart: [B, (T - 1) * hop + window]."""
    hops = pieces.unflatten(-1, (-1, hop_samples))  # [B, T, hops of a window, hop]
    behind = hops.shape[2] - 1
    parts = [F.pad(hops[:, :, place], (0, 0, place, behind - place)) for place in range(behind + 1)]
    return torch.stack(parts).sum(0).flatten(1)


class Decoder(nn.Module):
    """Values [B, T, D] to audio [B, T * hop] in float32, not clipped."""

    def __init__(self, config: MelCodecConfig):
        super().__init__()
        width, gain = config.decoder_width, 1.0 / max(1, config.decoder_blocks)
        self.embed = FrameLinear(config.latent_dim, width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, config.kernel_frames, config.expansion, causal=config.causal, branch_gain=gain)
            for _ in range(config.decoder_blocks)
        )
        self.head = SpectralHead(config)
        self.synthesis = Synthesis(config)
        self.overlap_add = OverlapAdd(config)

    @property
    def stages(self) -> list[Stage]:
        """All layers in order; the last one gives audio [B, T, hop]."""
        return [self.embed, *self.blocks, self.head, self.synthesis, self.overlap_add]

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Also returns the octaves of the pitch [B, T], with gradient, if there is a harmonic part."""
        hidden = values.to(self.embed.linear.weight.dtype)
        for stage in (self.embed, *self.blocks, self.head):
            hidden = stage(hidden)
        octave = hidden[..., -1].float() if self.head.harmonic else None
        return self.overlap_add(self.synthesis(hidden)).flatten(1), octave
