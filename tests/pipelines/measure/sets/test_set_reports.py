import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from compared_sets import embeddings_of, figures, run, values, write

from latentune.core.errors import MissingPackageError
from latentune.pipelines.measure.metrics import (
    median_distance,
)
from latentune.pipelines.measure.results import (
    TerminalTable,
    detail_lines,
    terminal_text,
)
from latentune.pipelines.measure.sets.views import evaluation_grid


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
    assert not re.search(r'(src|href)="(?!data:)', page), "the page needs no other file"
    assert "distance by sample size" in page
    grid = evaluation_grid(result)
    assert list(grid.columns) == ["system", "near", "far"], "a row per figure, since there are many"
    assert grid.rows[2][0] == "fad_tagger ↓"
    assert "p = " in grid.rows[2][2]
    shown = terminal_text(TerminalTable(grid)).splitlines()
    begun = [line.split()[0] for line in shown if line.startswith("  ") and line.strip()]
    assert {str(row[0]).split()[0] for row in grid.rows} <= set(begun)
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
    monkeypatch.setattr(
        "latentune.pipelines.measure.results.page.shared_spectrograms", lambda cells: [b""] * len(cells)
    )
    monkeypatch.setattr("latentune.pipelines.measure.results.page.intervals_svg", lambda *given: "")


def players(page: Path) -> list[list[str]]:
    """Captions of the rows of players, with their notes, and of what is in each."""
    text = page.read_text().split(">Listen</h2>")[1].split("<h2")[0]
    found = re.findall(r'<figcaption>(.*?)</figcaption>|<p class="note">(.*?)</p>|(<div class="row[^"]*">)', text)
    rows: list[list[str]] = []
    for place, (caption, note, _) in enumerate(found):
        if caption and (place + 1 < len(found) and (found[place + 1][1] or found[place + 1][2])):
            rows.append([caption])
        elif caption or note:
            rows[-1].append(caption or note)
    return rows


@pytest.mark.usefixtures("no_pictures")
def test_players_stand_beside_those_of_their_name(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (sets[1] / "0.wav").rename(sets[1] / "9.wav")  # by their order it would be next to others
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


def test_square_brackets_in_a_systems_name_are_no_markup(sets: tuple[Path, Path, Path]) -> None:
    from rich.console import Console

    for metrics in (("fad",), ("fad", "prdc")):  # a row a system, a column a system
        console = Console(width=200)
        with console.capture() as capture:
            console.print(TerminalTable(evaluation_grid(run(*sets, names=("run[v2]", "[/b]"), metrics=metrics))))
        assert "run[v2]" in capture.get()
        assert "[/b]" in capture.get()


def test_a_page_without_its_packages_is_refused_before_anything_is_measured(
    sets: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"an HTML page needs matplotlib: .*pip install 'matplotlib>="):
        run(*sets, html=f"{tmp_path}/r.html", output=f"{tmp_path}/r.json")
    assert not (tmp_path / "r.json").exists()
