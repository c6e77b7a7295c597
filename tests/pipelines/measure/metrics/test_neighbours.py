import numpy as np
import pytest

from latentune.pipelines.measure.metrics import FileNeighbours, precision_recall_density_coverage
from latentune.pipelines.measure.results import Resampling, Sample, interval

SHARES = ("precision", "recall", "density", "coverage")


def embeddings(num: int, dim: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, dim)) * scale + shift


def brute(x: np.ndarray, y: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, from whole matrices of differences, as the package `prdc` writes them."""
    across = np.linalg.norm(x[:, None] - y[None], axis=-1)
    radii = [np.sort(np.linalg.norm(s[:, None] - s[None], axis=-1), axis=1)[:, k] for s in (x, y)]
    inside = across < radii[0][:, None]
    return {
        "precision": inside.any(0).mean(),
        "recall": (across < radii[1][None]).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": (across.min(1) < radii[0]).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_are_those_of_the_definitions(k: int) -> None:
    x, y = embeddings(80, 3, 0), embeddings(60, 3, 1, 0.5, 0.8)
    got = precision_recall_density_coverage(x, y, num_neighbours=k)
    for name, value in brute(x, y, k).items():
        assert value > 0
        assert getattr(got, name) == pytest.approx(value, rel=1e-12), name
    assert got.num_neighbours == k


def test_equal_sets_and_distant_sets_are_the_ends_of_the_scale() -> None:
    x = embeddings(100, 8, 0, shift=1000.0)
    same = precision_recall_density_coverage(x, x)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0)
    assert same.density == pytest.approx(6 / 5)  # itself and five neighbours, the last one on the border
    far = precision_recall_density_coverage(x, x + 100.0)
    assert (far.precision, far.recall, far.density, far.coverage) == (0.0, 0.0, 0.0, 0.0)


def test_fidelity_and_diversity_are_told_apart() -> None:
    reference = embeddings(300, 4, 0)
    narrow = precision_recall_density_coverage(reference, embeddings(300, 4, 1, scale=0.2))
    wide = precision_recall_density_coverage(reference, embeddings(300, 4, 1, scale=3.0))
    assert narrow.precision > 0.95
    assert narrow.recall < 0.3
    assert narrow.coverage < 0.5
    assert wide.precision < 0.6
    assert wide.density < 0.3
    assert wide.recall > narrow.recall


def test_density_of_one_distribution_is_one() -> None:
    """Naeem et al., lemma 2: its expectation is 1 whatever n, m and k."""
    runs = [
        precision_recall_density_coverage(embeddings(150, 3, 2 * s), embeddings(100, 3, 2 * s + 1)) for s in range(20)
    ]
    assert np.mean([run.density for run in runs]) == pytest.approx(1.0, abs=0.05)


def test_copies_in_the_reference_hold_their_copies_on_the_border() -> None:
    x = np.repeat(embeddings(5, 3, 0), 10, axis=0)  # each ball has the radius 0
    assert precision_recall_density_coverage(x, x[::10].repeat(2, axis=0)).precision == 1.0


def test_too_few_are_refused() -> None:
    x = embeddings(6, 2, 0)
    precision_recall_density_coverage(x, x)
    with pytest.raises(ValueError, match="generated has 5 embeddings, at least 6"):
        precision_recall_density_coverage(x, x[:5])
    with pytest.raises(ValueError, match="num_neighbours must be at least 1"):
        precision_recall_density_coverage(x, x, num_neighbours=0)


def test_any_choice_of_files_has_the_shares_of_their_embeddings() -> None:
    reference = embeddings(70, 3, 0)
    files = [embeddings(num, 3, num, 0.4) for num in (1, 9, 4, 12, 7)]
    found = FileNeighbours(reference, files, num_neighbours=3)
    for places in ([0, 1, 2, 3, 4], [3, 1], [4]):
        chosen = np.concatenate([files[place] for place in places])
        whole = precision_recall_density_coverage(reference, chosen, num_neighbours=3)
        for share in SHARES:
            assert getattr(found, share)(places) == pytest.approx(getattr(whole, share), rel=1e-12), share
    with pytest.raises(ValueError, match="more than 3 embeddings, the files hold 1"):
        found.recall([0])


def test_subsets_of_the_files_vary_as_other_files_would() -> None:
    """The spread over subsets is that over newly drawn sets, in which each file has a center of its own."""
    reference = embeddings(200, 4, 0)

    def draw(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(1000 + seed)
        return [0.6 + 0.5 * rng.normal(size=4) + rng.normal(size=(3, 4)) for _ in range(30)]

    anew = [FileNeighbours(reference, draw(seed)) for seed in range(80)]
    for share in SHARES:
        spread = np.std([getattr(found, share)(range(30)) for found in anew], ddof=1)
        statistics = [getattr(found, share) for found in anew[:20]]
        samples = [
            Sample(names=list(map(str, range(30))), value=one(range(30)), of_files=one, of_set=True, subsets=True)
            for one in statistics
        ]
        runs = [interval(sample, Resampling(num_set_resamples=100)) for sample in samples]
        assert np.mean([high - low for low, high in runs]) / (2 * 1.96) == pytest.approx(spread, rel=0.35), share
