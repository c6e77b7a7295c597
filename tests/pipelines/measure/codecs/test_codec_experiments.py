import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from codec_runs import config
from torch import Tensor, nn

from latentune.core.errors import ConfigError
from latentune.pipelines.data.audio.item import AudioItem
from latentune.pipelines.measure.codecs.boundaries import BorderDistances
from latentune.pipelines.measure.codecs.figures.borders import border_errors, split_at_borders
from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.metrics import Case
from latentune.pipelines.measure.codecs.run import run_experiment
from latentune.pipelines.measure.codecs.systems import Reconstruction
from latentune.pipelines.measure.embedders.base import Embedder
from latentune.pipelines.measure.results import ResultsTable

RATE = 48_000


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


def test_distances_at_borders_are_apart_from_those_elsewhere(folder: Path, tmp_path: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    settings = config(folder, tmp_path, streams=("latents",), options={"steps": 1, "mode": "parallel"}, window_s=0.005)
    result = run_experiment("boundaries", settings, tiny_codec, embedder=Levels())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "boundaries.csv").read_text())))
    near, far = (float(rows[0][f"fad_levels_{side}"]) for side in ("at_borders", "elsewhere"))
    assert near > 0
    assert far > 0
    assert near != far
    assert list(result.table.figures)[-2:] == ["fad_levels_at_borders", "fad_levels_elsewhere"]


def test_audio_is_cut_into_what_is_around_borders_and_what_is_between() -> None:
    audio = torch.arange(1.0, 30.0)[None]  # sample n has the value n + 1; borders at 6, 14, 22 of chunks of 8
    near, far = split_at_borders(audio, 8, 2)
    assert (near[0] - 1).tolist() == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]
    assert (far[0] - 1).tolist() == [8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]
    near, far = split_at_borders(audio[:, :27], 8, 2)
    assert near.shape == far.shape == (1, 8), "the last border has less than half a chunk behind its piece"
    with pytest.raises(Undefined, match="too short"):
        split_at_borders(audio[:, :11], 8, 2)


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


def test_damage_at_the_borders_is_in_their_distance_alone() -> None:
    metric, table = BorderDistances(Levels(), 8000, 500), ResultsTable()
    for number in range(3):
        audio = 0.1 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(number))
        made = audio.clone()
        for border in range(7500, 48_000, 8000):
            made[:, border - 300 : border + 300] = 0.0
        item = AudioItem(path=Path(f"/{number}.wav"), name=f"{number}.wav")
        for system, estimate in (("damaged", made), ("same", audio)):
            found = Reconstruction(audio=estimate)
            metric.measure(Case(item=item, system=system, reference=audio, made=found, sample_rate=16_000))
    metric.add_to(table)
    near, far = (table.estimate("damaged", f"fad_levels_{side}").value for side in ("at_borders", "elsewhere"))
    assert near is not None
    assert far is not None
    assert near > 1.0
    assert far == pytest.approx(0.0, abs=1e-6)
    assert table.estimate("same", "fad_levels_at_borders").value == pytest.approx(0.0, abs=1e-6)


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
        assert cell == f"{one.value:.3g} [{one.low:.3g}, {one.high:.3g}]"
        assert 0 <= one.low < one.high  # type: ignore[operator]


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
