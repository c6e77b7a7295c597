"""Artefacts at the borders of chunks (CoDiCodec's third experiment): errors near borders against elsewhere.

A codec that decodes chunk by chunk may be heard at the joints. Errors are taken in short frames, as the mean absolute
difference of log mel magnitudes (a codec that draws its details anew has no meaningful waveform error). A frame is near
a border if its window holds one. Besides, the step from one sample to the next at the borders is compared with that
elsewhere, in the reconstruction and in the original: a click shows as a ratio above the original's.

Borders lie at k * chunk_samples - lead, k >= 1, inside the audio. Shape letters: C channels, N samples, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....layers.mel import mel_filters
from ....layers.stft import stft
from ...data.audio.find import AudioItem
from ..metrics.bootstrap import bootstrap_interval, mean
from .evaluate import evaluate_tokenizer
from .figures.quality import Undefined
from .plots import boundaries_png
from .result import ExperimentResult, Row, Table, row_cell
from .setup import Setup

NUM_MELS = 40
LEVEL_FLOOR = 1e-4  # of unnormalised magnitudes, as in figures/distances.py
HOPS_A_WINDOW = 4
NUM_BINS = 64  # of the profile over a chunk
FIGURES = ("near_error", "far_error", "excess", "step_ratio", "original_step_ratio")
COLUMNS = ("system", "num_files", "num_borders", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")))


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
        """Error near borders relative to elsewhere, less 1."""
        return self.near_error / self.far_error - 1.0 if self.far_error > 0 else 0.0


def border_errors(
    reference: Tensor, estimate: Tensor, sample_rate: int, *, chunk_samples: int, lead_samples: int, window_samples: int
) -> BorderErrors:
    """Compare audio [C, N] with its reconstruction near the borders of chunks and elsewhere.

    Raises:
        Undefined: the audio holds no border, or is silent.
        ValueError: different shapes, or a window that leaves no frame between two borders.
    """
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise ValueError(f"audio must have one shape [C, N], got {tuple(reference.shape)}, {tuple(estimate.shape)}")
    if chunk_samples <= window_samples:
        raise ValueError(
            f"a window of {window_samples} samples leaves nothing between borders {chunk_samples} samples apart: "
            "take a shorter window_s, or this codec has chunks too short to have borders"
        )
    num_samples = reference.shape[-1]
    borders = np.arange(chunk_samples - lead_samples, num_samples, chunk_samples)
    borders = borders[borders > 0]
    if not len(borders) or num_samples < window_samples:
        raise Undefined("shorter than a chunk: there is no border in it")
    if not reference.any():
        raise Undefined("the original is digital silence")
    hop = max(1, window_samples // HOPS_A_WINDOW)
    errors = _frame_errors(reference, estimate, sample_rate, window_samples, hop)
    centres = np.arange(len(errors)) * hop + window_samples / 2
    near = np.abs(centres[:, None] - borders).min(1) < window_samples / 2
    if not near.any() or near.all():
        raise Undefined("no frame near a border, or none elsewhere")
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


def _frame_errors(reference: Tensor, estimate: Tensor, sample_rate: int, window: int, hop: int) -> np.ndarray:
    """Mean |log mel difference| of each frame [T], over bands and channels; frames lie wholly inside the audio."""
    filters = mel_filters(sample_rate, window, NUM_MELS).float()
    levels = [
        (filters @ stft(x.float(), window, hop, nyquist=True).abs().clamp_min(LEVEL_FLOOR)).clamp_min(1e-8).log()
        for x in (reference, estimate)
    ]
    return (levels[0] - levels[1]).abs().mean((0, 1)).double().numpy()


def _step_ratio(audio: Tensor, borders: np.ndarray) -> float:
    steps = audio.diff(dim=-1).abs().mean(0).double()  # steps[n - 1] leads to sample n
    at_border = torch.zeros(len(steps), dtype=torch.bool)
    at_border[torch.from_numpy(borders - 1)] = True
    elsewhere = steps[~at_border].mean()
    return float(steps[at_border].mean() / elsewhere) if elsewhere > 0 else 1.0


class _BorderMetric:
    """Border errors as a `FileMetric`, with the profiles gathered by the way."""

    models = dict.fromkeys(FIGURES, "log mel error of short frames")

    def __init__(self, chunk_samples: int, lead_samples: int, window_samples: int):
        self.measure_borders = partial(
            border_errors, chunk_samples=chunk_samples, lead_samples=lead_samples, window_samples=window_samples
        )

    def measure(self, item: AudioItem, reference: Tensor, estimate: Tensor, sample_rate: int) -> dict[str, Any]:
        try:
            found = self.measure_borders(reference, estimate, sample_rate)
        except Undefined as error:
            return dict.fromkeys(FIGURES, error)
        return {**{name: getattr(found, name) for name in FIGURES}, "borders": found}


def boundaries_experiment(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ExperimentResult:
    """Errors near borders and elsewhere, by each stream and, where the codec has several, each decoding mode.

    Raises:
        ValueError: chunks too short for the window.
        AudioError: no file that could be read holds a border.
    """
    config, spec = setup.config, setup.tokenizer.spec
    window = 2 * max(8, round(config.window_s * spec.sample_rate / 2))
    metric = _BorderMetric(spec.chunk_samples, int(getattr(setup.tokenizer, "lead_samples", 0)), window)
    if spec.chunk_samples <= window:
        raise ValueError(
            f"chunks of {spec.name} are {spec.chunk_samples} samples, the window of {config.window_s} s is {window}: "
            "nothing lies between two borders; take a shorter window_s"
        )
    modes = ("parallel", "autoregressive") if setup.decode_takes("mode") and "mode" not in config.options else (None,)
    result = evaluate_tokenizer(
        setup.tokenizer,
        setup.items,
        streams=setup.streams,
        options={mode or "": {**config.options, **({"mode": mode} if mode else {})} for mode in modes},
        figures=("mel_distance",),
        metrics=[metric],
        seed=config.seed,
        max_duration_s=config.max_duration_s,
        progress=progress,
    )
    rows, profiles = [], {}
    for name in result.systems:
        found = [row["borders"] for row in result.rows if row["system"] == name and "borders" in row]
        if not found:
            raise Undefined(f"not one file is longer than a chunk of {spec.chunk_samples / spec.sample_rate:.2f} s")
        row: Row = {"system": name, "num_files": len(found), "num_borders": sum(one.num_borders for one in found)}
        for figure in FIGURES:
            row |= _with_interval(figure, [getattr(one, figure) for one in found], config.confidence, config.seed)
        rows.append(row)
        sums, counts = (sum(getattr(one, part) for one in found) for part in ("profile_sums", "profile_counts"))
        profiles[name] = [float(s / c) if c else None for s, c in zip(sums, counts, strict=True)]
    width_s = spec.chunk_samples / spec.sample_rate
    place_s = [((number + 0.5) / NUM_BINS - 0.5) * width_s for number in range(NUM_BINS)]
    facts = setup.facts(result) | {"models": {}, "window_samples": window, "place_s": place_s, "profiles": profiles}
    return ExperimentResult(
        name="boundaries",
        columns=COLUMNS,
        rows=rows,
        tables=[
            Table(
                caption=f"means and {config.confidence:.0%} intervals",
                columns=("system", "borders", *FIGURES),
                rows=[[row["system"], row["num_borders"], *(row_cell(row, name) for name in FIGURES)] for row in rows],
            )
        ],
        facts=facts,
        warnings=setup.warnings(result),
        draw=partial(boundaries_png, place_s=place_s, profiles=profiles, title=setup.title(result, intervals=False)),
    )


def _with_interval(figure: str, values: list[float], confidence: float, seed: int) -> Row:
    if len(values) < 2:
        return {figure: mean(values), f"{figure}_low": None, f"{figure}_high": None}
    found = bootstrap_interval(values, confidence=confidence, seed=seed)
    return {figure: found.value, f"{figure}_low": found.low, f"{figure}_high": found.high}
