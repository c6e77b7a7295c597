"""Set metrics compared with the functions of frechet-audio-distance, fadtk and kadtk, on the same embeddings."""

import importlib.util
from types import ModuleType

import numpy as np
import pytest
from bench_scripts import load_script

from latentune.pipelines.measure.metrics import frechet_distance, kernel_audio_distance, median_distance

pytestmark = pytest.mark.peer


def embeddings(num: int, dim: int, seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) + 2 * np.eye(dim)
    return rng.normal(size=(num, dim)) @ mixing * scale + 0.1 * seed


def peer(package: str) -> ModuleType:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return load_script("official_frechet")


@pytest.mark.parametrize("dim", [8, 128, 512])
@pytest.mark.parametrize("package", ["frechet_audio_distance", "fadtk"])
def test_frechet_distance_is_that_of_the_peers(package: str, dim: int) -> None:
    reference, generated = embeddings(4 * dim, dim, 0), embeddings(3 * dim, dim, 1, 1.1)
    theirs = peer(package).official_frechet(package, reference, generated)
    assert frechet_distance(reference, generated) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("dim", [8, 128])
def test_kernel_audio_distance_is_that_of_kadtk(dim: int) -> None:
    reference, generated = embeddings(301, dim, 0), embeddings(200, dim, 1, 1.1)
    theirs = peer("kadtk").official_kernel
    assert kernel_audio_distance(reference, generated) == pytest.approx(theirs(generated, reference), rel=1e-5)
    # as its command line calls it, the evaluated set comes second and gives the bandwidth
    other = kernel_audio_distance(reference, generated, bandwidth=median_distance(generated))
    assert other == pytest.approx(theirs(reference, generated), rel=1e-5)
