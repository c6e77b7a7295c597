"""SnakeBeta between a 2x upsampler and a 2x downsampler, in polyphase form.

Snake is applied at twice the rate, so that the overtones it adds do not alias (BigVGAN, arXiv 2206.04658). The signal
at the double rate is never built: its even and its odd samples are two signals at the single rate, each a filter of six
taps on the input, and the downsampling filter has six taps for either of them. No sample is filtered that is zero or
dropped afterwards; the result equals upsampling, activation and decimation in turn.

Shape letters: B batch, C channels, N samples.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TAPS = 12
CUTOFF = 0.25  # of the double rate
TRANSITION = 0.6  # of the double rate's Nyquist frequency; on both sides of the cutoff together
DAMPING_EPS = 1e-9
REACH = 3  # samples on either side that a phase depends on, and an output of a phase
BLOCK_VALUES = 1 << 18  # processed together on a CPU: several passes over values in its cache
HEAD, INNER, TAIL = slice(None, REACH), slice(REACH, -REACH), slice(-REACH, None)  # of padded samples


@functools.cache
def half_band_filter() -> Tensor:
    """Returns the filter [12] of both resamplers: a sinc with a Kaiser window, sum 1, float32.

    Kaiser's rule gives the window's beta (4.6638) from the attenuation in dB, and that from the transition.
    """
    attenuation_db = 2.285 * (TAPS // 2 - 1) * math.pi * 2 * TRANSITION + 7.95
    beta = 0.1102 * (attenuation_db - 8.7)
    # in float32 throughout, as upstream: the last bit of a tap shows in the features (1e-4 after 36 activations)
    times = torch.arange(TAPS) - (TAPS - 1) / 2
    taps = 2 * CUTOFF * torch.kaiser_window(TAPS, periodic=False, beta=beta) * torch.sinc(2 * CUTOFF * times)
    return taps / taps.sum()


def phase_filters() -> tuple[Tensor, Tensor]:
    """Returns filters [2, 7] for the even and the odd phase of a signal, and filters [2, 7] that join them again.

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
        """Maps [B, C, N] to [B, C, N]."""
        frequency = self.log_frequency.exp()
        gain = 1.0 / (self.log_damping.exp() + DAMPING_EPS)
        # grouped convolutions are slow on a CPU; a GPU is slow at many small passes
        activation = snake_by_passes if x.device.type == "cpu" else snake_by_convolution
        return activation(x, frequency, gain)


def snake_by_convolution(x: Tensor, frequency: Tensor, gain: Tensor) -> Tensor:
    """Computes the activation as two grouped convolutions.

    Args:
        x: [B, C, N].
        frequency: [C].
        gain: [C].

    Returns:
        [B, C, N].
    """
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
    """Computes the same as one pass over a block of rows for each tap; for the gradients only the arguments are kept.

    Args:
        x: [B, C, N].
        frequency: [C].
        gain: [C].

    Returns:
        [B, C, N].
    """
    per_row = (each.to(x).repeat(len(x))[:, None] for each in (frequency, gain))
    bent: Tensor = _Passes.apply(x.flatten(0, 1), *per_row)  # type: ignore[no-untyped-call]
    return bent.view_as(x)


class _Passes(torch.autograd.Function):
    """The activation of rows [R, N] with frequency [R, 1] and gain [R, 1]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frequency: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(x, frequency, gain)
        out = torch.empty_like(x)
        up, down = (filters.tolist() for filters in phase_filters())
        for rows in _blocks(x):
            padded = F.pad(x[rows], (REACH, REACH), mode="replicate")
            bent = [torch.zeros_like(padded), torch.zeros_like(padded)]
            for phase, taps in zip(bent, up, strict=True):
                wave = _correlate(padded, taps, into=phase[:, INNER])
                wave.addcmul_((wave * frequency[rows]).sin_().square_(), gain[rows])
            first, last = bent[0][:, REACH, None], bent[1][:, -REACH - 1, None]  # the ends at the double rate
            block = out[rows].zero_()
            for phase, taps in zip(bent, down, strict=True):
                phase[:, HEAD], phase[:, TAIL] = first, last
                _correlate(phase, taps, into=block)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, frequency, gain = ctx.saved_tensors
        grad_x, grad_frequency, grad_gain = torch.empty_like(x), torch.zeros_like(frequency), torch.zeros_like(gain)
        up, down = (filters.tolist() for filters in phase_filters())
        for rows in _blocks(x):
            padded = F.pad(x[rows], (REACH, REACH), mode="replicate")
            even, odd = (_spread(grad[rows], taps, into=torch.zeros_like(padded)) for taps in down)
            even[:, REACH] += even[:, HEAD].sum(-1) + odd[:, HEAD].sum(-1)
            odd[:, -REACH - 1] += even[:, TAIL].sum(-1) + odd[:, TAIL].sum(-1)
            grad_padded = torch.zeros_like(padded)
            for grad_wave, taps in zip((even[:, INNER], odd[:, INNER]), up, strict=True):
                wave = _correlate(padded, taps, into=torch.zeros_like(x[rows]))
                angle = wave * frequency[rows]
                slope = (2 * angle).sin_().mul_(grad_wave).mul_(gain[rows])  # of the squared sine
                grad_gain[rows] += angle.sin_().square_().mul_(grad_wave).sum(-1, keepdim=True)
                grad_frequency[rows] += wave.mul_(slope).sum(-1, keepdim=True)
                _spread(grad_wave.addcmul_(slope, frequency[rows]), taps, into=grad_padded)
            grad_padded[:, REACH] += grad_padded[:, HEAD].sum(-1)
            grad_padded[:, -REACH - 1] += grad_padded[:, TAIL].sum(-1)
            grad_x[rows] = grad_padded[:, INNER]
        return grad_x, grad_frequency, grad_gain


def _blocks(x: Tensor) -> list[slice]:
    """Returns slices of the rows of x [R, N], each small enough for a cache."""
    step = max(1, BLOCK_VALUES // x.shape[-1])
    return [slice(first, first + step) for first in range(0, len(x), step)]


def _correlate(x: Tensor, taps: list[float], into: Tensor) -> Tensor:
    """Adds to `into` [R, N] the correlation of x [R, N + 6] with seven taps, of which zeros are skipped."""
    for place, tap in enumerate(taps):
        if tap:
            into.add_(x[:, place : place + into.shape[-1]], alpha=tap)
    return into


def _spread(grad: Tensor, taps: list[float], into: Tensor) -> Tensor:
    """Adds to `into` [R, N + 6] the gradient of the input of `_correlate`, given that [R, N] of its output."""
    for place, tap in enumerate(taps):
        if tap:
            into[:, place : place + grad.shape[-1]].add_(grad, alpha=tap)
    return into
