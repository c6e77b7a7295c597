import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from plain_bootstrap import plain_bootstrap
from rich.console import Console

from latentune.core.errors import ConfigError
from latentune.pipelines.measure.results import (
    FigureFacts,
    Grid,
    Resampling,
    ResultsTable,
    SetFigure,
    comparison,
    csv_text,
    detail_lines,
    note_lines,
    records,
    summary_records,
    table_dict,
    terminal_text,
    terminal_view,
)


def numbers(num: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=num) + shift


def filled(num: int = 8, **options: object) -> ResultsTable:
    """Two systems on the same files with a figure each file has."""
    table = ResultsTable(figures={"mel": FigureFacts(better="lower", unit="x")}, **options)  # type: ignore[arg-type]
    for system, seed in (("near", 0), ("far", 1)):
        for place, value in enumerate(numbers(num, seed, shift=3.0 * seed)):
            table.add(system, f"{place:02d}.wav", "mel", float(value))
    return table


def test_a_mean_has_the_bootstrap_interval_of_its_files() -> None:
    table = filled(resampling=Resampling(num_resamples=300, confidence=0.9, seed=3))
    found = table.estimate("near", "mel")
    options: dict[str, Any] = {"num_resamples": 300, "confidence": 0.9, "seed": 3}
    assert found.value == pytest.approx(numbers(8, 0).mean())
    assert (found.low, found.high) == pytest.approx(plain_bootstrap(numbers(8, 0), **options))
    assert (found.num_values, found.num_missing, found.note) == (8, 0, "")
    centred = filled(resampling=Resampling(num_resamples=300, confidence=0.9, seed=3, centre=True))
    other = centred.estimate("near", "mel")
    assert (other.low, other.high) == pytest.approx(plain_bootstrap(numbers(8, 0), centre=True, **options))


def test_a_part_of_the_files_is_estimated_on_its_own() -> None:
    table = filled()
    part = table.estimate("near", "mel", files={"00.wav", "01.wav"})
    assert part.value == pytest.approx(numbers(8, 0)[:2].mean())
    assert part.num_values == 2
    assert table.estimate("near", "mel", files=set()).value is None
    assert table.estimate("near", "mel").num_values == 8, "the whole is not changed by it"


def test_the_weights_of_rows_make_a_share_that_of_the_corpus() -> None:
    table = ResultsTable(figures={"wer": FigureFacts(better="lower")})
    for name, value, weight in (("a", 1.0, 1), ("b", 0.0, 9), ("c", None, 5)):
        table.add("s", name, "wer", value, weight=weight, note="" if value is not None else "no words")
    found = table.estimate("s", "wer")
    assert found.value == pytest.approx(0.1)
    assert found.low is not None
    assert found.low <= found.value <= found.high  # type: ignore[operator]
    assert (found.num_values, found.num_missing) == (2, 1)
    assert table.undefined == [{"system": "s", "file": "c", "figure": "wer", "reason": "no words"}]


def test_differences_are_paired_by_name_whatever_the_order_of_rows() -> None:
    table = filled(resampling=Resampling(num_resamples=200))
    turned = ResultsTable(figures=table.figures, rows=[*table.rows[:8], *table.rows[:7:-1]], systems=table.systems)
    turned.resampling = table.resampling
    found = table.difference("near", "far", "mel")
    assert found is not None
    changes = numbers(8, 1, shift=3.0) - numbers(8, 0)
    assert found.value == pytest.approx(changes.mean())
    assert (found.low, found.high) == pytest.approx(plain_bootstrap(changes, num_resamples=200))
    assert found.p_value == pytest.approx(2 / 201), "every resample is on one side"
    assert found.paired
    other = turned.difference("near", "far", "mel")
    assert other is not None
    assert (other.low, other.p_value) == (pytest.approx(found.low), found.p_value)


def test_systems_of_other_files_are_compared_unpaired_or_on_common_files() -> None:
    table = filled()
    table.add("far", "more.wav", "mel", 2.0)
    found = table.difference("near", "far", "mel")
    assert found is not None
    assert not found.paired
    assert found.low is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    common = table.difference("near", "far", "mel", common=True)
    assert common is not None
    assert (common.paired, common.num_files) == (True, 8)
    assert common == filled().difference("near", "far", "mel")
    table.add("none", "00.wav", "mel", None, note="silence")
    assert table.difference("near", "none", "mel") is None


@pytest.mark.parametrize(("num", "interval", "p"), [(1, False, False), (4, True, False), (5, True, True)])
def test_few_files_have_neither_interval_nor_p_value(num: int, interval: bool, p: bool) -> None:
    table = filled(num)
    assert (table.estimate("near", "mel").low is not None) == interval
    found = table.difference("near", "far", "mel")
    assert found is not None
    assert ((found.low is not None), (found.p_value is not None)) == (interval, p)
    if not interval:
        assert "no interval: 1 files, at least 2 are needed" in note_lines(table)[0]
    assert filled(4, resampling=Resampling(min_files=5)).estimate("near", "mel").low is None


def test_a_figure_of_a_set_is_centred_within_its_bounds_and_measured_once_a_choice() -> None:
    calls = 0
    values = np.square(numbers(8, 0))

    def of_files(places: list[int]) -> float:
        nonlocal calls
        calls += 1
        return float(values[places].mean())

    table = ResultsTable(
        figures={"fad": FigureFacts(better="lower", bounds=(0.0, np.inf))},
        resampling=Resampling(num_set_resamples=50, confidence=0.9),
    )
    names = [f"{place}.wav" for place in range(8)]
    for system in ("a", "b"):
        table.add_set(system, "fad", SetFigure(value=values.mean(), of_files=of_files, names=names))
    found = table.estimate("a", "fad")
    expected = plain_bootstrap(values, num_resamples=50, confidence=0.9, centre=True, bounds=(0.0, np.inf))
    assert (found.low, found.high) == pytest.approx(expected)
    assert calls <= 50
    equal = table.difference("a", "b", "fad")
    assert equal is not None
    assert (equal.value, equal.low, equal.high, equal.p_value) == (0, pytest.approx(0), pytest.approx(0), 1)
    before = calls
    table.settle()
    assert table.estimate("a", "fad") == found
    assert table.difference("a", "b", "fad") is equal
    assert calls == before, "everything was known"
    assert table.estimate("a", "fad", files={"0.wav"}).value is None


def test_a_choice_of_files_without_a_value_leaves_the_interval_out_and_says_why() -> None:
    def of_files(places: list[int]) -> float:
        raise ValueError("fewer than 2 windows")

    table = ResultsTable(figures={"fad": FigureFacts()})
    for system in ("a", "b"):
        table.add_set(system, "fad", SetFigure(value=1.0, of_files=of_files, names=list("abcdef")))
    table.add_set("c", "fad", SetFigure(value=None, note="statistics are not enough"))
    assert table.estimate("a", "fad").note == "no interval: fewer than 2 windows"
    found = table.difference("a", "b", "fad")
    assert found is not None
    assert (found.value, found.low, found.note) == (0.0, None, "no interval: fewer than 2 windows")
    assert table.difference("a", "c", "fad") is None
    assert note_lines(table) == [
        "fad, difference: no interval: fewer than 2 windows",
        "fad: no interval: fewer than 2 windows",
        "fad: statistics are not enough",
    ]


def nested(values: list[list[float | None]]) -> ResultsTable:
    table = ResultsTable(figures={"stoi": FigureFacts()}, nested=True, resampling=Resampling(min_files=1))
    for file, draws in enumerate(values):
        for value in draws:
            table.add("s", str(file), "stoi", value)
    return table


def test_repeated_draws_are_averaged_and_drawn_within_their_file() -> None:
    values = [[1.0, 2.0, 3.0], [5.0, None, 6.0], [None, None, None]]
    found = nested(values).estimate("s", "stoi")  # type: ignore[arg-type]
    assert found.value == pytest.approx((2.0 + 5.5) / 2), "each file counts once"
    assert (found.num_values, found.num_missing) == (5, 4)
    rng = np.random.default_rng(0)
    table = np.array([[1.0, 2.0, 3.0], [5.0, np.nan, 6.0]])
    files, draws = rng.integers(2, size=(1000, 2)), rng.integers(3, size=(1000, 2, 3))
    drawn = table[files[..., None], draws]
    count = np.isfinite(drawn).sum(-1)
    means = np.where(count > 0, np.nansum(drawn, -1) / np.maximum(count, 1), np.nanmean(table, 1)[files]).mean(-1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    alone = nested([[1.0, 2.0, 3.0]]).estimate("s", "stoi")
    assert alone.value == 2.0
    assert alone.low is not None
    assert 1.0 <= alone.low < 2.0 < alone.high <= 3.0  # type: ignore[operator]
    assert nested([[None, None]]).estimate("s", "stoi").value is None
    with pytest.raises(ValueError, match="figure of its own"):
        nested(values).difference("s", "s", "stoi")  # type: ignore[arg-type]


def test_wide_rows_hold_repeats_texts_and_gaps() -> None:
    table = ResultsTable(figures={"mel": FigureFacts()})
    table.add("s", "a", "seconds", 1.5)
    table.add("s", "a", "mel", 0.123456789)
    table.add("s", "a", "transcript", "a bell")
    table.add("s", "a", "mel", None)
    assert records(table) == [
        {"system": "s", "file": "a", "seconds": 1.5, "mel": 0.123456789, "transcript": "a bell"},
        {"system": "s", "file": "a", "mel": None},
    ]
    columns = ("system", "file", "seconds", "mel")
    rows = list(csv.DictReader(io.StringIO(csv_text(columns, records(table)))))
    assert [row["mel"] for row in rows] == ["0.123457", ""]
    assert csv_text(("mel",), records(table), digits=None).splitlines()[1] == "0.123456789"
    assert table.estimate("s", "transcript").value is None, "a text has no mean"


def test_the_json_has_every_figure_and_difference_and_no_nan() -> None:
    table = filled(schema="x-1", facts={"settings": {"a": math.inf}}, warnings=["few"])
    table.systems["near"]["source"] = "here"
    facts = table_dict(table)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["schema"], facts["settings"], facts["warnings"]) == ("x-1", {"a": None}, ["few"])
    near, far = facts["systems"]
    assert (near["name"], near["source"], near["deltas"]) == ("near", "here", [])
    assert near["figures"][0].keys() == {
        *("name", "value", "low", "high", "num_values", "num_missing"),
        *("better", "unit", "details", "note"),
    }
    assert far["deltas"][0].keys() == {"name", "value", "low", "high", "p_value", "paired", "note"}
    assert (table.metric, table.value) == ("mel", near["figures"][0]["value"])
    first, other = summary_records(table, differences=True)
    assert first["mel_delta"] is None
    assert other["mel_delta"] == pytest.approx(other["mel"] - first["mel"])
    ends = ("", "_low", "_high", "_delta", "_delta_low", "_delta_high", "_p")
    assert list(other) == ["system", *(f"mel{end}" for end in ends)]


def test_the_comparison_is_turned_where_it_is_wide() -> None:
    table = filled()
    grid = comparison(table, differences=True)
    assert grid.columns == ["system", "mel ↓"]
    assert "p = " in grid.rows[1][1]
    assert "p = " not in grid.rows[0][1]
    turned = comparison(table, transpose=True, leading={"name": ["x", "y"]})
    assert (list(turned.columns), turned.rows[0][0]) == (["name", "x", "y"], "mel ↓")
    table.add_details("near", "mel", {"std": 0.5, "all": [1, 2]})
    assert detail_lines(table) == ["near: mel: std 0.5"]
    with pytest.raises(ValueError, match="2 values for 1 columns"):
        Grid(columns=["a"], rows=[[1, 2]])


def test_square_brackets_on_the_terminal_are_not_markup() -> None:
    grid = Grid(caption="of [i]x", columns=("file", "[b]y"), rows=[["run[v2]", "[/b]"], [None, 1.23456]])
    console = Console(width=100)
    with console.capture() as capture:
        console.print(terminal_view([grid], ["[red]w"], ["[u]n"]))
    for text in ("of [i]x", "[b]y", "run[v2]", "[/b]", "warning: [red]w", "[u]n", "1.23", "-"):
        assert text in capture.get()
    assert "run[v2]" in terminal_text(terminal_view([grid]))


def test_columns_that_do_not_fit_go_into_a_further_table_and_no_text_is_broken() -> None:
    names = [f"system_number_{number}" for number in range(7)]
    grid = Grid(caption="means", columns=["figure", *names], rows=[["mel_distance", *map(float, range(7))]])
    for width, lines in ((300, 1), (80, 3), (40, 7), (10, 7)):
        console = Console(width=width)
        with console.capture() as capture:
            console.print(terminal_view([grid]))
        shown = capture.get()
        if width > 10:
            assert all(shown.split().count(name) == 1 for name in names), "each once, and whole"
            assert shown.count("mel_distance") == lines
        assert shown.count("means") == 1


def test_a_grid_of_one_column_is_shown() -> None:
    assert terminal_text(terminal_view([Grid(caption="files", columns=["file"], rows=[["a.wav"]])])).count("a.wav") == 1


def test_bad_resampling_is_refused() -> None:
    for options in ({"num_resamples": 5}, {"num_set_resamples": -1}):
        with pytest.raises(ConfigError, match="0 or at least 20"):
            Resampling(**options)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Resampling(confidence=95)
    assert filled(resampling=Resampling(num_resamples=0)).estimate("near", "mel").low is None


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "\tx"])
def test_a_text_like_a_formula_gets_an_apostrophe_in_csv(text: str) -> None:
    rows = [{"file": text, "value": -0.5}, {"file": "a.wav", "value": None}]
    read = list(csv.reader(io.StringIO(csv_text(["file", "value"], rows))))
    assert read == [["file", "value"], [f"'{text}", "-0.5"], ["a.wav", ""]]
