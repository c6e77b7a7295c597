import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.measure.codecs.codec_result import ReconstructionResult
from latentune.pipelines.measure.codecs.evaluate import evaluate_systems, evaluate_tokenizer, original
from latentune.pipelines.measure.codecs.figures.tokens import analyse_tokens
from latentune.pipelines.measure.embedders.base import Embedder
from latentune.pipelines.measure.metrics.frechet import GaussianStatistics, frechet_distance
from latentune.pipelines.measure.results.intervals import bootstrap_interval

RATE = 16_000


def noise(seconds: float, seed: int) -> Tensor:
    return 0.1 * torch.randn(1, round(RATE * seconds), generator=torch.Generator().manual_seed(seed))


def write(path: Path, audio: Tensor, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T.numpy(), rate, subtype="FLOAT" if path.suffix == ".wav" else "PCM_24")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write(tmp_path / "real" / f"{number}.wav", noise(0.5 + 0.25 * number, number))
    return tmp_path / "real"


def halved(audio: Tensor, sample_rate: int) -> Tensor:
    return 0.5 * audio


class Bands(Embedder):
    """Mean levels of four bands of every 0.1 s."""

    name = "bands"
    sample_rate = 8000
    window_samples = 800
    preprocessing = "none"

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), 4, "here")

    def windows(self, audio: Tensor) -> Tensor:
        return audio[: len(audio) // 800 * 800].reshape(-1, 800)

    def network_output(self, windows: Tensor) -> Tensor:
        return windows.reshape(len(windows), 4, 200).square().mean(-1).log()


def test_summary_has_the_bootstrap_interval_of_the_files(folder: Path) -> None:
    result = evaluate_systems({"halved": halved}, find_audio(folder), sample_rate=RATE, channels=1)
    values = [row["mel_distance"] for row in result.rows]
    expected = bootstrap_interval(values, confidence=0.9, seed=3)
    found = result.summary(confidence=0.9, seed=3)[0]["mel_distance"]
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((np.mean(values), expected.low, expected.high))
    assert (found["num_values"], found["num_missing"]) == (4, 0)
    alone = ReconstructionResult(rows=result.rows[:1]).summary()[0]["mel_distance"]
    assert (alone["mean"], alone["low"], alone["high"]) == (values[0], None, None)


def test_every_file_lies_in_one_length_bin(folder: Path) -> None:
    result = evaluate_systems({"halved": halved}, find_audio(folder), sample_rate=RATE, channels=1)
    bins = result.by_length((0.75, 1.0))
    assert [(row["from_s"], row["to_s"], row["num_files"]) for row in bins] == [
        (0.0, 0.75, 1),
        (0.75, 1.0, 1),
        (1.0, None, 2),
    ]
    assert bins[1]["mel_distance"]["mean"] == result.rows[1]["mel_distance"]
    for wrong in ((), (1.0, 1.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="must rise"):
            result.by_length(wrong)


def test_a_figure_without_value_is_counted_and_explained(folder: Path) -> None:
    write(folder / "short.wav", noise(0.1, 9))
    items = find_audio(folder)
    result = evaluate_systems({"same": original}, items, sample_rate=RATE, channels=1, figures=["loudness_error_lu"])
    assert [(one["file"], one["figure"]) for one in result.undefined] == [("short.wav", "loudness_error_lu")]
    assert "shorter than" in result.undefined[0]["reason"]
    found = result.summary()[0]["loudness_error_lu"]
    assert (found["mean"], found["num_values"], found["num_missing"]) == (0.0, 4, 1)
    assert json.dumps(result.to_dict(), allow_nan=False)
    rows = list(csv.DictReader(io.StringIO(result.csv_text())))
    assert [row["loudness_error_lu"] for row in rows] == ["0", "0", "0", "0", ""]


def test_shares_are_weighted_by_their_denominators() -> None:
    rows = [
        {"system": "a", "file": "1", "seconds": 1.0, "wer": 1.0, "num_words": 1},
        {"system": "a", "file": "2", "seconds": 1.0, "wer": 0.0, "num_words": 9},
        {"system": "a", "file": "3", "seconds": 1.0, "wer": None, "num_words": 5},
    ]
    result = ReconstructionResult(rows=rows, figures=("wer",))
    assert result.means()[0]["wer"] == pytest.approx(0.1)
    found = result.summary()[0]["wer"]
    assert found["low"] <= found["mean"] <= found["high"]


def test_a_codec_tells_its_rates_its_speed_and_what_its_tokens_carry(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    items = find_audio(folder)[:2]
    result = evaluate_tokenizer(
        tiny_codec, items, options={"": {"steps": 1}}, figures=["si_sdr_db", "encode_rtf", "decode_rtf"]
    )
    assert all(row["encode_rtf"] > 0 and row["decode_rtf"] > 0 for row in result.rows)
    spec, codec = tiny_codec.spec, result.codec
    assert codec is not None
    assert codec["tokens_per_second"] == spec.token_rate_hz * spec.tokens_per_frame
    assert codec["bitrate_bps"] == spec.bitrate_bps
    tokens = []
    for item in items:
        audio = torch.from_numpy(soundfile.read(item.path, dtype="float32")[0])[None, None].expand(1, 2, -1)
        tokens.append(tiny_codec.encode(audio, RATE).tokens[0])
    expected = analyse_tokens(torch.cat(tokens), spec).to_dict()
    assert codec["tokens"]["entropy_bitrate_bps"] == pytest.approx(expected["entropy_bitrate_bps"], rel=0.05)
    num = sum(len(one) for one in tokens)
    assert codec["tokens"]["codebooks"][0]["num_tokens"] == num, "warming up and decoding twice counts nothing twice"


def test_frechet_distance_of_reconstructions_is_that_of_the_sets(folder: Path) -> None:
    items = find_audio(folder)
    result = evaluate_systems(
        {"same": original, "halved": halved}, items, sample_rate=RATE, channels=1, embedder=Bands()
    )
    assert result.frechet is not None
    assert result.frechet["metric"] == "fad_bands"
    assert result.frechet["values"]["same"] == pytest.approx(0, abs=1e-9)
    embedder, stats = Bands(), GaussianStatistics.empty(4, Bands().identity())
    import soxr

    for item in items:
        audio = soundfile.read(item.path, dtype="float32")[0]
        stats.update(embedder.embed(torch.from_numpy(soxr.resample(audio, RATE, 8000, "HQ"))).numpy())
    moved = GaussianStatistics(mean=stats.mean + 2 * np.log(0.5), scatter=stats.scatter, num=stats.num)
    moved.identity = stats.identity
    assert result.frechet["values"]["halved"] == pytest.approx(frechet_distance(stats, moved), rel=1e-4)


def test_frechet_distances_of_reconstructions_have_the_interval_of_their_files(folder: Path) -> None:
    items = find_audio(folder)
    systems = {"same": original, "halved": halved}
    result = evaluate_systems(systems, items, sample_rate=RATE, channels=1, embedder=Bands())
    ends = result.frechet_intervals(confidence=0.9, seed=3)
    assert list(ends) == ["same", "halved"]
    assert result.frechet is not None
    for name, (low, high) in ends.items():
        assert 0 <= low <= result.frechet["values"][name] <= high, "up to rounding of the value"  # type: ignore[operator]
    import soxr

    files = []
    for item in items:
        audio = soxr.resample(soundfile.read(item.path, dtype="float32")[0], RATE, 8000, "HQ")
        files.append(Bands().embed(torch.from_numpy(audio)).numpy().astype(float))
    reference, made = np.concatenate(files), [rows + 2 * np.log(0.5) for rows in files]
    expected = bootstrap_interval(
        made,
        lambda drawn: frechet_distance(reference, np.concatenate(drawn)),
        num_resamples=200,
        confidence=0.9,
        centre=True,
        bounds=(0.0, np.inf),
        seed=3,
    )
    assert ends["halved"] == pytest.approx((expected.low, expected.high), rel=1e-3)
    assert result.frechet_intervals(confidence=0.5)["halved"][0] > ends["halved"][0]  # type: ignore[operator]
    alone = evaluate_systems(systems, items[3:], sample_rate=RATE, channels=1, embedder=Bands())
    assert alone.frechet_intervals() == {"same": (None, None), "halved": (None, None)}
    assert evaluate_systems(systems, items, sample_rate=RATE, channels=1).frechet_intervals() == {}
