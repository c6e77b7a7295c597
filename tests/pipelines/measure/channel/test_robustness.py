"""Channel experiments as a whole: what they measure, and that they repeat."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from channel_runs import mean, run, text_of

from latentune.core.errors import ConfigError
from latentune.core.settings import load_config
from latentune.pipelines.measure.channel import RobustnessConfig, run_robustness
from latentune.pipelines.measure.channel.channel import binary_symmetric
from latentune.pipelines.measure.channel.labelling import Labelling
from latentune.pipelines.measure.channel.systems import SOFT, OwnTokens, System
from latentune.pipelines.measure.channel.theory import channel_figures

RATE = 16_000


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
    for channel in ("bsc", "erasure", "gilbert-elliott", "awgn", "levels", "packet"):
        result = run(step_codec, clips, channel=channel, p=(0.0,), soft=channel != "levels", seeds=1)
        assert all(
            row["value_cosine"] == pytest.approx(1.0, abs=1e-4) for row in result.rows if "soft" in row["system"]
        )
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


def test_damage_grows_with_the_distance_that_digits_move(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    result = run(step_codec, clips, channel="levels", p=(0.2,), output=str(tmp_path / "o"))
    one, two, three = (f"moved by {distance}" for distance in (1, 2, 3))
    for figure, signs in (("mel_to_clean", 1), ("value_cosine", -1), ("digit_rms", 1)):
        values = [signs * mean(result, name, 0.2, figure) for name in (one, two)]
        assert values == sorted(values), figure
    assert mean(result, one, 0.2, "digit_within_one") == 1.0
    assert mean(result, one, 0.2, "value_cosine") < 1.0
    assert mean(result, three, 0.2, "digit_intact") > mean(result, one, 0.2, "digit_intact"), "few have the room"
    damaged = [row["num_damaged"] for row in result.rows if row["system"] == one]
    assert 0 < sum(damaged) < sum(row["num_sent"] for row in result.rows if row["system"] == one)


def test_a_soft_receiver_gains_more_where_it_knows_the_noise_of_each_bit(step_codec: Any, clips: Path) -> None:
    gains = {}
    for channel in ("bsc", "awgn"):
        result = run(step_codec, clips, channel=channel, p=(0.1,), soft=True)
        ratios = [mean(result, name, 0.1, "si_sdr_to_clean_db") for name in ("natural, soft", "natural")]
        gains[channel] = ratios[0] - ratios[1]
    assert gains["awgn"] > gains["bsc"]


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


@pytest.mark.skipif(shutil.which("c2enc") is None, reason="needs the Debian package codec2")
def test_codec2_is_sent_over_the_same_channel(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    result = run(step_codec, clips, channel="bsc", p=(0.0, 0.05), codec2=(3200, 1200), output=str(tmp_path / "o"))
    rates = {one["system"]: one["bitrate_bps"] for one in result.table.systems.values() if one["p"] > 0}
    assert rates == {"natural": 800, "codec2-3200": 3200, "codec2-1200": 1200}
    rows = [row for row in result.rows if row["system"] == "codec2-3200"]
    assert all(row["num_damaged"] == 0 and row["mel_to_clean"] == 0 for row in rows if row["p"] == 0)
    sent = sum(row["num_sent"] for row in rows if row["p"] > 0)
    damaged = sum(row["num_damaged"] for row in rows if row["p"] > 0)
    assert damaged / sent == pytest.approx(0.05, abs=0.01)
    assert sent / 3 == pytest.approx(3200 * (0.6 + 0.8 + 2 * 0.08), abs=2 * 64)  # three seeds; padding of 80 ms a file
    assert mean(result, "codec2-3200", 0.05, "mel_to_clean") > 0
    again = run(step_codec, clips, channel="bsc", p=(0.0, 0.05))
    ours = [row for row in result.rows if row["system"] == "natural"]
    assert [row["mel_distance"] for row in again.rows if row["system"] == "natural"] == [
        row["mel_distance"] for row in ours
    ]


def test_codec2_that_is_not_installed_is_named(step_codec: Any, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="apt-get install codec2"):
        run(step_codec, clips, codec2=(3200,))


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
