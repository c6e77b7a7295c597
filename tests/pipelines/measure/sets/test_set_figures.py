import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from compared_sets import ALL, DIM, RATE, Tagger, Texts, deltas, embeddings_of, figures, run, values, write

from latentune.pipelines.measure.metrics import (
    GaussianStatistics,
    frechet_distance,
    frechet_infinity,
    kernel_audio_distance,
    paired_kl,
    precision_recall_density_coverage,
)
from latentune.pipelines.measure.results import (
    Resampling,
    ResultsTable,
)
from latentune.pipelines.measure.sets.compare import add_metric
from latentune.pipelines.measure.sets.measures import Inputs
from latentune.pipelines.measure.sets.metrics import METRICS
from latentune.pipelines.measure.sets.sets import EmbeddedSet


def test_every_metric_is_that_of_the_library_on_the_same_embeddings(sets: tuple[Path, Path, Path]) -> None:
    found = run(*sets, metrics=ALL)
    files = [embeddings_of(folder) for folder in sets]
    real, _, far = (np.concatenate(list(each.values())) for each in files)
    shares = precision_recall_density_coverage(real, far)
    embedder = Tagger()
    tags = [{n: embedder.posteriors_of(torch.from_numpy(e)).numpy() for n, e in each.items()} for each in files]
    cosines = []
    for name, made in files[2].items():
        target = files[0][name].mean(0)
        cosines.append((made @ target / np.linalg.norm(made, axis=1) / np.linalg.norm(target)).mean())
    expected = {
        "fad_tagger": frechet_distance(real, far),
        "fad_inf_tagger": frechet_infinity(real, far, seed=0).value,
        "kad_tagger": kernel_audio_distance(real, far),
        "precision_tagger": shares.precision,
        "coverage_tagger": shares.coverage,
        "kl_tagger": paired_kl(list(tags[0].values()), list(tags[2].values()), multilabel=True).mean(),
        "similarity_tagger": np.mean(cosines),
    }
    measured = values(found, 1)
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert len(measured) == 12
    assert None not in measured.values()
    assert found.value == values(found)["fad_tagger"]


def test_intervals_hold_the_figure_and_differences_tell_systems_apart(sets: tuple[Path, Path, Path]) -> None:
    result = run(*sets, str(sets[1]), metrics=("fad", "kad", "kl"), names=("near", "far", "again"))
    assert list(result.systems) == ["near", "far", "again"]
    for system in range(3):
        for figure in figures(result, system).values():
            assert figure.low is not None
            assert figure.value is not None
            assert figure.high is not None
            assert figure.low < figure.value < figure.high
    assert result.to_dict()["systems"][0]["deltas"] == []
    far = deltas(result, 1)
    assert len(far) == 3
    for name in ("fad_tagger", "kad_tagger"):
        delta = far[name]
        assert delta.paired
        assert delta.low is not None
        assert delta.low > 0
        assert delta.p_value == pytest.approx(2 / 51)
        assert delta.value == values(result, 1)[name] - values(result)[name]  # type: ignore[operator]
    assert len(deltas(result, 2)) == 3
    for delta in deltas(result, 2).values():
        assert (delta.value, delta.low, delta.high, delta.p_value) == (0, 0, 0, 1)


def test_neighbour_shares_and_the_extrapolated_distance_have_intervals(sets: tuple[Path, Path, Path]) -> None:
    result = run(*sets, metrics=("fad-inf", "prdc"))
    for system in range(2):
        for name, figure in figures(result, system).items():
            assert figure.low is not None, name
            assert figure.value is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high
            assert figure.low < figure.high or figure.value in (0, 1)
    found = deltas(result)
    assert found["fad_inf_tagger"].paired
    assert found["fad_inf_tagger"].low > 0  # type: ignore[operator]
    assert found["precision_tagger"].high < 0  # type: ignore[operator]


@pytest.mark.parametrize("system", ["near", "far", "real"])
def test_every_interval_lies_within_its_bounds_and_holds_its_figure(
    sets: tuple[Path, Path, Path], system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentune.pipelines.evaluate as library

    monkeypatch.setattr(library, "load_text_encoder", lambda *given: Texts())
    folder = sets[0].parent / system
    for number in range(8):
        (folder / f"{number}.json").write_text(json.dumps({"prompt": str(number % DIM)}))
    embedder = Tagger()
    embedder.name = "clap"  # for the last metric
    result = run(sets[0], folder, sets[1 if system == "far" else 2], embedder=embedder, metrics=tuple(METRICS))
    columns = [facts for metric in METRICS.values() for facts in metric.figures.values()]
    assert {metric.name: next(iter(metric.figures.values())).bounds for metric in METRICS.values()} == {
        **dict.fromkeys(("fad", "fad-per-file", "kl", "kl-marginal"), (0.0, np.inf)),
        **dict.fromkeys(("fad-inf", "kad", "kid"), (-np.inf, np.inf)),  # may lie below 0 for one distribution
        "prdc": (0.0, 1.0),
        **dict.fromkeys(("audio-similarity", "clap-score"), (-1.0, 1.0)),
    }
    intervals = 0
    for column, (name, figure) in zip(columns, figures(result).items(), strict=True):
        assert figure.value is not None, figure.note
        low, high = column.bounds
        assert low <= figure.value <= high, name
        if figure.low is not None:
            assert low <= figure.low <= figure.value <= figure.high <= high, name  # type: ignore[operator]
            intervals += 1
    assert intervals == len(columns) - 1, "kl-marginal alone has none"
    for name, delta in deltas(result).items():
        if delta.low is not None:
            assert delta.low <= delta.value <= delta.high, name  # type: ignore[operator]


def test_too_few_windows_in_a_choice_of_files_leave_the_interval_out(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("real", "made")]
    for folder in folders:
        write(folder)
        for place in range(8):
            soundfile.write(folder / f"{place}.wav", soundfile.read(folder / f"{place}.wav")[0][:800], RATE)
    page = tmp_path / "r.html"
    result = run(*folders, folders[0], metrics=("prdc",), html=str(page), num_players=0)
    precision, recall = (figures(result)[f"{share}_tagger"] for share in ("precision", "recall"))
    assert precision.low is not None
    assert recall.value is not None
    assert recall.low is None
    assert "no interval: recall needs more than 5 embeddings, the files hold 5" in recall.note
    delta = deltas(result)["recall_tagger"]
    assert (delta.low, delta.note) == (None, recall.note)
    assert f"recall_tagger, difference: {recall.note}" in page.read_text()


def random_set(prefix: str, num_windows: list[int], seed: int) -> EmbeddedSet:
    """A file of each number of windows, called by the prefix and its place."""
    rows = np.random.default_rng(seed).normal(size=(sum(num_windows), DIM)).astype(np.float32)
    return EmbeddedSet(
        statistics=GaussianStatistics.of(rows),
        names=[f"{prefix}{place}.wav" for place in range(len(num_windows))],
        offsets=np.concatenate([[0], np.cumsum(num_windows)]),
        embeddings=rows,
    )


@pytest.mark.parametrize(
    ("metric", "num_windows", "bootstrap", "seed"),
    [("fad-inf", [1] * 3 + [20] * 4, 200, 0), ("prdc", [1] * 5 + [20] * 3, 20, 2)],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_too_few_windows_in_a_draw_of_one_system_leave_the_difference_without_interval(
    metric: str, num_windows: list[int], bootstrap: int, seed: int
) -> None:
    resampling = Resampling(num_resamples=bootstrap, num_set_resamples=bootstrap, centre=True, min_files=5, seed=seed)
    table = ResultsTable(resampling=resampling)
    for prefix in "ab":
        system = random_set(prefix, num_windows, ord(prefix))
        inputs = Inputs(reference=random_set("r", [5] * 30, 0), system=system, network=Tagger(), seed=seed)
        add_metric(table, prefix, METRICS[metric], inputs)
    name = "fad_inf_tagger" if metric == "fad-inf" else "recall_tagger"
    one, other = table.estimate("a", name), table.estimate("b", name)
    assert one.low is not None
    assert other.low is not None, "its own draws, of another seed, are of enough windows"
    delta = table.difference("a", "b", name)
    assert delta is not None
    assert (one.value or 0) + delta.value == pytest.approx(other.value)
    assert (delta.low, delta.high, delta.p_value, delta.paired) == (None, None, None, False)
    assert "no interval: " in delta.note
    assert "embeddings" in delta.note


def test_systems_whose_files_do_not_pair_are_drawn_on_their_own(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path / "other", 7, scale=0.3, seed=5, prefix="x")
    result = run(sets[0], sets[1], other, metrics=("fad", "kl"))
    (delta,) = deltas(result).values()
    assert not delta.paired
    assert delta.low is not None
    assert delta.high is not None
    assert delta.low < delta.value < delta.high
    assert delta.p_value == pytest.approx(2 / 51)
    figure = figures(result, 1)["kl_tagger"]
    assert figure.value is None
    assert "no file of the system has the name" in figure.note
    assert any("7 files of other have no counterpart" in line and "x0.wav" in line for line in result.warnings)


def test_a_figure_does_not_depend_on_the_other_systems(sets: tuple[Path, Path, Path]) -> None:
    both = run(*sets, metrics=("fad", "kad"))
    alone = run(sets[0], sets[2], metrics=("fad", "kad"))
    assert figures(both, 1) == figures(alone)


def test_statistics_give_the_fad_and_say_what_they_cannot(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    statistics = tmp_path / "real.safetensors"
    expected = run(*sets, metrics=("fad", "kl"), save_statistics=str(statistics))
    result = run(statistics, *sets[1:], metrics=("fad", "kad", "kl"))
    assert values(result)["fad_tagger"] == expected.value
    assert values(result)["kad_tagger"] is None
    assert "statistics of the reference are not enough" in figures(result)["kl_tagger"].note
    with pytest.raises(ValueError, match="statistics of the reference are not enough"):
        run(statistics, sets[1], metrics=("kad",))
    system = run(sets[0], statistics, sets[1])
    assert figures(system)["fad_tagger"].low is None
    assert deltas(system)["fad_tagger"].low is None
    json.dumps(run(statistics, *sets[1:], metrics=("kad",)).to_dict(), allow_nan=False)


def test_files_whose_pair_is_not_clear_are_counted_and_named(sets: tuple[Path, Path, Path]) -> None:
    for number in range(2):
        soundfile.write(sets[1] / f"{number}.flac", *soundfile.read(sets[1] / f"{number}.wav"))
    (sets[0] / "1.wav").rename(sets[0] / "1.ogg")
    (sets[1] / "7.wav").rename(sets[1] / "9.wav")
    result = run(*sets[:2], metrics=("kl",))
    reason = "cannot be paired, since several files have their name but for the suffix, and are left out"
    assert [line for line in result.warnings if line.startswith("kl: ")] == [
        "kl: 1 files of generated have no counterpart of their name and are left out: 9.wav",
        "kl: 1 files of the reference have no counterpart of their name and are left out: 7.wav",
        f"kl: 3 files of generated {reason}: 0.flac, 1.flac, 1.wav",
        f"kl: 1 files of the reference {reason}: 1.ogg",
    ]
    tags = [
        [Tagger().posteriors_of(torch.from_numpy(files[f"{n}.wav"])).numpy() for n in (0, 2, 3, 4, 5, 6)]
        for files in map(embeddings_of, sets[:2])
    ]
    assert result.value == pytest.approx(paired_kl(*tags, multilabel=True).mean(), rel=1e-4), "all others"


def test_the_table_of_metrics_is_complete() -> None:
    assert set(ALL) | {"clap-score"} == set(METRICS)
    assert all(facts.title for metric in METRICS.values() for facts in metric.figures.values())
    assert all(metric.figures for metric in METRICS.values())
