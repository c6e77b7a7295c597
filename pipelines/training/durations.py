"""How long the transcripts of a dataset last: a model that its generator keeps."""

from __future__ import annotations

import logging

from ...generators.conditioning import ConditionEncoder
from ...generators.conditioning.base import as_text
from ...generators.conditioning.durations import DurationModel, fit_durations
from ..data.shards import LatentDataset, MixedDataset

logger = logging.getLogger(__name__)


def transcript_durations(
    dataset: LatentDataset | MixedDataset, columns: dict[str, str], encoder: ConditionEncoder
) -> DurationModel | None:
    """Returns a model of how long the transcripts of the items last; None where the generator reads none.

    Args:
        dataset: of the items.
        columns: condition -> metadata column.
        encoder: the conditions of the generator.
    """
    name = encoder.transcript
    if name is None:
        return None
    texts: list[str] = []
    seconds: list[float] = []
    for part in dataset.parts:
        texts += map(as_text, part.columns.values(columns[name], part.rows))
        seconds += (part.columns.numbers("num_samples")[part.rows] / part.spec.sample_rate).tolist()
    model = fit_durations(name, encoder.symbols(texts), seconds)
    if model is not None and model.error_s is not None:
        logger.info(
            "a text of the condition %s lasts %.2f s plus %.3f s per symbol on average; for items that were held out, "
            "the mean error is %.2f s",
            name,
            model.offset_s,
            model.other_s,
            model.error_s,
        )
    return model
