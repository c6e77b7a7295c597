"""Items that are trained on whole, because a condition such as a transcript belongs to all of it."""

from __future__ import annotations

import logging

import numpy as np

from ...core.errors import TrainingError
from ...generators.conditioning import ConditionEncoder
from ..data.shards import LatentDataset, MixedDataset
from ..data.shards.gather import num_chunks_of

logger = logging.getLogger(__name__)


def fitting_items(
    dataset: LatentDataset | MixedDataset, crop_s: float, encoder: ConditionEncoder
) -> LatentDataset | MixedDataset:
    """Returns the items that an example can hold whole, where a condition belongs to whole items; else all of them.

    Args:
        dataset: to train on.
        crop_s: length of an example in seconds.
        encoder: the conditions of the generator.

    Raises:
        TrainingError: no item of a dataset is short enough.
    """
    names = [name for name, part in encoder.conditioners.items() if part.whole_items]
    if not names:
        return dataset
    fitting = [_fitting(part, crop_s, ", ".join(names)) for part in dataset.parts]
    return MixedDataset(fitting, dataset.weights) if isinstance(dataset, MixedDataset) else fitting[0]


def _fitting(part: LatentDataset, crop_s: float, names: str) -> LatentDataset:
    chunks = num_chunks_of(part, part.rows)
    fits = chunks <= part.spec.nearest_chunks(crop_s)
    if fits.all():
        return part
    shortest_s, longest_s = (
        float(count) * part.spec.chunk_samples / part.spec.sample_rate for count in (chunks.min(), chunks.max())
    )
    if not fits.any():
        raise TrainingError(
            f"none of the {len(part)} items of {part.path} fits into data.crop_s={crop_s:g}, and an item cannot be cut "
            f"because {names} belongs to all of it: the shortest has {shortest_s:.2f} s"
        )
    logger.warning(
        "%d of %d items of %s are longer than data.crop_s=%g and left out, because %s belongs to a whole item (the "
        "longest has %.2f s)",
        int(np.count_nonzero(~fits)),
        len(part),
        part.path,
        crop_s,
        names,
        longest_s,
    )
    return part.only(fits)
