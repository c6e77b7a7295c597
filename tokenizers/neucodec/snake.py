"""SnakeBeta between a 2x upsampler and a 2x downsampler, in polyphase form.

Snake bends a wave at twice the rate, so that the overtones it adds do not fold back (BigVGAN, arXiv 2206.04658). The
signal at the double rate is never laid out: its even and its odd samples are two signals at the single rate, each a
filter of six taps away from the input, and the filter on the way down has six taps for either of them. Nothing is
filtered that is zero or dropped afterwards; the numbers are those of upsampling, bending and decimating in turn.

Shape letters: B batch, C channels, N samples.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 12
CUTOFF = 0.25  # of the double rate
TRANSITION = 0.6  # of the double rate's Nyquist frequency; on both sides of the cutoff together
DAMPING_EPS = 1e-9
REACH = 3  # samples to either side that a phase is made of, and that an output takes of a phase
BLOCK_VALUES = 1 << 18  # worked on at once on a CPU: several passes over what stays in its cache


@functools.cache
def half_band_filter() -> Tensor:
    """The filter [12] of both resamplers: a sinc under a Kaiser window, sum 1, float32.

    Kaiser's rule gives the window's beta (4.6638) from the attenuation in dB, and that from the transition.
    """
    attenuation_db = 2.285 * (TAPS // 2 - 1) * math.pi * 2 * TRANSITION + 7.95
    beta = 0.1102 * (attenuation_db - 8.7)
    # in float32 throughout, as upstream: the last bit of a tap shows in the features (1e-4 after 36 activations)
    times = torch.arange(TAPS) - (TAPS - 1) / 2
    taps = 2 * CUTOFF * torch.kaiser_window(TAPS, periodic=False, beta=beta) * torch.sinc(2 * CUTOFF * times)
    return taps / taps.sum()


def phase_filters() -> tuple[Tensor, Tensor]:
    """Filters [2, 7] that make the even and the odd phase of a signal, and filters [2, 7] that join them again.

    All are correlations over samples n - 3 ... n + 3.
    """
    filt = half_band_filter()
    up, down = torch.zeros(2, 2 * REACH + 1), torch.zeros(2, 2 * REACH + 1)
    up[0, :-1], up[1, 1:] = 2 * filt[1::2].flip(0), 2 * filt[0::2].flip(0)
    down[0, 1:], down[1, :-1] = filt[1::2], filt[0::2]
    return up, down


class AntiAliasedSnake(nn.Module):
    """x + sin^2(frequency * x) / damping at the double rate; frequency and damping are learnt in log scale."""

    def __init__(self, channels: int):
        super().__init__()
        self.log_frequency = nn.Parameter(torch.zeros(channels))
        self.log_damping = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, N] to [B, C, N]."""
        frequency = self.log_frequency.exp()
        gain = 1.0 / (self.log_damping.exp() + DAMPING_EPS)
        # grouped convolutions are slow on a CPU, but can be differentiated; a GPU is slow at many small passes
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return snake_by_convolution(x, frequency, gain)
        return snake_by_passes(x, frequency, gain)


def snake_by_convolution(x: Tensor, frequency: Tensor, gain: Tensor) -> Tensor:
    """The activation of x [B, C, N] with frequency [C] and gain [C] as two grouped convolutions; for autograd, GPUs."""
    channels = x.shape[1]
    up, down = (filters.to(x) for filters in phase_filters())
    padded = F.pad(x, (REACH, REACH), mode="replicate")
    phases = F.conv1d(padded, up[:, None].repeat(channels, 1, 1), groups=channels).unflatten(1, (channels, 2))
    bent = phases + gain[:, None, None] * torch.sin(phases * frequency[:, None, None]).square()
    first, last = bent[:, :, :1, :1], bent[:, :, 1:, -1:]  # the ends of the signal at the double rate
    size = (*bent.shape[:3], REACH)
    bent = torch.cat((first.expand(size), bent, last.expand(size)), dim=-1).flatten(1, 2)
    return F.conv1d(bent, down.repeat(channels, 1, 1), groups=channels)


def snake_by_passes(x: Tensor, frequency: Tensor, gain: Tensor) -> Tensor:
    """The same, in place, as one pass over a block of channels for each tap; without gradients."""
    out = torch.empty_like(x)
    step = max(1, BLOCK_VALUES // x.shape[-1])
    up, down = (filters.tolist() for filters in phase_filters())
    for item, own in zip(x, out, strict=True):
        for first in range(0, len(item), step):
            part = slice(first, first + step)
            phases = _bent_phases(item[part], frequency[part, None], gain[part, None], up)
            _correlate(phases[0], down[0], into=own[part].zero_())
            _correlate(phases[1], down[1], into=own[part])
    return out


def _bent_phases(x: Tensor, frequency: Tensor, gain: Tensor, up: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Even and odd phase [C, N + 6] of x [C, N], bent, each repeated at its ends as the signal they make up is."""
    padded = F.pad(x, (REACH, REACH), mode="replicate")
    even, odd = torch.zeros_like(padded), torch.zeros_like(padded)
    inner = slice(REACH, -REACH)
    for phase, taps in ((even, up[0]), (odd, up[1])):
        wave = _correlate(padded, taps, into=phase[:, inner])
        wave.addcmul_((wave * frequency).sin_().square_(), gain)
    first, last = even[:, REACH, None], odd[:, -REACH - 1, None]
    for phase in (even, odd):
        phase[:, :REACH], phase[:, -REACH:] = first, last
    return even, odd


def _correlate(x: Tensor, taps: list[float], into: Tensor) -> Tensor:
    """Add to `into` [C, N] the correlation of x [C, N + 6] with seven taps, those that are zero left out."""
    for place, tap in enumerate(taps):
        if tap:
            into.add_(x[:, place : place + into.shape[-1]], alpha=tap)
    return into
