"""Artifacts at the borders of chunks: errors near borders against elsewhere, clicks, and the high-frequency seam.

A codec that decodes chunk by chunk may be audible at the joints. Borders lie at k * chunk_samples - lead_samples,
k >= 1, inside the audio. Shape letters: C channels, N samples, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .....layers.mel import mel_filters
from .....layers.stft import stft
from .common import Undefined

NUM_MELS = 40
LEVEL_FLOOR = 1e-4  # of unnormalized magnitudes, as in distances.py
HOPS_PER_WINDOW = 4
NUM_BINS = 64  # of the profile over a chunk
SEAM_WINDOW_S = 0.008
SEAM_LOWEST_HZ = 4000.0
SEAM_FLOOR = 1e-12  # power, relative to full scale


@dataclass(frozen=True, kw_only=True)
class BorderErrors:
    """Errors of one reconstruction around the borders of its chunks."""

    near_error: float  # mean over frames whose window holds a border
    far_error: float  # over all others
    step_ratio: float  # mean |x[n] - x[n - 1]| at borders over that elsewhere, of the reconstruction
    original_step_ratio: float
    num_borders: int
    profile_sums: np.ndarray  # [NUM_BINS] of errors, over the place in the chunk; the middle bin is the border
    profile_counts: np.ndarray  # [NUM_BINS]

    @property
    def excess(self) -> float:
        """The error near borders relative to elsewhere, minus 1."""
        return self.near_error / self.far_error - 1.0 if self.far_error > 0 else 0.0


def border_errors(
    reference: Tensor, estimate: Tensor, sample_rate: int, *, chunk_samples: int, lead_samples: int, window_samples: int
) -> BorderErrors:
    """Compares audio with its reconstruction near the borders of chunks and elsewhere.

    Errors are taken in short frames, as the mean absolute difference of log mel magnitudes: a codec that draws its
    details again has no meaningful waveform error. A frame is near a border if its window holds one. In addition, the
    step from one sample to the next at the borders is compared with that elsewhere, in the reconstruction and in the
    original: a click shows as a ratio above the original's.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.
        chunk_samples: from one border to the next.
        lead_samples: by how much the first border lies before the end of the first `chunk_samples`.
        window_samples: of a frame.

    Returns:
        The errors near borders and elsewhere, the steps at borders, and the profile around a border.

    Raises:
        Undefined: the audio holds no border, or is silent.
        ValueError: different shapes, or a window that leaves no frame between two borders.
    """
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise ValueError(f"audio must have one shape [C, N], got {tuple(reference.shape)}, {tuple(estimate.shape)}")
    borders = find_borders(reference.shape[-1], chunk_samples, lead_samples, window_samples)
    if not reference.any():
        raise Undefined("the original is digital silence")
    hop = max(1, window_samples // HOPS_PER_WINDOW)
    errors = _frame_errors(reference, estimate, sample_rate, window_samples, hop)
    centres = np.arange(len(errors)) * hop + window_samples / 2
    near = _near_border(centres, borders, window_samples / 2)
    place = (centres + lead_samples + chunk_samples / 2) % chunk_samples / chunk_samples  # 0.5 at a border
    bins = np.minimum((place * NUM_BINS).astype(int), NUM_BINS - 1)
    return BorderErrors(
        near_error=float(errors[near].mean()),
        far_error=float(errors[~near].mean()),
        step_ratio=_step_ratio(estimate, borders),
        original_step_ratio=_step_ratio(reference, borders),
        num_borders=len(borders),
        profile_sums=np.bincount(bins, errors, NUM_BINS),
        profile_counts=np.bincount(bins, minlength=NUM_BINS),
    )


def seam_db(audio: Tensor, sample_rate: int, *, chunk_samples: int, lead_samples: int = 0) -> float:
    """Returns the level above 4 kHz at the borders of chunks over its median over the chunk, in dB: 0 without a seam.

    Levels are those of frames of 8 ms. Frames at the same place in their chunk are averaged in dB over all chunks, so
    that what the audio itself does there averages out: it takes some ten chunks for that.

    Args:
        audio: [C, N], a reconstruction (or an original, which shows what the measure reads without a seam).
        sample_rate: in Hz.
        chunk_samples: from one border to the next.
        lead_samples: by how much the first border lies before the end of the first `chunk_samples`.

    Raises:
        Undefined: the audio holds no border, nothing above 4 kHz, or is silent there.
        ValueError: chunks that are not longer than a frame.
    """
    if sample_rate <= 2 * SEAM_LOWEST_HZ:
        raise Undefined(f"there is nothing above {SEAM_LOWEST_HZ:g} Hz at {sample_rate} Hz")
    window = 2 * round(SEAM_WINDOW_S * sample_rate / 2)
    borders = find_borders(audio.shape[-1], chunk_samples, lead_samples, window)
    hop = window // HOPS_PER_WINDOW
    powers = stft(audio.double(), window, hop, nyquist=True).abs().square()
    first_bin = int(np.ceil(SEAM_LOWEST_HZ * window / sample_rate))
    level = powers[:, first_bin:].sum(1).mean(0).numpy()  # [T]
    if not level.max() > SEAM_FLOOR:
        raise Undefined(f"the audio is silent above {SEAM_LOWEST_HZ:g} Hz")
    level_db = 10.0 * np.log10(np.maximum(level, SEAM_FLOOR))
    centres = np.arange(len(level)) * hop + window / 2
    near = _near_border(centres, borders, window / 4)  # where the window hardly weighs the border, it is not heard
    bins = ((centres + lead_samples) % chunk_samples / hop).astype(int)
    counts = np.bincount(bins)
    profile = np.bincount(bins, level_db)[counts > 0] / counts[counts > 0]
    return float(level_db[near].mean() - np.median(profile))


def find_borders(num_samples: int, chunk_samples: int, lead_samples: int, window_samples: int) -> np.ndarray:
    """Returns the samples at which chunks begin, the first chunk left out.

    Args:
        num_samples: of the audio.
        chunk_samples: from one border to the next.
        lead_samples: by how much the first border lies before the end of the first `chunk_samples`.
        window_samples: of the frames that are measured.

    Raises:
        Undefined: there is none, or no frame of `window_samples` fits into the audio.
        ValueError: a window that leaves no frame between two borders.
    """
    if chunk_samples <= window_samples:
        raise ValueError(
            f"a window of {window_samples} samples leaves nothing between borders {chunk_samples} samples apart: "
            "take a shorter window_s, or this codec has chunks too short to have borders"
        )
    borders = np.arange(chunk_samples - lead_samples, num_samples, chunk_samples)
    borders = borders[borders > 0]
    if not len(borders) or num_samples < window_samples:
        raise Undefined("shorter than a chunk: there is no border in it")
    return borders


def split_at_borders(audio: Tensor, chunk_samples: int, lead_samples: int) -> tuple[Tensor, Tensor]:
    """Cuts audio into what lies around the borders of chunks and what lies between them.

    Args:
        audio: [C, N].
        chunk_samples: from one border to the next.
        lead_samples: by how much the first border lies before the end of the first `chunk_samples`.

    Returns:
        Half a chunk around each border, end to end [C, n]; and the half a chunk after each of these pieces, end to end.

    Raises:
        Undefined: no border has half a chunk after it.
    """
    quarter = chunk_samples // 4
    borders = range(chunk_samples - lead_samples, audio.shape[-1] - 3 * quarter + 1, chunk_samples)
    starts = [border - quarter for border in borders if border >= quarter]
    if not starts or quarter < 1:
        raise Undefined("too short: no border has half a chunk before the next one after it")
    near, far = ([audio[:, s + shift : s + shift + 2 * quarter] for s in starts] for shift in (0, 2 * quarter))
    return torch.cat(near, dim=-1), torch.cat(far, dim=-1)


def _near_border(centres: np.ndarray, borders: np.ndarray, reach_samples: float) -> np.ndarray:
    """Whether each centre is less than `reach_samples` from a border, [T] bool; raises Undefined if all or none are."""
    near: np.ndarray = np.abs(centres[:, None] - borders).min(1) < reach_samples
    if not near.any() or near.all():
        raise Undefined("no frame near a border, or none elsewhere")
    return near


def _frame_errors(reference: Tensor, estimate: Tensor, sample_rate: int, window: int, hop: int) -> np.ndarray:
    """Mean |log mel difference| of each frame [T], over bands and channels; frames lie wholly inside the audio."""
    filters = mel_filters(sample_rate, window, NUM_MELS).float()
    levels = [
        (filters @ stft(x.float(), window, hop, nyquist=True).abs().clamp_min(LEVEL_FLOOR)).clamp_min(1e-8).log()
        for x in (reference, estimate)
    ]
    errors: np.ndarray = (levels[0] - levels[1]).abs().mean((0, 1)).double().numpy()
    return errors


def _step_ratio(audio: Tensor, borders: np.ndarray) -> float:
    steps = audio.diff(dim=-1).abs().mean(0).double()  # steps[n - 1] leads to sample n
    at_border = torch.zeros(len(steps), dtype=torch.bool)
    at_border[torch.from_numpy(borders - 1)] = True
    elsewhere = steps[~at_border].mean()
    return float(steps[at_border].mean() / elsewhere) if elsewhere > 0 else 1.0
