import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from codec_runs import config
from rich.console import Console
from torch import Tensor

from latentune.pipelines.data.audio.item import AudioItem
from latentune.pipelines.measure.codecs.config import ExperimentConfig
from latentune.pipelines.measure.codecs.figures.catalog import ALL_FIGURES
from latentune.pipelines.measure.codecs.metrics import Case
from latentune.pipelines.measure.codecs.players import Players
from latentune.pipelines.measure.codecs.references import ALL_REFERENCES
from latentune.pipelines.measure.codecs.run import run_experiment
from latentune.pipelines.measure.codecs.systems import Reconstruction
from latentune.pipelines.measure.results import Grid, ResultsTable
from latentune.pipelines.measure.results.findings import Findings


def test_reconstruction_writes_all_that_was_measured(folder: Path, tmp_path: Path, tiny_taae) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, tmp_path, figures=("mel_distance", "decode_rtf"), length_edges_s=(0.1,))
    result = run_experiment("reconstruction", settings, tiny_taae)
    facts = json.loads((tmp_path / "reconstruction.json").read_text())
    assert [(row["system"], row["from_s"], row["num_files"]) for row in facts["by_length"]] == [
        ("latents", 0.0, 1),
        ("latents", 0.1, 2),
        ("tokens", 0.0, 1),
        ("tokens", 0.1, 2),
    ]
    assert facts["codec"]["tokens"]["codebooks"]
    assert len((tmp_path / "reconstruction.csv").read_text().splitlines()) == 1 + 6
    assert (tmp_path / "reconstruction.png").exists()
    assert result.view() is not None


def test_the_page_lets_one_hear_every_system(folder: Path, tmp_path: Path, tiny_taae) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, tmp_path, figures=("mel_distance",), num_players=2, player_s=0.1)
    result = run_experiment("reconstruction", settings, tiny_taae)
    assert [row.caption for row in result.players] == ["a.wav", "b.wav"]
    cells = result.players[0].cells
    assert [cell.label for cell in cells] == ["original", "latents", "tokens"]
    assert [tuple(cell.audio.shape) for cell in cells] == [(1, 1600)] * 3
    original, latents, tokens = (cell.audio for cell in cells)
    assert torch.isclose(original.std(), torch.tensor(0.1 / 2**0.5 / 3**0.5), rtol=0.2), "mono at 16 kHz"
    assert not torch.equal(latents, tokens)
    page = (tmp_path / "reconstruction.html").read_text()
    assert page.count("<audio ") == 6
    assert page.count("data:image/png") == 7, "a spectrogram a player, and the plot"
    assert "mel_distance" in page
    assert run_experiment("reconstruction", config(folder, figures=("mel_distance",)), tiny_taae).players == []


def test_a_file_that_a_manifest_names_again_is_measured_once(
    folder: Path,
    tmp_path: Path,
    tiny_taae,  # type: ignore[no-untyped-def]
    caplog: pytest.LogCaptureFixture,
) -> None:
    manifest = tmp_path / "list.jsonl"
    rows = [{"path": str(folder / f"{name}.wav"), "text": text} for name, text in (("a", "x"), ("b", "y"), ("a", "z"))]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = config(manifest, tmp_path, figures=("mel_distance",), num_players=5, player_s=0.1)
    result = run_experiment("reconstruction", settings, tiny_taae)
    assert [Path(row["file"]).name for row in result.rows if row["system"] == "latents"] == ["a.wav", "b.wav"]
    assert [len(row.cells) for row in result.players] == [3, 3]
    assert "1 of 3 rows name a file again" in caplog.text


def test_square_brackets_in_a_table_are_no_markup() -> None:
    grid = Grid(caption="of [i]x", columns=("file", "[b]y"), rows=[["run[v2]", "[/b]"]])
    console = Console(width=100)
    with console.capture() as capture:
        console.print(Findings(name="x", table=ResultsTable(), columns=(), rows=[], grids=[grid]).view())
    for text in ("of [i]x", "[b]y", "run[v2]", "[/b]"):
        assert text in capture.get()


def heard(name: str, system: str, reference: Tensor, estimate: Tensor) -> Case:
    item, made = AudioItem(path=Path(name), name=name), Reconstruction(audio=estimate)
    return Case(item=item, system=system, reference=reference, made=made, sample_rate=100)


def test_the_original_as_a_system_is_not_heard_twice() -> None:
    players = Players([AudioItem(path=Path("a.wav"), name="a.wav")], seconds=0.5)
    audio = torch.rand(1, 100)
    for system, estimate in (("latents", audio + 1), ("original", audio)):
        players.measure(heard("a.wav", system, audio, estimate))
    players.measure(heard("b.wav", "latents", audio, audio))
    [row] = players.rows()
    assert (row.caption, [cell.label for cell in row.cells]) == ("a.wav", ["original", "latents"])
    assert torch.equal(row.cells[0][1], audio[:, :50])
    assert torch.equal(row.cells[1][1], audio[:, :50] + 1)


def test_of_a_file_at_least_a_sample_is_heard() -> None:
    players = Players([AudioItem(path=Path("a.wav"), name="a.wav")], seconds=1e-5)
    players.measure(heard("a.wav", "latents", torch.ones(1, 100), torch.zeros(1, 100)))
    assert [cell.audio.shape for cell in players.rows()[0].cells] == [(1, 1), (1, 1)]


def test_reference_systems_are_measured_on_the_same_files(
    folder: Path,
    tmp_path: Path,
    tiny_taae,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    settings = config(folder, tmp_path, figures=("mel_distance", "level_difference_db"), references=ALL_REFERENCES)
    result = run_experiment("reconstruction", settings, tiny_taae)
    systems = ["latents", "tokens", "original", "random-phase", "silence", "untrained"]
    assert list(result.table.systems) == systems
    assert result.table.estimate("original", "mel_distance").value == 0
    assert result.table.estimate("silence", "level_difference_db").num_values == 0
    assert not any("silence" in line for line in result.table.warnings), "references have no value by design"
    assert "opus-6: left out, opusenc is not installed: apt-get install opus-tools" in result.table.warnings
    facts = json.loads((tmp_path / "reconstruction.json").read_text())
    assert set(facts["absent_references"]) == {"opus-6", "opus-12", "codec2-3200", "codec2-1200"}
    assert [one["name"] for one in facts["systems"]] == systems
    mel = {one["name"]: one["figures"][0]["value"] for one in facts["systems"]}
    assert mel["untrained"] != mel["latents"]
    again = run_experiment(
        "reconstruction", config(folder, figures=("mel_distance",), references=("untrained",)), tiny_taae
    )
    assert again.table.estimate("untrained", "mel_distance").value == pytest.approx(mel["untrained"])


def test_all_figures_of_a_codec_at_once(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, references=("original", "silence"), options={"steps": 1}, max_duration_s=0.2)
    table = run_experiment("reconstruction", settings, tiny_codec).table
    assert {*table.figures, *table.facts["absent_figures"]} == set(ALL_FIGURES)
    assert table.estimate("latents", "seam_db").num_values == 2, "one clip is shorter than a chunk"
    assert table.estimate("tokens", "other_own_ratio").num_values == 3
    assert table.estimate("original", "decode_rtf").num_values == 0


def test_bins_without_a_file_are_there_and_named(folder: Path, tiny_taae) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, figures=("mel_distance",), streams=("latents",), length_edges_s=(0.1, 5, 10))
    result = run_experiment("reconstruction", settings, tiny_taae)
    bins = result.table.facts["by_length"]
    assert [(row["from_s"], row["num_files"]) for row in bins] == [(0.0, 1), (0.1, 2), (5, 0), (10, 0)]
    assert bins[2]["mel_distance"] == {"mean": None, "low": None, "high": None, "num_values": 0, "num_missing": 0}
    assert result.grids[1].caption == "means by length; no file of 5-10 s, 10+ s"
    assert len(result.grids[1].rows) == 2


def test_what_makes_figures_unreliable_is_said(tmp_path: Path, tiny_taae) -> None:  # type: ignore[no-untyped-def]
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(4000), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(1600), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    settings = ExperimentConfig(
        audio=str(tmp_path), figures=("mel_distance", "loudness_error_lu"), references=(), device="cpu"
    )
    result = run_experiment("reconstruction", settings, tiny_taae)
    said = "\n".join(result.table.warnings)
    for part in (
        "left out: ",
        "broken.wav",
        "silent.wav: digital silence",
        "loudness_error_lu: no value for noise.wav, silent.wav: shorter than a gating block",
        "below 5 of them, there are 2",
        "few tokens for codebooks of this size",
        "fad_musicnn: 2 windows are too few, 800 are enough for the 200",
    ):
        assert part in said
    assert result.table.facts["silent"] == ["silent.wav"]
    one = ExperimentConfig(audio=str(tmp_path / "noise.wav"), figures=("mel_distance",), device="cpu")
    assert "not measured, the files give 1 windows" in "\n".join(run_experiment("gap", one, tiny_taae).table.warnings)


def test_a_missing_package_is_named(folder: Path, tiny_taae, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("latentune.pipelines.measure.codecs.figures.catalog.is_installed", lambda package: None)
    result = run_experiment("reconstruction", config(folder, figures=("mel_distance", "stoi")), tiny_taae)
    said = "stoi: not measured, pystoi is not installed: pip install 'pystoi>="
    assert any(warning.startswith(said) for warning in result.table.warnings)
    assert result.columns[-1] == "mel_distance"
