import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from torch import Tensor, nn

from latentune.core.errors import ConfigError
from latentune.pipelines.data.audio.find import AudioItem
from latentune.pipelines.measure.codecs.config import ExperimentConfig
from latentune.pipelines.measure.codecs.figures.borders import border_errors
from latentune.pipelines.measure.codecs.figures.catalog import ALL_FIGURES
from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.metrics import Case
from latentune.pipelines.measure.codecs.players import Players
from latentune.pipelines.measure.codecs.references import ALL_REFERENCES
from latentune.pipelines.measure.codecs.run import run_experiment
from latentune.pipelines.measure.codecs.systems import Reconstruction
from latentune.pipelines.measure.embedders.base import Embedder
from latentune.pipelines.measure.results import Grid, ResultsTable
from latentune.pipelines.measure.results.findings import Findings

RATE = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of noise, two of them longer than a chunk of the tiny codec."""
    path = tmp_path_factory.mktemp("audio")
    generator = torch.Generator().manual_seed(0)
    for name, seconds in (("a", 0.3), ("b", 0.4), ("c", 0.02)):
        audio = 0.1 * torch.randn(round(RATE * seconds), 2, generator=generator)
        soundfile.write(path / f"{name}.wav", audio.numpy(), RATE, subtype="FLOAT")
    return path


def config(folder: Path, output: Path | None = None, **values: object) -> ExperimentConfig:
    return ExperimentConfig(
        audio=str(folder),
        output=None if output is None else str(output),
        embedder="none",
        device="cpu",
        **{"num_players": 0, "references": (), **values},  # type: ignore[arg-type]
    )


def test_steps_measures_every_number_by_every_stream(folder: Path, tmp_path: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    result = run_experiment("steps", config(folder, tmp_path, steps=(1, 2), max_duration_s=0.1), tiny_codec)
    assert [(row["stream"], row["steps"]) for row in result.rows] == [
        ("latents", 1),
        ("latents", 2),
        ("tokens", 1),
        ("tokens", 2),
    ]
    assert all(row["mel_distance_low"] <= row["mel_distance"] <= row["mel_distance_high"] for row in result.rows)
    assert result.rows[0]["mel_distance"] != result.rows[1]["mel_distance"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "steps.csv").read_text())))
    assert float(rows[3]["mel_distance"]) == pytest.approx(result.rows[3]["mel_distance"], rel=1e-5)
    facts = json.loads((tmp_path / "steps.json").read_text())
    assert facts["schema"] == "latentune-experiment-2"
    assert facts["num_files"] == 3
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
    assert result.view() is not None


def test_steps_refuses_a_codec_without_steps(folder: Path, tiny_taae) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="taae does not decode in steps"):
        run_experiment("steps", config(folder), tiny_taae)


def test_gap_is_the_paired_difference(folder: Path, tmp_path: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, tmp_path, figures=("mel_distance", "loudness_error_lu"), options={"steps": 1})
    result = run_experiment("gap", settings, tiny_codec)
    mel, loudness = result.rows
    assert mel["difference"] == pytest.approx(mel["tokens"] - mel["latents"])
    assert mel["difference_low"] <= mel["difference"] <= mel["difference_high"]
    assert (mel["num_files"], loudness["num_files"]) == (3, 1), "two clips are shorter than a block of loudness"
    assert len(result.table.undefined) == 4
    assert (tmp_path / "gap.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="latents alone"):
        run_experiment("gap", config(folder, streams=("latents",)), tiny_codec)


def test_boundaries_finds_the_borders_of_the_codec(folder: Path, tmp_path: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, tmp_path, streams=("latents",), options={"steps": 1}, window_s=0.005)
    result = run_experiment("boundaries", settings, tiny_codec)
    assert [row["system"] for row in result.rows] == ["latents, parallel", "latents, autoregressive"]
    chunk, lead = tiny_codec.spec.chunk_samples, tiny_codec.lead_samples
    expected = sum(len([k for k in range(1, 999) if k * chunk - lead < n]) for n in (14_400, 19_200))
    assert result.rows[0]["num_borders"] == expected
    assert result.rows[0]["num_files"] == 2
    assert {one["file"] for one in result.table.undefined} == {"c.wav"}
    assert json.loads((tmp_path / "boundaries.json").read_text())["profiles"].keys() == {
        "latents, parallel",
        "latents, autoregressive",
    }


def test_an_error_at_the_borders_is_told_from_one_elsewhere() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = 0.1 * torch.randn(2, 40_000, generator=generator)
    where = {"chunk_samples": 8000, "lead_samples": 500, "window_samples": 512}
    borders = np.arange(7500, 40_000, 8000)
    even = 1.2 * reference
    found = border_errors(reference, even, RATE, **where)
    assert found.num_borders == 5
    assert found.near_error == pytest.approx(math.log(1.2), rel=1e-3)
    assert found.excess == pytest.approx(0, abs=1e-3)
    assert found.step_ratio == pytest.approx(found.original_step_ratio)
    torn = even.clone()
    for border in borders:
        torn[:, border - 100 : border + 100] *= 0.1
        torn[:, border] += 2.0
    found = border_errors(reference, torn, RATE, **where)
    assert found.far_error == pytest.approx(math.log(1.2), rel=1e-3)
    assert found.excess > 0.5
    assert found.step_ratio > 5 * found.original_step_ratio
    profile = found.profile_sums / np.maximum(found.profile_counts, 1)
    assert abs(int(profile.argmax()) - 32) <= 2, "the border lies in the middle of the profile"
    moved = border_errors(reference, torn, RATE, **{**where, "lead_samples": 4000})
    assert moved.excess < 0, "borders elsewhere than the error show none"


def test_boundaries_says_where_there_are_none(tiny_taae, folder: Path) -> None:  # type: ignore[no-untyped-def]
    audio = torch.ones(1, 4000)
    with pytest.raises(Undefined, match="no border"):
        border_errors(audio, audio, RATE, chunk_samples=8000, lead_samples=0, window_samples=512)
    with pytest.raises(Undefined, match="silence"):
        border_errors(0 * audio, audio, RATE, chunk_samples=1000, lead_samples=0, window_samples=512)
    with pytest.raises(ValueError, match="one shape"):
        border_errors(audio, audio[:, 1:], RATE, chunk_samples=1000, lead_samples=0, window_samples=512)
    with pytest.raises(ValueError, match="nothing lies between two borders"):
        run_experiment("boundaries", config(folder, window_s=1.0), tiny_taae)


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
    assert [label for label, _, _ in cells] == ["original", "latents", "tokens"]
    assert [tuple(audio.shape) for _, audio, _ in cells] == [(1, 1600)] * 3
    original, latents, tokens = (audio for _, audio, _ in cells)
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
    assert (row.caption, [label for label, _, _ in row.cells]) == ("a.wav", ["original", "latents"])
    assert torch.equal(row.cells[0][1], audio[:, :50])
    assert torch.equal(row.cells[1][1], audio[:, :50] + 1)


def test_of_a_file_at_least_a_sample_is_heard() -> None:
    players = Players([AudioItem(path=Path("a.wav"), name="a.wav")], seconds=1e-5)
    players.measure(heard("a.wav", "latents", torch.ones(1, 100), torch.zeros(1, 100)))
    assert [audio.shape for _, audio, _ in players.rows()[0].cells] == [(1, 1), (1, 1)]


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
        "fad_musicnn: 2 windows are fewer than twice the 200",
    ):
        assert part in said
    assert result.table.facts["silent"] == ["silent.wav"]
    one = ExperimentConfig(audio=str(tmp_path / "noise.wav"), figures=("mel_distance",), device="cpu")
    assert "not measured, the files give 1 windows" in "\n".join(run_experiment("gap", one, tiny_taae).table.warnings)


class Levels(Embedder):
    """Log levels of the halves of every 5 ms."""

    name = "levels"
    sample_rate = 16_000
    window_samples = 80
    preprocessing = "none"

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), 2, "here")

    def windows(self, audio: Tensor) -> Tensor:
        return audio[: len(audio) // 80 * 80].reshape(-1, 80)

    def network_output(self, windows: Tensor) -> Tensor:
        return (windows.reshape(len(windows), 2, 40).square().mean(-1) + 1e-9).log()


def test_distances_of_reconstructions_have_intervals(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, figures=("mel_distance",), steps=(1, 2), max_duration_s=0.1)
    results = {name: run_experiment(name, settings, tiny_codec, embedder=Levels()) for name in ("steps", "gap")}
    for row in results["steps"].rows:
        assert 0 <= row["fad_low"] <= row["fad"] <= row["fad_high"]
    row = results["gap"].rows[-1]
    assert row["figure"] == "fad_levels"
    assert all(0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for name in ("latents", "tokens"))
    assert row["difference"] == pytest.approx(row["tokens"] - row["latents"], rel=1e-6, abs=1e-9)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    spread = [row[f"{name}_high"] - row[f"{name}_low"] for name in ("latents", "tokens", "difference")]
    assert 0 < spread[2] < min(spread[:2])  # the same files were drawn of both
    found = run_experiment("reconstruction", settings, tiny_codec, embedder=Levels())
    assert found.table.facts["frechet"]["metric"] == "fad_levels"
    for name, cell in zip(("latents", "tokens"), found.grids[0].rows[-1][1:], strict=True):
        one = found.table.estimate(name, "fad_levels")
        assert cell == f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}]"
        assert 0 <= one.low < one.high  # type: ignore[operator]


def test_a_missing_package_is_named(folder: Path, tiny_taae, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("latentune.pipelines.measure.codecs.figures.catalog.find_spec", lambda package: None)
    result = run_experiment("reconstruction", config(folder, figures=("mel_distance", "stoi")), tiny_taae)
    assert (
        "stoi: not measured, pystoi is not installed: pip install 'latentune[speech-metrics]'" in result.table.warnings
    )
    assert result.columns[-1] == "mel_distance"


@pytest.mark.parametrize("num_files", [4, 5])
def test_a_p_value_takes_five_files(tmp_path: Path, tiny_taae, num_files: int) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(0)
    for number in range(num_files):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * generator.standard_normal(1600), 16_000)
    row = run_experiment("gap", config(tmp_path, figures=("mel_distance",)), tiny_taae).rows[0]
    assert (row["p_value"] is None) == (num_files < 5)


def test_experiments_take_a_codec_of_two_rates(folder: Path, tiny_neucodec) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, figures=("mel_distance", "encode_rtf"), window_s=0.005)
    assert run_experiment("gap", settings, tiny_neucodec).rows[0]["num_files"] == 3
    assert run_experiment("boundaries", settings, tiny_neucodec).rows[0]["num_borders"] > 0
    result = run_experiment("reconstruction", settings, tiny_neucodec)
    assert result.table.facts["codec"]["sample_rate"] == 24_000
    assert result.rows[0]["seconds"] == pytest.approx(0.3, abs=1e-3)


def test_wrong_use_is_refused(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="no experiment is called 'stpes': did you mean 'steps'"):
        run_experiment("stpes", config(folder), tiny_codec)
    for values, text in (
        ({"figures": ("psnr",)}, "psnr"),
        ({"steps": (0,)}, "steps must be"),
        ({"streams": ("codes",)}, "streams are"),
        ({"max_files": 0}, "max_files"),
        ({"confidence": 1.0}, "confidence"),
        ({"length_edges_s": (0.0, 3.0)}, "edges of length bins"),
        ({"num_players": -1}, "num_players"),
        ({"references": ("opus-7",)}, "no reference system is called 'opus-7'"),
    ):
        with pytest.raises(ConfigError, match=text):
            config(folder, **values)
    with pytest.raises(FileNotFoundError):
        run_experiment("gap", config(folder / "nowhere"), tiny_codec)
    for options, text in (({"stepz": 1}, "did you mean 'steps'"), ({"steps": "x"}, "steps"), ({"tokens": 3}, "tokens")):
        with pytest.raises(ConfigError, match=text):
            run_experiment("gap", config(folder, options=options), tiny_codec)
    with pytest.raises(ConfigError, match="none of encode_rtf has a gap"):
        run_experiment("gap", config(folder, figures=("encode_rtf",)), tiny_codec)
