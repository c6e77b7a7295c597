"""Figures of a codec by the values of a column of the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from codec_runs import config

from latentune.core.errors import ConfigError
from latentune.pipelines.measure.codecs.groups import NO_VALUE, by_value
from latentune.pipelines.measure.codecs.run import run_experiment
from latentune.pipelines.measure.results import FigureFacts, ResultsTable


@pytest.fixture
def manifest(folder: Path) -> Path:
    path = folder / "list.jsonl"
    rows = [{"path": "a.wav", "language": "de"}, {"path": "b.wav", "language": "fr"}, {"path": "c.wav"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_means_by_value_are_those_of_the_files_that_share_it() -> None:
    table = ResultsTable(figures={"mel": FigureFacts()})
    for name, value in (("a", 1.0), ("b", 3.0), ("c", 8.0)):
        table.add("latents", name, "mel", value)
    groups = by_value(table, {"a": "de", "b": "de", "c": "fr", "unread": "it"})
    assert [(row["value"], row["num_files"], row["mel"]["mean"]) for row in groups] == [
        ("de", 2, 2.0),
        ("fr", 1, 8.0),
        ("it", 0, None),
    ]


def test_reconstruction_shows_a_column_of_the_manifest(manifest: Path, tmp_path: Path, tiny_codec: Any) -> None:
    settings = config(
        manifest, tmp_path, figures=("mel_distance",), options={"steps": 1}, streams=("latents",), group_by="language"
    )
    result = run_experiment("reconstruction", settings, tiny_codec)
    groups = {row["value"]: row for row in json.loads((tmp_path / "reconstruction.json").read_text())["by_value"]}
    assert groups.keys() == {"de", "fr", NO_VALUE}
    values = {row["file"]: row["mel_distance"] for row in result.rows}
    assert groups["fr"]["mel_distance"]["mean"] == pytest.approx(values["b.wav"])
    grid = next(grid for grid in result.grids if grid.caption == "means by language")
    assert [row[0] for row in grid.rows] == [NO_VALUE, "de", "fr"]


def test_a_column_that_no_file_has_is_refused(folder: Path, manifest: Path, tiny_codec: Any) -> None:
    with pytest.raises(ConfigError, match=r"no file has a column 'langage': did you mean 'language'"):
        run_experiment("reconstruction", config(manifest, group_by="langage"), tiny_codec)
    with pytest.raises(ConfigError, match="no file has a column 'language': the source is not a manifest"):
        run_experiment("reconstruction", config(folder / "a.wav", group_by="language"), tiny_codec)
