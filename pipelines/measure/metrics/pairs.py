"""Originals and what a system made of them, both in files: paired by name, whatever made the second.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from torch import Tensor

from ....core.errors import AudioError, MismatchError
from ...data.audio.find import AudioItem, find_audio
from ..embedders.base import Embedder
from .codec import FileMetric, evaluate_files, read_reference
from .codec_result import ReconstructionResult
from .codec_systems import Reconstruction
from .figures import SIGNAL_FIGURES

LENGTH_TOLERANCE_S = 0.1  # what codecs and containers add; the longer one is cut
MOST_LISTED = 20  # names in a message

Source = str | Path | Sequence[AudioItem]


def pair_audio(reference: Source, estimate: Source) -> list[tuple[AudioItem, AudioItem]]:
    """Pairs of one name but for the suffix (`a/b.flac` and `a/b.wav`), sorted by name.

    Raises:
        MismatchError: names that only one side has, or a side has twice; they are listed.
        FileNotFoundError, ValueError: no such source, or no audio in it.
    """
    sides = {"reference": _by_name(reference, "reference"), "estimate": _by_name(estimate, "estimate")}
    names = {side: set(items) for side, items in sides.items()}
    problems = [
        f"{len(only)} only in {side}: {_listed(only)}"
        for side, other in (("reference", "estimate"), ("estimate", "reference"))
        if (only := sorted(names[side] - names[other]))
    ]
    if problems:
        raise MismatchError(f"the two sets of audio do not hold the same files; {'; '.join(problems)}")
    return [(sides["reference"][name], sides["estimate"][name]) for name in sorted(names["reference"])]


def evaluate_pairs(
    reference: Source,
    systems: Mapping[str, Source],
    *,
    sample_rate: int,
    channels: int = 1,
    figures: Sequence[str] = SIGNAL_FIGURES,
    metrics: Sequence[FileMetric] = (),
    embedder: Embedder | None = None,
    max_duration_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReconstructionResult:
    """As `evaluate_systems`, for systems whose audio lies in files of the originals' names.

    Lengths may differ by 0.1 s; the longer of a pair is cut. A pair that differs by more is left out for all systems
    and listed in `failures`, as one that cannot be read.

    Args:
        sample_rate, channels: at which all files are compared.

    Raises:
        MismatchError: a system's names are not the originals'; they are listed.
        AudioError: not one pair could be measured.
        ValueError: as of `evaluate_systems`.
    """
    if not systems:
        raise ValueError("no system to measure: give at least one")
    pairs = {name: pair_audio(reference, source) for name, source in systems.items()}
    files = {name: {one.name: other for one, other in found} for name, found in pairs.items()}
    items = [one for one, _ in next(iter(pairs.values()))]

    def make(item: AudioItem) -> tuple[Tensor, list[tuple[str, Reconstruction]]]:
        original = read_reference(item, sample_rate, channels, max_duration_s)
        made = {
            name: read_reference(found[item.name], sample_rate, channels, max_duration_s)
            for name, found in files.items()
        }
        for name, audio in made.items():
            if abs(audio.shape[-1] - original.shape[-1]) > LENGTH_TOLERANCE_S * sample_rate:
                raise AudioError(
                    f"{files[name][item.name].path}: has {audio.shape[-1] / sample_rate:.3f} s, its original "
                    f"{original.shape[-1] / sample_rate:.3f} s"
                )
        length = min(audio.shape[-1] for audio in (original, *made.values()))
        return original[..., :length], [
            (name, Reconstruction(audio=audio[..., :length])) for name, audio in made.items()
        ]

    return evaluate_files(
        make, items, sample_rate, figures=figures, metrics=metrics, embedder=embedder, progress=progress
    )


def _by_name(source: Source, side: str) -> dict[str, AudioItem]:
    items = find_audio(source) if isinstance(source, (str, Path)) else source
    found: dict[str, AudioItem] = {}
    twice = []
    for item in items:
        name = str(PurePosixPath(item.name).with_suffix(""))
        if name in found:
            twice.append(name)
        found[name] = item
    if twice:
        raise MismatchError(f"{side} has {len(twice)} names twice but for the suffix: {_listed(sorted(set(twice)))}")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
