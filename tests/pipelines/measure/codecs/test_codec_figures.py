import math
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from latentune.core.errors import AudioError
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.measure.codecs.evaluate import evaluate_systems, evaluate_tokenizer
from latentune.pipelines.measure.codecs.systems import silence
from latentune.pipelines.measure.results import ResultsTable, records

RATE = 48_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of noise at different rates and channel counts."""
    generator = torch.Generator().manual_seed(0)
    for name, rate, channels, seconds in (("a.wav", 48_000, 2, 0.3), ("b.wav", 24_000, 1, 0.5)):
        audio = 0.1 * torch.randn(round(rate * seconds), channels, generator=generator)
        soundfile.write(tmp_path / name, audio.numpy(), rate, subtype="FLOAT")
    return tmp_path


def means(table: ResultsTable) -> dict[str, dict[str, float | None]]:
    """Means of each system by figure."""
    return {name: {figure: table.estimate(name, figure).value for figure in table.figures} for name in table.systems}


def halved(audio: Tensor, sample_rate: int) -> Tensor:
    return 0.5 * audio


def test_systems_are_measured_on_every_file(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = evaluate_systems(
        {"same": lambda audio, rate: audio, "halved": halved, "silence": silence},
        find_audio(folder),
        sample_rate=RATE,
        channels=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    rows = records(result)
    assert [(row["system"], row["file"]) for row in rows[:3]] == [
        ("same", "a.wav"),
        ("halved", "a.wav"),
        ("silence", "a.wav"),
    ]
    assert [row["seconds"] for row in rows[::3]] == pytest.approx([0.3, 0.5])
    assert calls == [(1, 2), (2, 2)]
    same, half, quiet = means(result).values()
    assert (same["mel_distance"], same["stft_distance"]) == (0, 0)
    assert result.facts["num_files"] == 2
    assert rows[1]["stft_distance"] == pytest.approx(0.5 + math.log(2), rel=0.02)
    assert half["si_sdr_db"] > 80, "scale does not matter to it"
    assert quiet["si_sdr_db"] == -100
    assert quiet["mel_distance"] > half["mel_distance"]
    by_hand = sum(row["mel_distance"] for row in rows if row["system"] == "halved") / 2
    assert half["mel_distance"] == pytest.approx(by_hand)


def test_a_codec_is_measured_in_every_way_it_decodes(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    options = {"1 step": {"steps": 1}, "2 steps": {"steps": 2}}
    result = evaluate_tokenizer(
        tiny_codec, folder, options=options, baselines={"silence": silence}, untrained=tiny_codec, max_duration_s=0.2
    )
    rows = means(result)
    assert list(rows) == [
        "latents, 1 step",
        "latents, 2 steps",
        "tokens, 1 step",
        "tokens, 2 steps",
        "silence",
        "untrained",
    ]
    assert rows["untrained"]["mel_distance"] == rows["latents, 1 step"]["mel_distance"], "same network, same noise"
    assert rows["latents, 1 step"]["mel_distance"] != rows["latents, 2 steps"]["mel_distance"]
    assert rows["latents, 1 step"]["mel_distance"] != rows["tokens, 1 step"]["mel_distance"]
    assert all(row["seconds"] == pytest.approx(0.2) for row in records(result))
    backwards = evaluate_tokenizer(
        tiny_codec, find_audio(folder)[::-1], streams=["latents"], options={"1 step": {"steps": 1}}, max_duration_s=0.2
    )
    assert means(backwards)["latents, 1 step"] == pytest.approx(rows["latents, 1 step"]), (
        "the order of files does not matter"
    )


def test_unreadable_files_are_listed_and_the_rest_is_measured(folder: Path) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(folder / "nan.wav", [math.nan] * 100, RATE, subtype="FLOAT")
    result = evaluate_systems({"halved": halved}, find_audio(folder), sample_rate=RATE, channels=1)
    assert [Path(failure["path"]).name for failure in result.failures] == ["broken.wav", "nan.wav"]
    assert "NaN" in result.failures[1]["reason"]
    assert len(records(result)) == 2
    for good in ("a.wav", "b.wav"):
        (folder / good).unlink()
    with pytest.raises(AudioError, match="none of 2 audio files"):
        evaluate_systems({"halved": halved}, find_audio(folder), sample_rate=RATE, channels=1)


def test_wrong_use_is_refused(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    items = find_audio(folder)
    with pytest.raises(ValueError, match="no system"):
        evaluate_systems({}, items, sample_rate=RATE, channels=2)
    with pytest.raises(TypeError, match="keep the shape"):
        evaluate_systems({"cut": lambda a, r: a[:, :-1]}, items, sample_rate=RATE, channels=2)
    with pytest.raises(AudioError, match="makes NaN or inf of it"):
        evaluate_systems({"nan": lambda a, r: a / 0 * 0}, items, sample_rate=RATE, channels=2)
    with pytest.raises(ValueError, match="two systems are called 'latents'"):
        evaluate_tokenizer(tiny_codec, items, baselines={"latents": silence})
    with pytest.raises(ValueError, match="stream must be"):
        evaluate_tokenizer(tiny_codec, items, streams=["codes"])  # type: ignore[list-item]
