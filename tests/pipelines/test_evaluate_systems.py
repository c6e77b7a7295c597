"""Several systems side by side: figures, intervals, differences, reports, cache, engines, datasets."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from latentune.core.errors import ConfigError
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.measure.embedders import Embedder
from latentune.pipelines.measure.embedders.base import repeat_to
from latentune.pipelines.measure.metrics import (
    GaussianStatistics,
    frechet_distance,
    frechet_infinity,
    frechet_per_file,
    kernel_audio_distance,
    median_distance,
    paired_kl,
    precision_recall_density_coverage,
)
from latentune.pipelines.measure.results import (
    Difference,
    Estimate,
    Resampling,
    ResultsTable,
    detail_lines,
    terminal_table,
)
from latentune.pipelines.measure.sets.cache import EmbeddingCache
from latentune.pipelines.measure.sets.compare import add_metric
from latentune.pipelines.measure.sets.metrics import METRICS, Inputs
from latentune.pipelines.measure.sets.sets import EmbeddedSet
from latentune.pipelines.measure.sets.views import evaluation_grid

RATE, DIM = 8000, 4
ALL = ("fad", "fad-inf", "fad-per-file", "kad", "kid", "prdc", "kl", "kl-marginal", "audio-similarity")


class Tagger(Embedder):
    """Linear in windows of 0.1 s, each with two embeddings; its classes are a linear map of them."""

    name = "tagger"
    sample_rate = RATE
    window_samples = 800
    preprocessing = "none"
    num_classes = 3

    def __init__(self, seed: int = 0, embeddings_per_window: int = 1) -> None:
        network = nn.Sequential(nn.Linear(800, DIM * embeddings_per_window, bias=False), nn.Linear(DIM, 3))
        noise = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            nn.init.normal_(parameter, generator=noise)
        super().__init__(network, dim=DIM, source=f"seed {seed}")
        self.embeddings_per_window = embeddings_per_window
        self.num_embedded = 0

    def windows(self, audio: Tensor) -> Tensor:
        audio = repeat_to(audio, 800)
        return audio[: len(audio) // 800 * 800].reshape(-1, 800)

    def network_output(self, windows: Tensor) -> Tensor:
        self.num_embedded += len(windows)
        return self.network[0](windows).reshape(-1, DIM)

    def class_logits(self, embeddings: Tensor) -> Tensor:
        return self.network[1](embeddings)


class Texts:
    """Has an axis for each prompt, which is its number."""

    dim = DIM

    def embed(self, prompts: list[str]) -> Tensor:
        return torch.eye(DIM)[[int(prompt) for prompt in prompts]]

    def identity(self) -> dict[str, str]:
        return {"text_encoder": "fake"}


def write(folder: Path, num: int = 8, scale: float = 0.1, seed: int = 0, prefix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(num):
        audio = scale * rng.normal(size=RATE // 2 + 400 * number)
        soundfile.write(folder / f"{prefix}{number}.wav", audio, RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Real audio, a near system and a far one, files of the same names."""
    return write(tmp_path / "real"), write(tmp_path / "near", scale=0.11, seed=1), write(tmp_path / "far", scale=0.3)


def run(*places: Path | str, embedder: Embedder | None = None, **settings: Any) -> ResultsTable:
    reference, first, *others = map(str, places)
    config = EvaluateConfig(
        reference=reference, generated=first, systems=tuple(others), **{"bootstrap": 50, "device": "cpu", **settings}
    )
    return evaluate(config, embedder=embedder or Tagger())


def embeddings_of(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.name: Tagger().embed(torch.from_numpy(soundfile.read(path, dtype="float32")[0])).numpy()
        for path in sorted(folder.glob("*.wav"))
    }


def figures(result: ResultsTable, system: int = 0) -> dict[str, Estimate]:
    """The figures of the system of this number."""
    return {name: result.estimate(list(result.systems)[system], name) for name in result.figures}


def values(result: ResultsTable, system: int = 0) -> dict[str, float | None]:
    return {name: found.value for name, found in figures(result, system).items()}


def deltas(result: ResultsTable, system: int = 1) -> dict[str, Difference]:
    """Differences of the system of this number from the first, where both were measured."""
    names = list(result.systems)
    found = {name: result.difference(names[0], names[system], name) for name in result.figures}
    return {name: one for name, one in found.items() if one is not None}


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
        "kl_tagger": paired_kl(tags[0], tags[2], multilabel=True).value,
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
    columns = [column for metric in METRICS.values() for column in metric.columns]
    assert {metric.name: metric.columns[0].bounds for metric in METRICS.values()} == {
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


@pytest.mark.parametrize("settings", [{"num_threads": 0}, {"num_threads": 7}], ids=str)
def test_the_number_of_threads_does_not_matter(sets: tuple[Path, Path, Path], settings: dict[str, int]) -> None:
    assert values(run(*sets, metrics=ALL, **settings)) == values(run(*sets, metrics=ALL))


def test_batches_and_embeddings_per_window_keep_files_apart(sets: tuple[Path, Path, Path]) -> None:
    expected = run(*sets, metrics=ALL, embedder=Tagger(embeddings_per_window=2), batch_size=1)
    found = run(*sets, metrics=ALL, embedder=Tagger(embeddings_per_window=2), batch_size=13)
    assert values(found) == pytest.approx(values(expected), rel=1e-4)
    assert found.facts["generated"]["num_windows"] == 2 * run(*sets).facts["generated"]["num_windows"]


def test_cached_embeddings_stand_for_the_audio(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cache = {"cache_dir": str(tmp_path / "cache")}
    expected, embedder = run(*sets), Tagger()
    assert values(run(*sets, embedder=embedder, **cache)) == values(expected)
    assert embedder.num_embedded == sum(len(each) for folder in sets for each in embeddings_of(folder).values())
    kept = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(kept) == 24
    (sets[1] / "0.wav").rename(sets[1] / "renamed.wav")  # the content is the same
    again = Tagger()
    run(*sets, embedder=again, **cache)
    assert again.num_embedded == 0
    for other in (Tagger(seed=1), again):
        run(*sets, embedder=other, max_duration_s=0.3, **cache)
        assert other.num_embedded > 0, "another embedder, or another part of the audio"
    kept[0].write_bytes(b"damaged")
    repaired = Tagger()
    # other windows share a batch now
    assert values(run(*sets, embedder=repaired, **cache)) == pytest.approx(values(expected), rel=1e-5)
    assert 0 < repaired.num_embedded < 20
    run(*sets, cache_gb=1e-6, **cache)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.safetensors")) <= 1000


def test_the_cache_lets_the_longest_unused_go_first(tmp_path: Path) -> None:
    import os

    from latentune.pipelines.measure.sets.cache import Embedded

    cache = EmbeddingCache(tmp_path)
    keys = [cache.key(str(number), {}, None) for number in range(3)]
    for number, key in enumerate(keys):
        cache.put(key, Embedded(embeddings=np.full((2, 3), number, np.float32), silent=True))
        os.utime(tmp_path / key[:2] / f"{key}.safetensors", (number, number))
    found = cache.get(keys[0])  # used now
    assert found is not None
    assert found.silent
    assert not found.repeated
    assert found.embeddings.tolist() == [[0.0] * 3] * 2
    size = (tmp_path / keys[0][:2] / f"{keys[0]}.safetensors").stat().st_size
    assert cache.prune(2 * size) == 1
    assert [cache.get(key) is None for key in keys] == [False, True, False]
    assert cache.prune(2 * size) == 0


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


def test_reports_are_written(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    names = {kind: str(tmp_path / "out" / f"r.{kind}") for kind in ("csv", "html")}
    metrics = ("fad", "fad-inf", "prdc")
    result = run(*sets, metrics=metrics, output=str(tmp_path / "out" / "r.json"), num_players=1, **names)
    facts = json.loads((tmp_path / "out" / "r.json").read_text())
    assert facts == result.to_dict()
    assert facts["schema"] == "latentune-evaluation-2"
    assert {"metric", "value", "embedder", "weights", "reference", "generated", "warnings"} <= facts.keys()
    with open(names["csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["near", "far"]
    assert float(rows[1]["fad_tagger"]) == values(result, 1)["fad_tagger"]
    assert rows[0]["fad_tagger_delta"] == ""
    assert float(rows[1]["fad_tagger_delta"]) > 0
    page = Path(names["html"]).read_text()
    assert page.count("<audio") == 3, "one player a set"
    assert not re.search(r'(src|href)="(?!data:)', page), "the page needs nothing beside it"
    assert "distance by sample size" in page
    grid = evaluation_grid(result)
    assert list(grid.columns) == ["system", "near", "far"], "a row per figure, since there are many"
    assert grid.rows[2][0] == "fad_tagger ↓"
    assert "p = " in grid.rows[2][2]
    assert terminal_table(grid).row_count == 2 + len(result.figures)
    assert ">near</th>" in page, "also on the page"
    assert "near: precision_tagger, recall_tagger, density_tagger, coverage_tagger: num_neighbours 5" in page


def test_kernel_distances_tell_their_kernel(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    result = run(*sets, metrics=("kad", "kid"), num_players=0, html=f"{tmp_path}/r.html", output=f"{tmp_path}/r.json")
    width = median_distance(np.concatenate(list(embeddings_of(sets[0]).values())))
    for system in range(2):
        details = figures(result, system)["kad_tagger"].details
        assert details["bandwidth"] == pytest.approx(width, rel=1e-4)
        assert details["bandwidth_rule"] == "median distance of the reference's embeddings"
        assert figures(result, system)["kid_tagger"].details == {"kernel": "(x . y / D + 1)^3"}
    line = f"near: kad_tagger: kernel exp(-|x - y|^2 / (2 bandwidth^2)), bandwidth {width:.4g}, bandwidth_rule median"
    assert any(each.startswith(line) for each in detail_lines(result))
    assert f"bandwidth {width:.4g}" in (tmp_path / "r.html").read_text()
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["systems"][1]["figures"][0]["details"]["kernel"] == "exp(-|x - y|^2 / (2 bandwidth^2))"


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spectrograms take most of the time of a page."""
    monkeypatch.setattr("latentune.pipelines.measure.results.page.spectrogram_png", lambda *given: None)
    monkeypatch.setattr("latentune.pipelines.measure.results.page.intervals_svg", lambda *given: "")


def players(page: Path) -> list[list[str]]:
    """Captions of the rows of players, with their notes, and of what is in each."""
    text = page.read_text().split("<h2>Listen</h2>")[1].split("<h2>")[0]
    found = re.findall(r'<figcaption>(.*?)</figcaption>|<p class="note">(.*?)</p>|(<div class="row">)', text)
    rows: list[list[str]] = []
    for place, (caption, note, _) in enumerate(found):
        if caption and (place + 1 < len(found) and (found[place + 1][1] or found[place + 1][2])):
            rows.append([caption])
        elif caption or note:
            rows[-1].append(caption or note)
    return rows


@pytest.mark.usefixtures("no_pictures")
def test_players_stand_beside_those_of_their_name(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (sets[1] / "0.wav").rename(sets[1] / "9.wav")  # by their order it would stand beside others
    soundfile.write(sets[2] / "3.flac", *soundfile.read(sets[2] / "3.wav"))
    (sets[2] / "3.wav").unlink()
    page = tmp_path / "r.html"
    run(*sets, html=str(page), num_players=20)
    rows = players(page)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6", "7", "0"], "what most sets have comes first"
    assert rows[0] == ["1", "reference: 1.wav", "near: 1.wav", "far: 1.wav"]
    assert rows[2] == ["3", "reference: 3.wav", "near: 3.wav", "far: 3.flac"]
    assert rows[-1] == ["0", "reference: 0.wav", "far: 0.wav"]
    run(*sets, html=str(page), num_players=2)
    assert [row[0] for row in players(page)] == ["1", "4"]


@pytest.mark.usefixtures("no_pictures")
def test_players_of_other_names_are_said_to_be_no_pairs(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    page, note = tmp_path / "r.html", "not pairs: files by their order alone, since their names do not match"
    other, third = (write(tmp_path / name, 3, seed=5, prefix=name) for name in ("x", "y"))
    run(sets[0], other, html=str(page), num_players=2)
    assert players(page) == [
        ["File 1", note, "reference: 0.wav", "x: x0.wav"],
        ["File 2", note, "reference: 4.wav", "x: x1.wav"],
    ]
    run(third, sets[0], sets[1], html=str(page), num_players=1)
    assert players(page) == [["0", "real: 0.wav", "near: 0.wav"], ["File 1", note, "reference: y0.wav"]]
    (other / "x0.wav").write_bytes(b"no audio")
    statistics = tmp_path / "real.safetensors"
    run(sets[0], sets[1], save_statistics=str(statistics))
    run(statistics, other, html=str(page), num_players=2)
    assert players(page) == [["File 2", "x: x1.wav"]], "nothing to pair with, and a file that cannot be read"


def test_a_shard_dataset_is_decoded_by_its_tokenizer(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    from latentune.pipelines.decode import DecodeConfig, decode_dataset
    from latentune.pipelines.encode import EncodeConfig, encode_dataset

    small = write(tmp_path / "small", 1)
    encode_dataset(
        EncodeConfig(source=str(small), output=str(tmp_path / "data"), tokenizer="codicodec-mini", device="cpu")
    )
    decode_dataset(DecodeConfig(dataset=str(tmp_path / "data"), output=str(tmp_path / "decoded"), subtype="FLOAT"))
    expected = run(sets[0], tmp_path / "decoded")
    found = run(sets[0], tmp_path / "data", cache_dir=str(tmp_path / "cache"))
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    embedder = Tagger()
    assert run(sets[0], tmp_path / "data", cache_dir=str(tmp_path / "cache"), embedder=embedder).value == found.value
    assert embedder.num_embedded == 0


def test_prompts_come_from_the_manifest_or_beside_the_samples(sets: tuple[Path, Path, Path]) -> None:
    from latentune.pipelines.measure.sets.sources import open_source
    from latentune.pipelines.measure.sets.texts import find_texts

    rows = [{"path": f"{number}.wav", "text": f"sound {number}"} for number in range(3)]
    (sets[1] / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert find_texts(open_source(str(sets[1] / "list.jsonl")).items, "text")[2] == "sound 2"
    (sets[1] / "0.json").write_text(json.dumps({"prompt": "a bell"}))
    (sets[1] / "1.json").write_text("no json")
    (sets[1] / "2.json").write_text(json.dumps(["a list"]))
    (sets[1] / "3.json").write_text(json.dumps({"prompt": "  "}))
    assert find_texts(open_source(str(sets[1])).items, "text") == {0: "a bell"}


def test_the_clap_score_pairs_prompts_and_files(sets: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.evaluate as library

    class Clap(Tagger):
        name = "clap"

    monkeypatch.setattr(library, "load_text_encoder", lambda *given: Texts())
    for number in range(3):
        (sets[1] / f"{number}.json").write_text(json.dumps({"prompt": str(number)}))
    embedder = Clap()
    result = run(*sets, embedder=embedder, metrics=("clap-score",))
    files = list(embeddings_of(sets[1]).values())
    expected = [(file[:, n] / np.linalg.norm(file, axis=1)).mean() for n, file in enumerate(files[:3])]
    figure = figures(result)["clap_score_clap"]
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-5)
    assert figure.details["without_prompt"] == 5
    assert figure.details["num_negatives"] == 3
    assert "needs prompts" in figures(result, 1)["clap_score_clap"].note


def test_rows_that_name_one_file_with_several_prompts_all_count(
    sets: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentune.pipelines.evaluate as library

    monkeypatch.setattr(library, "load_text_encoder", lambda *given: Texts())
    embedder = Tagger()
    embedder.name = "clap"  # for the CLAP score
    rows = [(0, "0"), (1, "1"), (0, "2"), (2, "3"), (0, "1")]
    manifest = sets[1] / "list.jsonl"
    manifest.write_text("".join(json.dumps({"path": f"{file}.wav", "text": text}) + "\n" for file, text in rows))
    metrics = ("clap-score", "fad-per-file", "kl", "audio-similarity")
    result = run(sets[0], manifest, sets[1], embedder=embedder, metrics=metrics)
    assert result.systems["list.jsonl"]["summary"]["num_files"] == 5
    files = [embeddings_of(folder) for folder in sets[:2]]
    made = [files[1][f"{file}.wav"] for file, _ in rows]
    expected = {
        "clap_score_clap": [
            (file[:, int(text)] / np.linalg.norm(file, axis=1)).mean()
            for file, (_, text) in zip(made, rows, strict=True)
        ],
        "fad_per_file_clap": [each.value for each in frechet_per_file(np.concatenate(list(files[0].values())), made)],
        "kl_clap": list(
            paired_kl(
                *(
                    [Tagger().posteriors_of(torch.from_numpy(side[f"{file}.wav"])).numpy() for file, _ in rows]
                    for side in files
                ),
                multilabel=True,
            ).per_file.values()
        ),
    }
    for name, each in expected.items():
        assert figures(result)[name].value == pytest.approx(np.mean(each), rel=1e-4), name
        assert figures(result)[name].low is not None, "five rows"
    assert figures(result)["clap_score_clap"].details["without_prompt"] == 0
    assert values(result, 1)["clap_score_clap"] is None, "it has no prompts"
    assert not any(delta.paired for delta in deltas(result).values()), "the rows are not of the same files, one by one"
    assert not any(line.startswith("kl: ") and "of list" in line for line in result.warnings), "none is left out"


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
        {f"{n}.wav": Tagger().posteriors_of(torch.from_numpy(files[f"{n}.wav"])).numpy() for n in (0, 2, 3, 4, 5, 6)}
        for files in map(embeddings_of, sets[:2])
    ]
    assert result.value == pytest.approx(paired_kl(*tags, multilabel=True).value, rel=1e-4), "all others"


def test_square_brackets_in_a_systems_name_are_no_markup(sets: tuple[Path, Path, Path]) -> None:
    from rich.console import Console

    for metrics in (("fad",), ("fad", "prdc")):  # a row a system, a column a system
        console = Console(width=200)
        with console.capture() as capture:
            console.print(terminal_table(evaluation_grid(run(*sets, names=("run[v2]", "[/b]"), metrics=metrics))))
        assert "run[v2]" in capture.get()
        assert "[/b]" in capture.get()


def test_bad_settings_are_refused(sets: tuple[Path, Path, Path]) -> None:
    for settings, message in (
        ({"metrics": ("fda",)}, "no metric 'fda'.*fad"),
        ({"metrics": ()}, "metrics is empty"),
        ({"names": ("one",)}, "1 names for 2 systems"),
        ({"names": ("one", "one")}, "two systems are called 'one'"),
        ({"bootstrap": 5}, "at least 20"),
        ({"confidence": 1.0}, "confidence"),
        ({"num_threads": -1}, "num_threads"),
        ({"metrics": ("clap-score",)}, "clap_checkpoint"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(*sets, **settings)
    config = EvaluateConfig(reference="r", generated="a/x", systems=("b/x", "b/y"))
    assert config.system_names() == ("a/x", "b/x", "b/y")
    with pytest.raises(ConfigError, match="two systems are called"):
        EvaluateConfig(reference="r", generated="a", systems=("a",))
    (sets[0] / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        run(*sets, html=str(sets[0] / "file" / "x.html"))


def test_the_table_of_metrics_is_complete() -> None:
    assert set(ALL) | {"clap-score"} == set(METRICS)
    assert all(metric.title and metric.columns for metric in METRICS.values())


def test_the_command_takes_systems_options_and_keys(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from latentune.pipelines.commands.main import app

    def call(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})

    found = call(*sets, "-m", "fad,kl", "--csv", tmp_path / "r.csv", "max_files=2", "device=cpu")
    assert found.exit_code == 0, found.output
    assert "fad_musicnn ↓" in found.stdout
    assert "kl_musicnn ↓" in found.stdout
    assert "far 2 files" in found.stdout
    assert (tmp_path / "r.csv").is_file()
    for arguments, message in (
        ((sets[0],), "generated"),
        (("--tokenizer", "codicodec-mini"), "--tokenizer NAME and --audio PATH go together"),
        ((*sets, "-m", "fid"), "no metric 'fid'"),
        ((*sets, "--engine", "spark"), "engine"),
    ):
        wrong = call(*arguments)
        assert wrong.exit_code == 1
        assert message in wrong.stderr


def test_a_tokenizer_is_measured_by_its_reconstructions(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from latentune.pipelines.commands.main import app

    audio, folder = write(tmp_path / "audio", 1), tmp_path / "out"
    arguments = ["--tokenizer", "codicodec-mini", "--audio", str(audio), "-o", str(folder), "--device", "cpu"]
    found = CliRunner().invoke(app, ["evaluate", *arguments])
    assert found.exit_code == 0, found.output
    for shown in ("mel_distance", "loudness_error_lu", "decode_rtf", "fad_musicnn", "tokens per"):
        assert shown in found.stdout
    assert "files: 1 measured, 0 left out" in found.stdout
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".json", ".html", ".png"}
    facts = json.loads((folder / "reconstruction.json").read_text())
    assert facts["codec"]["tokens_per_second"] == pytest.approx(125)
    assert facts["codec"]["tokens"]["entropy_bitrate_bps"] > 0
    assert [row["num_files"] for row in facts["by_length"] if row["system"] == "tokens"].count(0) == 6


@pytest.mark.parametrize(("figure", "package", "most"), [("pesq_wb", "pesq", 4.65), ("estoi", "pystoi", 1.0)])
def test_a_tokenizer_is_measured_by_the_figures_of_a_listener(
    tmp_path: Path, figure: str, package: str, most: float
) -> None:
    pytest.importorskip(package)
    from typer.testing import CliRunner

    from latentune.pipelines.commands.main import app

    audio, folder = write(tmp_path / "audio", 1), tmp_path / "out"
    arguments = ["--tokenizer", "codicodec-mini", "--audio", str(audio), "-o", str(folder), "--device", "cpu"]
    found = CliRunner().invoke(app, ["evaluate", *arguments, "--figure", figure, "embedder=none", "num_players=0"])
    assert found.exit_code == 0, found.output
    facts = json.loads((folder / "reconstruction.json").read_text())
    assert figure not in facts["absent_figures"]
    for row in facts["summary"]:
        assert row[figure]["num_values"] == 1
        assert -1.0 <= row[figure]["mean"] <= most


@pytest.mark.parametrize(
    "option", [("--html", "a"), ("--csv", "a"), ("-m", "kad"), ("--name", "a"), ("--engine", "ray")]
)
def test_what_a_tokenizer_is_not_measured_with_is_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    from typer.testing import CliRunner

    from latentune.pipelines.commands.main import app

    arguments = ["evaluate", "--tokenizer", "codicodec-mini", "--audio", str(tmp_path), *option]
    found = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert found.exit_code == 1
    assert "cannot be given then" in found.stderr
