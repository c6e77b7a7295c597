"""Histograms of latents (fig. 2 of CoDiCodec): how near the bounded values of codecs lie to the levels of their FSQ.

Shape letters: V values of a file.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....core.config import config_to_dict
from ....core.errors import AudioError, ConfigError
from ....tokenizers.base import AudioTokenizer
from ....tokenizers.load import load_tokenizer
from ...data.audio.find import left_out
from ...data.audio.item import AudioItem
from ..results import FigureFacts, Resampling, ResultsTable, comparison
from ..results.findings import Findings
from .audio import read_reference
from .plots import histograms_png
from .setup import SCHEMA, Setup

NUM_BINS = 201  # of [-1, 1]; odd, so that 0 is the middle of one
FIGURES = {
    "rounding_error": FigureFacts(title="distance to the nearest level, root mean square"),
    "deviation": FigureFacts(title="standard deviation of the values"),
    "saturated": FigureFacts(title="share of values beyond 0.95", bounds=(0.0, 1.0)),
}
SATURATED = 0.95


def histograms_experiment(setup: Setup) -> Findings:
    """Counts the bounded values of the latents of each codec, over all files and dimensions.

    Raises:
        ConfigError: two codecs of one name.
        AudioError: no file could be read.
    """
    config = setup.config
    codecs = _codecs(setup)
    table = ResultsTable(schema=SCHEMA, resampling=Resampling(confidence=config.confidence, seed=config.seed))
    table.figures = dict(FIGURES)
    counts = {name: np.zeros(NUM_BINS, dtype=np.int64) for name in codecs}
    for done, item in enumerate(setup.items, start=1):
        _count(setup, item, codecs, counts, table)
        if setup.progress is not None:
            setup.progress(done, len(setup.items))
    if not table.rows:
        raise AudioError(f"none of {len(setup.items)} audio files could be measured; first: {table.failures[0]}")
    edges = np.linspace(-1, 1, NUM_BINS + 1)
    places = ((edges[1:] + edges[:-1]) / 2).tolist()
    densities = {name: (one / one.sum() * NUM_BINS / 2).tolist() for name, one in counts.items()}
    table.facts |= {"config": config_to_dict(config), "num_files": len(table.files)}
    table.warnings += [f"left out: {one['path']}: {one['reason']}" for one in table.failures]
    return Findings(
        name="histograms",
        title=f"histograms of latents on {config.audio}",
        table=table,
        columns=("value", *densities),
        rows=[
            {"value": place, **{name: one[number] for name, one in densities.items()}}
            for number, place in enumerate(places)
        ],
        grids=[
            comparison(table, transpose=False, caption=f"means and {config.confidence:.0%} intervals over files"),
        ],
        draw=partial(histograms_png, places=places, densities=densities),
    )


def _codecs(setup: Setup) -> dict[str, AudioTokenizer]:
    """The codec of the setup, and those that it is compared with, by the names in the config."""
    config = setup.config
    names = [config.tokenizer, *config.compare]
    if len(set(names)) < len(names):
        raise ConfigError(f"compare names a codec twice: {', '.join(names)}")
    found = {config.tokenizer: setup.tokenizer}
    for name in config.compare:
        found[name] = load_tokenizer(name)
        config.prepare(found[name])
    return found


@torch.no_grad()
def _count(
    setup: Setup,
    item: AudioItem,
    codecs: dict[str, AudioTokenizer],
    counts: dict[str, NDArray[np.int64]],
    table: ResultsTable,
) -> None:
    """Adds the values of one file to the histograms and the table, for all codecs or for none."""
    heard: dict[str, Any] = {}
    try:
        for name, codec in codecs.items():
            rate, channels = codec.spec.sample_rate, codec.spec.channels
            heard[name] = read_reference(item, rate, channels, setup.config.max_duration_s)
    except (AudioError, ValueError) as error:
        table.failures.append(left_out(item.path, error))
        return
    for name, codec in codecs.items():
        encoded = codec.encode(heard[name][None].to(codec.device), codec.spec.sample_rate)
        values = codec.latents_to_values(encoded.latents).double().flatten().cpu()
        counts[name] += np.histogram(values.numpy(), NUM_BINS, (-1.0, 1.0))[0]
        if codec.spec.levels:
            moved = values - codec.tokens_to_values(encoded.tokens).double().flatten().cpu()
            table.add(name, item.name, "rounding_error", moved.square().mean().sqrt().item())
        table.add(name, item.name, "deviation", values.std(unbiased=False).item())
        table.add(name, item.name, "saturated", (values.abs() > SATURATED).double().mean().item())
