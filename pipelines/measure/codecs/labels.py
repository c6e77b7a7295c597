"""Labels of recordings from a codec's streams by a linear classifier: what the representation says in plain sight.

Shape letters: C channels, N samples, T frames, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....core.config import config_to_dict
from ....core.errors import AudioError, ConfigError
from ....layers.mel import magnitudes, mel_filters_on
from ...data.audio.find import left_out
from ...data.audio.item import AudioItem
from ..results import FigureFacts, Resampling, ResultsTable, comparison, records
from ..results.findings import Findings
from .audio import read_reference
from .groups import NO_VALUE, column_values
from .linear import cross_validated, majority, make_folds
from .setup import SCHEMA, Setup

MEL, CHANCE = "mel spectrum", "most frequent label"  # systems that a codec is compared with
MEL_BANDS, MEL_WINDOW_S, MEL_FLOOR = 64, 0.032, 1e-5
FIGURES = {
    "accuracy": FigureFacts(better="higher", title="accuracy", bounds=(0.0, 1.0)),
    "balanced_accuracy": FigureFacts(better="higher", title="accuracy, mean over labels", bounds=(0.0, 1.0)),
}


def labels_experiment(setup: Setup) -> Findings:
    """Predicts a column of the manifest from each stream, cross-validated, and from two baselines.

    Raises:
        ConfigError: no label, fewer than two of them, or no such column.
        AudioError: no file could be read.
        ValueError: fewer files than folds.
    """
    config = setup.config
    if config.label is None:
        raise ConfigError("label names the column of the manifest to predict: set label=genre, for example")
    table = ResultsTable(schema=SCHEMA, resampling=Resampling(confidence=config.confidence, seed=config.seed))
    table.figures = dict(FIGURES)
    items, features = _features(setup, _with_label(setup, table), table)
    values = column_values(items, config.label)
    labels = [values[item.name] for item in items]
    counts = Counter(labels)
    if len(counts) < 2:
        raise ConfigError(f"all files have the same {config.label}: there is nothing to predict")
    groups = None
    if config.fold_by is not None:
        group = column_values(items, config.fold_by)
        groups = [group[item.name] for item in items]
    folds = make_folds(labels, groups, config.folds, config.seed)
    predictions = {name: cross_validated(one, labels, folds) for name, one in features.items()}
    for system, predicted in {**predictions, CHANCE: majority(labels, folds)}.items():
        _add(table, system, [item.name for item in items], labels, predicted)
    table.facts |= {"config": config_to_dict(config), "labels": dict(counts), "num_files": len(items)}
    if rare := [label for label, count in counts.items() if count < config.folds]:
        table.warnings.append(
            f"fewer files than folds have the labels {', '.join(sorted(rare))}: they are hard to learn"
        )
    table.warnings += [f"left out: {one['path']}: {one['reason']}" for one in table.failures]
    caption = (
        f"{config.label}: {len(counts)} labels, {config.folds} folds, {config.confidence:.0%} intervals over files"
    )
    return Findings(
        name="labels",
        title=setup.page_title(f"labels ({config.label})"),
        table=table,
        columns=("system", "file", "label", "predicted", "accuracy"),
        rows=records(table),
        grids=[comparison(table, transpose=False, caption=caption)],
    )


def _with_label(setup: Setup, table: ResultsTable) -> list[AudioItem]:
    """The files that have a label; those without are counted in a warning."""
    assert setup.config.label is not None
    values = column_values(setup.items, setup.config.label)
    items = [item for item in setup.items if values[item.name] != NO_VALUE]
    if without := len(setup.items) - len(items):
        table.warnings.append(f"{without} files have no {setup.config.label} and are left out")
    return items


def _features(
    setup: Setup, items: Sequence[AudioItem], table: ResultsTable
) -> tuple[list[AudioItem], dict[str, NDArray[np.float64]]]:
    """The files that can be read, and of each system their features [files, F]."""
    read: list[AudioItem] = []
    rows: dict[str, list[Tensor]] = {name: [] for name in (*setup.streams, MEL)}
    spec = setup.tokenizer.spec
    for done, item in enumerate(items, start=1):
        try:
            audio = read_reference(item, spec.sample_rate, spec.channels, setup.config.max_duration_s)
        except (AudioError, ValueError) as error:
            table.failures.append(left_out(item.path, error))
        else:
            read.append(item)
            for name, frames in _frames(setup, audio).items():
                rows[name].append(torch.cat((frames.mean(0), frames.std(0, unbiased=False))))
        if setup.progress is not None:
            setup.progress(done, len(items))
    if not read:
        raise AudioError(f"none of {len(items)} audio files could be read")
    return read, {name: torch.stack(one).double().numpy() for name, one in rows.items()}


@torch.no_grad()
def _frames(setup: Setup, audio: Tensor) -> dict[str, Tensor]:
    """Frames [T, F] of audio [C, N], by system.

    A frame of the codec is a chunk, since the frames of a chunk may differ in meaning: of most codecs it is one frame.
    """
    codec = setup.tokenizer
    encoded = codec.encode(audio[None].to(codec.device), codec.spec.sample_rate)
    found: dict[str, Tensor] = {}
    for stream in setup.streams:
        latents = encoded.latents if stream == "latents" else codec.tokens_to_latents(encoded.tokens)
        found[stream] = latents[0].unflatten(0, (-1, codec.spec.chunk_latents)).flatten(1).float().cpu()
    window = 2 * round(MEL_WINDOW_S * codec.spec.sample_rate / 2)
    power = magnitudes(audio.mean(0), window, window // 2)
    bands = mel_filters_on(audio.device, codec.spec.sample_rate, window, MEL_BANDS) @ power
    found[MEL] = (bands + MEL_FLOOR).log().mT
    return found


def _add(
    table: ResultsTable, system: str, files: Sequence[str], labels: Sequence[str], predicted: Sequence[str]
) -> None:
    counts = Counter(labels)
    for file, label, guess in zip(files, labels, predicted, strict=True):
        table.add(system, file, "label", label)
        table.add(system, file, "predicted", guess)
        table.add(system, file, "accuracy", float(label == guess))
        table.add(system, file, "balanced_accuracy", float(label == guess), weight=1 / counts[label])
