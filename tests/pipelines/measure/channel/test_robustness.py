"""The experiment as a whole: what it measures, that it repeats, and how it fails."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from rich.console import Console

from latentune.core.errors import AudioError, ConfigError
from latentune.core.settings import load_config
from latentune.pipelines.commands.main import app
from latentune.pipelines.measure.channel import RobustnessConfig, run_robustness
from latentune.pipelines.measure.channel.channel import binary_symmetric
from latentune.pipelines.measure.channel.labelling import Labelling
from latentune.pipelines.measure.channel.report import robustness_findings
from latentune.pipelines.measure.channel.systems import SOFT, OwnTokens, System
from latentune.pipelines.measure.channel.theory import channel_figures
from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.figures.quality import pesq, stoi
from latentune.pipelines.measure.results import FigureFacts, ResultsTable, csv_text
from latentune.pipelines.measure.results.findings import Findings

RATE = 16_000


def run(tokenizer: Any, audio: Path, **settings: Any) -> Findings:
    settings = {"p": (0.01, 0.1), "metrics": (), "device": "cpu", **settings}
    return run_robustness(RobustnessConfig(audio=str(audio), **settings), tokenizer)


def mean(result: Findings, system: str, p: float, figure: str) -> float | None:
    (key,) = [key for key, facts in result.table.systems.items() if (facts["system"], facts["p"]) == (system, p)]
    return result.table.estimate(key, figure).value


def text_of(result: Findings) -> str:
    return csv_text(result.columns, result.rows)


# ---------------------------------------------------------------------- what is measured


def test_a_row_a_file_seed_p_and_system(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    config = RobustnessConfig(
        audio=str(clips), output=str(tmp_path / "o"), p=(0.01, 0.1), seeds=3, labellings=("natural", "gray"), metrics=()
    )
    result = run_robustness(config, step_codec, progress=lambda *call: calls.append(call))
    assert len(result.rows) == 2 * (1 + 2 * 2 * 3)
    assert calls[-1] == (26, 26, "b.wav")
    keys = [(row["system"], row["p"], row["seed"], row["file"]) for row in result.rows]
    assert len(set(keys)) == len(keys)
    assert {key[0] for key in keys} == {"clean, own", "natural", "gray"}
    rows = list(csv.DictReader((tmp_path / "o" / "robustness.csv").read_text().splitlines()))
    assert len(rows) == len(result.rows)
    assert (rows[0]["system"], rows[0]["file"], rows[0]["num_sent"]) == ("clean, own", "a.wav", "")
    assert rows[2]["num_sent"] == str(16 * 40)
    assert float(rows[2]["mel_distance"]) > 0
    facts = json.loads((tmp_path / "o" / "robustness.json").read_text())
    means = list(csv.DictReader((tmp_path / "o" / "estimates.csv").read_text().splitlines()))
    assert [(row["system"], row["p"]) for row in means[:3]] == [
        ("clean, own", "0"),
        ("natural", "0.01"),
        ("natural", "0.1"),
    ]
    for row, system in zip(means, facts["systems"], strict=True):
        (estimate,) = [one for one in system["figures"] if one["name"] == "mel_distance"]
        for column, side in (("mean", "value"), ("low", "low"), ("high", "high")):
            assert float(row[f"mel_distance_{column}"]) == pytest.approx(estimate[side], rel=1e-5)
    assert [row["num_files"] for row in means] == ["2"] * 5
    assert (facts["systems"][4]["system"], facts["systems"][4]["p"]) == ("gray", 0.1)
    predicted = facts["systems"][4]["predicted_if_uniform"]
    assert predicted["digit_rms"] == pytest.approx(channel_figures(((4,) * 8,), "gray", 0.1).digit_rms)
    assert (tmp_path / "o" / "robustness.png").read_bytes().startswith(b"\x89PNG")
    assert "mel distance to undamaged" in (tmp_path / "o" / "robustness.html").read_text()
    assert load_config(RobustnessConfig, tmp_path / "o" / "config.yaml") == config


def test_more_damage_is_worse_and_soft_decoding_better(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    result = run(step_codec, clips, soft=True, prior_audio=str(clips), seeds=4)
    clean = mean(result, "clean, own", 0.0, "si_sdr_db")
    plain = [mean(result, "natural", p, "si_sdr_db") for p in (0.01, 0.1)]
    soft = [mean(result, "natural, soft", p, "si_sdr_db") for p in (0.01, 0.1)]
    prior = [mean(result, "natural, soft with prior", p, "si_sdr_db") for p in (0.01, 0.1)]
    assert clean > plain[0] > plain[1]
    assert soft == pytest.approx(plain, abs=1e-3), "natural binary without a prior: smaller values, all by one factor"
    assert prior[0] > plain[0]
    assert prior[1] > plain[1] + 0.5
    assert mean(result, "natural", 0.1, "si_sdr_db_change") == pytest.approx(plain[1] - clean)
    assert mean(result, "natural", 0.1, "mel_to_clean") > mean(result, "natural", 0.01, "mel_to_clean") > 0


def test_labellings_of_equal_size_have_the_same_bits_flipped(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    result = run(step_codec, clips, labellings=("natural", "gray", "index"))
    flips = {
        name: [row["num_damaged"] for row in result.rows if row["system"] == name]
        for name in ("natural", "gray", "index")
    }
    assert flips["natural"] == flips["gray"] == flips["index"]
    assert sum(flips["natural"]) > 0
    index, natural = ([row["mel_distance"] for row in result.rows if row["system"] == s] for s in ("index", "natural"))
    assert index == natural, "for levels that are powers of two it is the same labelling"


def test_without_damage_nothing_is_lost(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    for channel in ("bsc", "erasure", "gilbert-elliott", "packet"):
        result = run(step_codec, clips, channel=channel, p=(0.0,), soft=True, seeds=1)
        by_file: dict[str, set[float]] = {}
        for row in result.rows:
            by_file.setdefault(row["file"], set()).add(round(row["mel_distance"], 3))
        assert [len(values) for values in by_file.values()] == [1, 1], channel


def test_what_came_through_whole_has_no_si_sdr_to_itself(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    """An infinite ratio, or the limit in its place, would rule every mean."""
    for channel in ("bsc", "erasure", "packet"):
        result = run(step_codec, clips, channel=channel, p=(0.002, 0.2), soft=True, output=str(tmp_path / channel))
        sent = [row for row in result.rows if row["p"] > 0]
        plain = [row for row in sent if "soft" not in row["system"]]
        whole = [row for row in plain if row["num_damaged"] == 0]
        assert 0 < len(whole) < len(plain), channel
        assert all(row["si_sdr_to_clean_db"] is None and row["mel_to_clean"] == 0 for row in whole)
        assert all((row["si_sdr_to_clean_db"] is None) == (row["mel_to_clean"] == 0) for row in plain), channel


def test_a_soft_receiver_of_certain_bits_decodes_what_was_sent(step_codec: Any) -> None:
    stream = OwnTokens(step_codec)
    tokens = torch.arange(4**8 - 40, 4**8).unsqueeze(1)
    system = System(name="soft", stream=stream, labelling=Labelling(stream.levels), receiver=SOFT)
    for p in (0.0, 0.1):
        reception = system.receive_bits(tokens, binary_symmetric, p, torch.Generator().manual_seed(0))
        assert reception.intact == (p == 0)
        same = torch.allclose(reception.streams["latents"][0], stream.latents(tokens), atol=1e-4)
        assert same == reception.intact


def test_a_plot_of_any_figures(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    """p of 0 among others, a metric without a value, one file and one seed."""
    settings: dict[str, Any] = {"p": (0.0, 0.1), "seeds": 1, "channel": "erasure", "output": str(tmp_path / "o")}
    run(step_codec, clips / "a.wav", **settings)
    run(step_codec, clips / "a.wav", **{**settings, "p": (0.0,)})
    assert (tmp_path / "o" / "robustness.png").read_bytes().startswith(b"\x89PNG")


def test_lost_packets_are_concealed(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    result = run(step_codec, clips, channel="packet", p=(0.3, 1.0), packet_chunks=2, soft=True)
    rows = {(row["system"], row["p"], row["seed"], row["file"]): row for row in result.rows}
    names = {system for system, *_ in rows}
    assert names == {"clean, own", "own, repeat", "own, interpolate", "own, soft"}
    one = rows["own, repeat", 0.3, 0, "a.wav"]
    assert one["num_sent"] == 10  # 40 frames, 2 to a chunk, 2 chunks to a packet
    assert one["token_intact"] == 1 - one["num_damaged"] / 10
    assert one["num_damaged"] == rows["own, soft", 0.3, 0, "a.wav"]["num_damaged"]
    assert rows["own, interpolate", 1.0, 0, "a.wav"]["token_intact"] == 0
    assert mean(result, "own, repeat", 0.3, "mel_to_clean") > 0


def test_an_rvq_is_sent_beside_the_codecs_own_tokens(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("vector_quantize_pytorch")
    settings: dict[str, Any] = {"rvq_audio": str(clips), "rvq_codebook_size": 16, "soft": True}
    result = run(step_codec, clips, **settings)
    rates = {one["system"]: one["bitrate_bps"] for one in result.table.systems.values() if one["p"] > 0}
    assert rates == {"natural": 800, "natural, soft": 800, "rvq": 800, "rvq, soft": 800}
    assert mean(result, "rvq, soft", 0.1, "si_sdr_db") > mean(result, "rvq", 0.1, "si_sdr_db")
    assert mean(result, "rvq", 0.1, "digit_rms") is None, "entries of neighboring numbers are not near each other"


def test_a_real_codec_goes_the_whole_way(tiny_codec: Any, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 9000), 48_000)
    settings: dict[str, Any] = {"p": (0.1,), "seeds": 1, "soft": True, "options": {"steps": 1}}
    result = run(tiny_codec, tmp_path / "x.wav", **settings)
    assert [row["system"] for row in result.rows] == ["clean, own", "natural", "natural, soft"]
    assert 0 < result.rows[1]["num_invalid_words"] < result.rows[1]["num_sent"] / 4


# ---------------------------------------------------------------------- repeatable


def test_same_seed_same_csv_whatever_the_order_of_the_files(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    names = ["a.wav", "b.wav"]
    texts = []
    for number, order in enumerate((names, names[::-1])):
        listed = clips / f"list{number}.jsonl"
        listed.write_text("".join(json.dumps({"path": name}) + "\n" for name in order))
        texts.append(text_of(run(step_codec, listed, soft=True)))
    assert texts[0] == texts[1]
    assert text_of(run(step_codec, clips, soft=True)) == texts[0]
    assert text_of(run(step_codec, clips, soft=True, seed=1)) != texts[0]
    alone = run(step_codec, clips / "a.wav", labellings=("gray", "natural"), p=(0.1,))
    rows = [row for row in text_of(alone).splitlines() if row.startswith("natural,")]
    assert rows
    assert set(rows) < set(texts[0].splitlines()), "neither other files nor other systems change a row"


# ---------------------------------------------------------------------- the figures


def nested(values: list[list[float | None]]) -> ResultsTable:
    """A table of one figure, with the values of each file."""
    table = ResultsTable(nested=True, figures={"x": FigureFacts()})
    for number, row in enumerate(values):
        for value in row:
            table.add("system", f"{number}.wav", "x", value)
    return table


def test_the_interval_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(3.0, 1.0, (100, 1)) + rng.normal(0.0, 0.1, (100, 5))
    found = nested(table.tolist()).estimate("system", "x")
    assert found.value == pytest.approx(table.mean())
    half = 1.96 * table.mean(1).std() / 10
    assert found.low == pytest.approx(found.value - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.15 * half)
    assert nested(table.tolist()).estimate("system", "x") == found
    assert (found.num_values, found.num_missing) == (500, 0)


def test_missing_values_are_counted_and_left_out() -> None:
    found = nested([[1.0, None, 1.0], [None, None, None], [3.0, 3.0, 3.0]]).estimate("system", "x")
    assert (found.value, found.num_values, found.num_missing) == (2.0, 5, 4)
    nothing = nested([[None, None]]).estimate("system", "x")
    assert (nothing.value, nothing.low, nothing.num_missing) == (None, None, 2)


def speechlike(seconds: float, seed: int = 0) -> torch.Tensor:
    """A voice [1, N] in syllables, below full scale."""
    rng = random.Random(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    carrier = sum(np.sin(2 * np.pi * 130 * k * time_s + rng.random() * 6) / k for k in range(1, 20))
    audio = 0.1 * np.asarray(carrier) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s))
    return torch.from_numpy(audio).float()[None]


def test_speech_metrics_fall_with_noise() -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    clean = speechlike(1.5)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=clean.shape)).float()
    for metric, best in ((stoi, 1.0), (pesq, 4.64)):
        figures = [metric(clean, clean + scale * noise, RATE) for scale in (0.0, 0.001, 0.1)]
        assert figures[0] == pytest.approx(best, abs=0.01)
        assert figures[0] > figures[1] > figures[2]


def test_speech_metrics_without_a_value_say_so() -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    short, silent = speechlike(0.2), torch.zeros(1, RATE)
    with pytest.raises(Undefined, match="not silence"):
        stoi(short, short, RATE)
    for reference, estimate in ((short, short), (silent, speechlike(1.0)), (speechlike(1.0), silent)):
        with pytest.raises(Undefined):
            pesq(reference, estimate, RATE)


def test_files_without_a_value_are_listed(step_codec: Any, tmp_path: Path) -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    soundfile.write(tmp_path / "short.wav", speechlike(0.2)[0].numpy(), RATE)
    settings: dict[str, Any] = {"metrics": ("stoi", "pesq_wb"), "seeds": 1, "p": (0.1,)}
    result = run(step_codec, tmp_path, **settings)
    undefined = {(row["file"], row["figure"]) for row in result.table.undefined}
    assert undefined == {("short.wav", "pesq_wb"), ("short.wav", "stoi")}
    assert result.rows[0]["stoi"] is None
    assert any("no value" in line for line in result.table.warnings)


def test_a_metric_that_cannot_be_imported_is_absent(
    step_codec: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentune.pipelines.measure.codecs.figures.catalog.find_spec", lambda name: None)
    result = run(step_codec, clips, metrics=("stoi", "pesq_wb"))
    facts = result.to_dict()
    assert set(facts["absent_metrics"]) == {"stoi", "pesq_wb"}
    assert all("latentune[speech-metrics]" in reason for reason in facts["absent_metrics"].values())
    assert "stoi" not in facts["metrics"]
    assert "stoi" not in text_of(result).splitlines()[0]


class Counts:
    """A recognizer that says one word for each loud tenth of a second."""

    name = "counts 1"

    def transcribe(self, audio: np.ndarray) -> str:
        return " ".join("word" for part in np.array_split(audio, 10) if np.abs(part).mean() > 0.05) or "none"


def test_words_are_counted_where_a_recognizer_is_given(
    step_codec: Any, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper_normalizer")
    place = "latentune.pipelines.measure.codecs.speech_metrics.load_transcriber"
    monkeypatch.setattr(place, lambda *given, **options: Counts())
    result = run(step_codec, clips, transcriber="here", text="original", p=(0.5,))
    assert "counts 1" in result.table.figures["wer"].model
    assert result.table.estimate("clean, own", "wer").num_values == 2
    assert result.table.estimate("natural, p = 0.5", "wer_capped_change").num_values == 6


# ---------------------------------------------------------------------- bad input


def test_unreadable_files_are_listed_and_counted(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    expected = run(step_codec, clips)
    (clips / "0.wav").write_bytes(b"no audio")
    soundfile.write(clips / "nan.wav", np.full(9000, np.nan), RATE, subtype="FLOAT")
    result = run(step_codec, clips)
    assert [Path(failure["path"]).name for failure in result.table.failures] == ["0.wav", "nan.wav"]
    assert not any(failure["path"] in failure["reason"] for failure in result.table.failures)
    assert text_of(result) == text_of(expected)
    assert len(result.to_dict()["failures"]) == 2
    assert any("2 files could not be read" in line for line in result.table.warnings)


def test_audio_that_is_not_there_is_refused(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no audio in"):
        run(step_codec, tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no audio at"):
        run(step_codec, tmp_path / "nowhere")
    for path in clips.iterdir():
        path.write_bytes(b"no audio")
    with pytest.raises(AudioError, match="none of 2 audio files could be measured"):
        run(step_codec, clips)


def test_a_file_that_a_manifest_names_again_is_measured_once(
    step_codec: Any, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = clips / "list.jsonl"
    rows = [{"path": f"{name}.wav", "text": text} for name, text in (("a", "x"), ("b", "y"), ("a", "z"))]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert text_of(run(step_codec, manifest)) == text_of(run(step_codec, clips))
    assert "1 of 3 rows name a file again" in caplog.text


def test_square_brackets_in_a_name_are_no_markup(step_codec: Any, clips: Path) -> None:
    result = run(step_codec, clips)
    for facts in result.table.systems.values():
        facts["system"] = facts["system"].replace("natural", "natural[v2]")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(robustness_findings(result.table, {"mel_distance": FigureFacts()}).view())
    assert "natural[v2]" in capture.get()


def test_silence_is_measured_and_told(step_codec: Any, clips: Path) -> None:
    soundfile.write(clips / "silent.wav", np.zeros(9000), RATE)
    assert [line for line in run(step_codec, clips).table.warnings if "silent.wav: digital silence" in line]


def test_an_option_that_decoding_lacks_is_refused_before_anything_is_measured(tiny_neucodec: Any, clips: Path) -> None:
    for options in ({"stepz": 1}, {"chunk_s": "abc"}, {"tokens": 3}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            run(tiny_neucodec, clips, options=options)


def test_a_tokenizer_without_tokens_is_refused(tokenless_codec: Any, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        run(tokenless_codec, clips)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": (1.5,)}, r"in \[0, 1\]"),
        ({"p": (-0.1,)}, r"in \[0, 1\]"),
        ({"p": ()}, "one or more different"),
        ({"p": (0.1, 0.1)}, "one or more different"),
        ({"channel": "awgn"}, "known are bsc"),
        ({"labellings": ("grey",)}, "known are natural"),
        ({"labellings": ("gray", "gray")}, "different labellings"),
        ({"metrics": ("mos",)}, "known are stft_distance"),
        ({"concealments": ("repeat", "repeat")}, "twice"),
        ({"seeds": 0}, "seeds must be above 0"),
        ({"max_duration_s": 0.0}, "max_duration_s must be above 0"),
        ({"soft": True, "labellings": ("index",)}, "digit by digit"),
        ({"prior_audio": "x"}, "set soft"),
        ({"channel": "packet", "concealments": ()}, "need a concealment"),
        ({"channel": "gilbert-elliott", "p": (0.5,)}, r"below 0\.5"),
        ({"channel": "gilbert-elliott", "p": (0.4,), "burst_bits": 2.0}, "shorter than chance"),
        ({"rvq_codebooks": 2}, "give it"),
        ({"channel": "packet", "labellings": ("gray",)}, "lost whole"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RobustnessConfig(audio="a", output="b", **settings)


# ---------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory, tiny_codec: Any) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    tiny_codec.save_pretrained(folder)
    return folder


def test_the_command(codec_folder: Path, clips: Path, tmp_path: Path) -> None:
    arguments = ["experiment", "robustness", clips / "b.wav", "--tokenizer", codec_folder, "--p", "0.01", "--p", "0.1"]
    arguments += ["--seeds", 1, "--labelling", "natural", "--labelling", "gray", "metrics=[]", "options.steps=1"]
    result = CliRunner().invoke(app, [*map(str, arguments), str(tmp_path / "o")])
    assert result.exit_code == 0, result.output
    assert "mel distance" in result.stdout
    assert "1 seeds say little" in result.stdout
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "config.yaml",
        "estimates.csv",
        "robustness.csv",
        "robustness.html",
        "robustness.json",
        "robustness.png",
    }
    again = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    written = json.loads((tmp_path / "o" / "robustness.json").read_text())
    assert len(written["systems"]) == 5
    assert json.loads(again.stdout)["systems"] == written["systems"]


def test_the_command_fails_in_one_line(codec_folder: Path, clips: Path, tmp_path: Path) -> None:
    common = ["experiment", "robustness", "--tokenizer", str(codec_folder)]
    output = str(tmp_path / "o")
    for arguments, message in (
        ([str(clips), output, "--p", "2"], "in [0, 1]"),
        ([str(tmp_path / "nowhere"), output], "no audio at"),
        ([str(clips), output, "sedes=3"], "seeds"),
    ):
        result = CliRunner().invoke(app, [*common, *arguments])
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert message in result.stderr


def test_the_probe_command(codec_folder: Path, clips: Path, tmp_path: Path) -> None:
    other = shutil.copytree(codec_folder, tmp_path / "other")
    arguments = ["experiment", "probe", str(codec_folder), str(other), str(clips / "b.wav"), str(tmp_path / "o")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "tokens equal 100.00%" in result.stdout
    assert "of levels used as here" in result.stdout
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"locality.json", "locality.png"}
