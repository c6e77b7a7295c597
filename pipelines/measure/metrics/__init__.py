"""How good audio is: distances of reconstructions to originals, and of sets of audio to each other.

The names here are the metrics of sets: pure functions on arrays of embeddings or posteriors, which need neither torch
nor a model, and objects that gather batches for them. What turns audio into arrays is in `embedders`.
"""

from .divergence import kl_divergence, marginal_kl, paired_kl
from .factored import FileFrechetDistance
from .frechet import GaussianStatistics, frechet_distance
from .infinity import Extrapolation, frechet_infinity, frechet_per_file
from .kernel import FileKernelDistance, kernel_audio_distance, kernel_distance, median_distance
from .neighbours import FileNeighbours, Neighbourhood, precision_recall_density_coverage

__all__ = [
    "Extrapolation",
    "FileFrechetDistance",
    "FileKernelDistance",
    "FileNeighbours",
    "GaussianStatistics",
    "Neighbourhood",
    "frechet_distance",
    "frechet_infinity",
    "frechet_per_file",
    "kernel_audio_distance",
    "kernel_distance",
    "kl_divergence",
    "marginal_kl",
    "median_distance",
    "paired_kl",
    "precision_recall_density_coverage",
]
