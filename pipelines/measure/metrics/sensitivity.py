"""How strongly a loss feels each sample and each frequency of its input (arXiv 2411.19842, appendix B.5, eq. 11, 12).

A loss of frames and windows does not feel all parts of a signal alike, which a decoder then learns as a periodic
artefact. The sensitivity is the mean magnitude of the loss's gradient over many random signals: of the samples
(eq. 11), or of the bins of their spectrum (eq. 12). The paper's figures show both for discriminators with random
weights; it leaves open how the signals are drawn and how bins are taken, which is settled here:

* the caller gives the signals; white noise favours no sample and no bin, so what structure there is, is the loss's;
* a bin's sensitivity is the STFT of the gradient: the derivative of the loss by the amplitude of a windowed sinusoid
  that is added to the signal at that place and frequency.

Shape letters: K signals, C channels, N samples, F bins, T frames.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ....layers.stft import stft

Loss = Callable[[Tensor], Tensor]  # audio [1, C, N] to a scalar


def loss_gradients(loss: Loss, signals: Tensor) -> Tensor:
    """The gradient of `loss` at each of the signals [K, C, N], each alone; the same shape.

    Raises:
        ValueError: signals of another shape, or a loss that gives no scalar, or none that depends on its input.
    """
    if signals.ndim != 3 or not signals.numel():
        raise ValueError(f"signals must be [K, C, N], none of them 0, got {tuple(signals.shape)}")
    gradients = []
    for signal in signals:
        audio = signal[None].detach().clone().requires_grad_()
        with torch.enable_grad():
            value = loss(audio)
            if value.numel() != 1 or not value.requires_grad:
                raise ValueError(f"the loss must be a scalar that depends on its input, got {tuple(value.shape)}")
            gradients.append(torch.autograd.grad(value.reshape(()), audio)[0][0])
    return torch.stack(gradients)


def sample_sensitivity(gradients: Tensor) -> Tensor:
    """Mean |dL/dx[n]| over signals and channels: gradients [K, C, N] to [N] (eq. 11)."""
    return gradients.abs().mean((0, 1))


def bin_sensitivity(gradients: Tensor, window_samples: int = 512, hop_samples: int = 128) -> Tensor:
    """Computes the mean |dL/dX[f, t]| over signals and channels (eq. 12).

    A loss that favours some times shows vertical lines, one that favours some frequencies horizontal ones.

    Args:
        gradients: [K, C, N].
        window_samples: window of the T frames.
        hop_samples: hop of the T frames.

    Returns:
        The sensitivity [F, T], F with the Nyquist bin.

    Raises:
        ValueError: signals shorter than the window.
    """
    if gradients.shape[-1] < window_samples:
        raise ValueError(f"signals of {gradients.shape[-1]} samples are shorter than the window of {window_samples}")
    return stft(gradients, window_samples, hop_samples, nyquist=True).abs().mean((0, 1))


def folded(sensitivity: Tensor, period: int, margin: int = 0) -> Tensor:
    """Averages a sensitivity over whole periods, which leaves its periodic part.

    Args:
        sensitivity: [N].
        period: in samples.
        margin: number of values to leave out at each end.

    Returns:
        The mean [period]; its first value is that of the samples n = 0 (mod `period`).

    Raises:
        ValueError: the inner part, `margin` values at each end left out, holds no whole period.
    """
    start = -(-margin // period) * period
    count = (len(sensitivity) - margin - start) // period
    if period < 1 or count < 1:
        raise ValueError(f"{len(sensitivity)} values without margins of {margin} hold no period of {period}")
    return sensitivity[start : start + count * period].reshape(count, period).mean(0)


def periodicity(gradients: Tensor, period: int, margin: int = 0) -> float:
    """Computes how much of the per-sample sensitivity repeats with a period.

    Args:
        gradients: [K, C, N] of at least two signals.
        period: as in `folded`.
        margin: as in `folded`.

    Returns:
        The standard deviation over the mean of the folded sensitivity, 0 where nothing repeats. The variance is
        estimated as the covariance of one half of the signals with the other, so that differences from signal to signal
        do not count.

    Raises:
        ValueError: a single signal, or no whole period within the margins.
    """
    if len(gradients) < 2:
        raise ValueError("periodicity compares two halves of the signals: give at least two")
    one, other = (folded(sample_sensitivity(half), period, margin) for half in (gradients[::2], gradients[1::2]))
    covariance = ((one - one.mean()) * (other - other.mean())).mean().clamp_min(0.0)
    return float((covariance / (one.mean() * other.mean())).sqrt())
