"""Latent shards: datasets of a codec's two streams, written once and read at random."""

from .crops import collate
from .mixture import MixedDataset, MixtureSampler
from .plan import Plan, PlannedItem
from .read import LatentDataset, LatentItem, dataset_binding
from .sampler import ResumableSampler
from .settings import ShardSettings

__all__ = [
    "LatentDataset",
    "LatentItem",
    "MixedDataset",
    "MixtureSampler",
    "Plan",
    "PlannedItem",
    "ResumableSampler",
    "ShardSettings",
    "collate",
    "dataset_binding",
]
