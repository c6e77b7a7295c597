import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from plain_bootstrap import plain_bootstrap
from token_analysis import analyse_tokens
from torch import Tensor, nn

from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.measure.codecs.evaluate import evaluate_systems, evaluate_tokenizer
from latentune.pipelines.measure.codecs.figures.distances import mel_distance
from latentune.pipelines.measure.codecs.lengths import by_length
from latentune.pipelines.measure.codecs.metrics import Case
from latentune.pipelines.measure.codecs.systems import original
from latentune.pipelines.measure.embedders.base import Embedder
from latentune.pipelines.measure.metrics.frechet import GaussianStatistics, frechet_distance
from latentune.pipelines.measure.results import FigureFacts, Resampling, csv_text, records, table_dict

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
    resampling = Resampling(confidence=0.9, seed=3)
    items = find_audio(folder)
    result = evaluate_systems({"halved": halved}, items, sample_rate=RATE, channels=1, resampling=resampling)
    values = [row["mel_distance"] for row in records(result)]
    expected = plain_bootstrap(values, confidence=0.9, seed=3)
    found = result.estimate("halved", "mel_distance")
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), *expected))
    assert (found.num_values, found.num_missing) == (4, 0)
    alone = evaluate_systems({"halved": halved}, items[:1], sample_rate=RATE, channels=1)
    found = alone.estimate("halved", "mel_distance")
    assert (found.value, found.low, found.high) == (pytest.approx(values[0]), None, None)


def test_every_file_lies_in_one_length_bin(folder: Path) -> None:
    result = evaluate_systems({"halved": halved}, find_audio(folder), sample_rate=RATE, channels=1)
    bins = by_length(result, (0.75, 1.0))
    assert [(row["from_s"], row["to_s"], row["num_files"]) for row in bins] == [
        (0.0, 0.75, 1),
        (0.75, 1.0, 1),
        (1.0, None, 2),
    ]
    assert bins[1]["mel_distance"]["mean"] == records(result)[1]["mel_distance"]
    for wrong in ((), (1.0, 1.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="must rise"):
            by_length(result, wrong)


def test_a_figure_without_value_is_counted_and_explained(folder: Path) -> None:
    write(folder / "short.wav", noise(0.1, 9))
    items = find_audio(folder)
    result = evaluate_systems({"same": original}, items, sample_rate=RATE, channels=1, figures=["loudness_error_lu"])
    assert [(one["file"], one["figure"]) for one in result.undefined] == [("short.wav", "loudness_error_lu")]
    assert "shorter than" in result.undefined[0]["reason"]
    found = result.estimate("same", "loudness_error_lu")
    assert (found.value, found.num_values, found.num_missing) == (0.0, 4, 1)
    assert json.dumps(table_dict(result), allow_nan=False)
    text = csv_text(["system", "file", "loudness_error_lu"], records(result))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["loudness_error_lu"] for row in rows] == ["0", "0", "0", "0", ""]


@dataclass(frozen=True)
class Rates:
    """A metric with given word error rates, by file."""

    values: dict[str, tuple[float | None, int]]
    facts: dict[str, FigureFacts] = field(default_factory=lambda: {"wer": FigureFacts(better="lower")})

    def measure(self, case: Case) -> dict[str, float | int | None]:
        wer, num_words = self.values[case.item.name]
        return {"wer": wer, "num_words": num_words}


def test_shares_are_weighted_by_their_denominators(folder: Path) -> None:
    rates = Rates({"0.wav": (1.0, 1), "1.wav": (0.0, 9), "2.wav": (None, 5), "3.wav": (None, 5)})
    items = find_audio(folder)
    result = evaluate_systems({"a": original}, items, sample_rate=RATE, channels=1, metrics=[rates])
    found = result.estimate("a", "wer")
    assert found.value == pytest.approx(0.1)
    assert found.num_missing == 2
    assert found.low <= found.value <= found.high  # type: ignore[operator]


def test_a_system_that_ignores_its_input_does_not_tell_files_apart(folder: Path) -> None:
    def coloured(number: int) -> Tensor:
        return torch.nn.functional.avg_pool1d(noise(1.0, number)[None], 2 * number + 1, 1, number)[0]

    for number in range(4):  # each file has a spectrum of its own
        write(folder / f"{number}.wav", coloured(2 * number))
    systems = {
        "near": lambda audio, rate: audio + 0.003 * noise(1.0, 9),
        "far": lambda audio, rate: audio + 0.03 * noise(1.0, 9),
        "deaf": lambda audio, rate: noise(1.0, 9),
        "same": original,
    }
    result = evaluate_systems(
        systems, find_audio(folder), sample_rate=RATE, channels=1, figures=["other_own_ratio", "other_mel_distance"]
    )
    ratios = {name: result.estimate(name, "other_own_ratio").value for name in systems}
    assert ratios["near"] > ratios["far"] > 1.2  # type: ignore[operator]
    assert ratios["deaf"] == pytest.approx(1.0)
    assert ratios["same"] is None
    assert "original's spectrum" in result.undefined[-1]["reason"]
    alone = evaluate_systems(
        {"same": halved}, find_audio(folder)[:1], sample_rate=RATE, channels=1, figures=["other_own_ratio"]
    )
    assert "no other file" in alone.undefined[0]["reason"]


def test_the_other_original_is_the_next_that_can_be_read(folder: Path) -> None:
    (folder / "1.wav").write_bytes(b"RIFF")
    write(folder / "2.wav", 0 * noise(1.0, 0))
    items = find_audio(folder)
    figures = ["mel_distance", "other_mel_distance"]
    result = evaluate_systems({"same": original}, items, sample_rate=RATE, channels=1, figures=figures)
    first, last = (torch.from_numpy(soundfile.read(items[n].path, dtype="float32")[0])[None] for n in (0, 3))
    expected = float(mel_distance(last[:, : first.shape[-1]], first, RATE))
    assert records(result)[0]["other_mel_distance"] == pytest.approx(expected)
    assert [one["path"] for one in result.failures] == [str(folder / "1.wav")]


def test_the_seam_is_measured_at_the_codecs_own_borders(folder: Path) -> None:
    write(folder / "4.wav", noise(3.0, 4))

    def torn(audio: Tensor, sample_rate: int) -> Tensor:
        made = audio.clone()
        made[:, 1000 - 100 :: 1000] += 2.0
        return made

    items = find_audio(folder)
    options: dict[str, Any] = {"sample_rate": RATE, "channels": 1, "figures": ["seam_db"]}
    result = evaluate_systems({"torn": torn, "same": original}, items, chunk=(1000, 100), **options)
    torn_db, same_db = (result.estimate(name, "seam_db").value for name in ("torn", "same"))
    assert torn_db > 5  # type: ignore[operator]
    assert abs(same_db) < 2  # type: ignore[arg-type]
    for chunk in (None, (64, 0)):
        options["figures"] = ["seam_db", "mel_distance"]
        result = evaluate_systems({"torn": torn}, items, chunk=chunk, **options)
        assert "no chunks" in result.facts["absent_figures"]["seam_db"]
        assert list(result.figures) == ["mel_distance"]


def test_a_codec_tells_its_rates_its_speed_and_what_its_tokens_carry(folder: Path, tiny_codec) -> None:  # type: ignore[no-untyped-def]
    items = find_audio(folder)[:2]
    result = evaluate_tokenizer(
        tiny_codec, items, options={"": {"steps": 1}}, figures=["si_sdr_db", "encode_rtf", "decode_rtf"]
    )
    assert all(row["encode_rtf"] > 0 and row["decode_rtf"] > 0 for row in records(result))
    spec, codec = tiny_codec.spec, result.facts["codec"]
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


def windows_of(path: Path) -> NDArray[Any]:
    """Embeddings [n, 4] of a file, of windows that overlap by half and cover it whole."""
    import soxr

    audio = torch.from_numpy(soxr.resample(soundfile.read(path, dtype="float32")[0], RATE, 8000, "HQ"))
    starts = np.linspace(0, len(audio) - 800, max(1, math.ceil((len(audio) - 800) / 400) + 1)).round().astype(int)
    return np.concatenate([Bands().embed(audio[start : start + 800]).numpy() for start in starts])


def test_frechet_distance_of_reconstructions_is_that_of_the_sets(folder: Path) -> None:
    items = find_audio(folder)
    result = evaluate_systems(
        {"same": original, "halved": halved}, items, sample_rate=RATE, channels=1, embedder=Bands()
    )
    assert result.facts["frechet"]["metric"] == "fad_bands"
    assert result.estimate("same", "fad_bands").value == pytest.approx(0, abs=1e-9)
    stats = GaussianStatistics.empty(4, Bands().identity())
    for item in items:
        stats.update(windows_of(item.path))
    assert result.facts["frechet"]["num_windows"] == stats.num
    moved = GaussianStatistics(mean=stats.mean + 2 * np.log(0.5), scatter=stats.scatter, num=stats.num)
    moved.identity = stats.identity
    assert result.estimate("halved", "fad_bands").value == pytest.approx(frechet_distance(stats, moved), rel=1e-4)


def test_frechet_distances_of_reconstructions_have_the_interval_of_their_files(folder: Path) -> None:
    items = find_audio(folder)
    systems = {"same": original, "halved": halved}
    options: dict[str, Any] = {"sample_rate": RATE, "channels": 1, "embedder": Bands()}
    result = evaluate_systems(systems, items, resampling=Resampling(confidence=0.9, seed=3), **options)
    for name in systems:
        found = result.estimate(name, "fad_bands")
        assert 0 <= found.low <= found.value <= found.high  # type: ignore[operator]
    files = [windows_of(item.path).astype(float) for item in items]
    reference, made = np.concatenate(files), [rows + 2 * np.log(0.5) for rows in files]
    expected = plain_bootstrap(
        made,
        lambda drawn: frechet_distance(reference, np.concatenate(drawn)),
        num_resamples=200,
        confidence=0.9,
        centre=True,
        bounds=(0.0, np.inf),
        seed=3,
    )
    found = result.estimate("halved", "fad_bands")
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-3)
    narrow = evaluate_systems(systems, items, resampling=Resampling(confidence=0.5, seed=3), **options)
    assert narrow.estimate("halved", "fad_bands").low > found.low  # type: ignore[operator]
    alone = evaluate_systems(systems, items[3:], **options)
    for name in systems:
        one = alone.estimate(name, "fad_bands")
        assert (one.low, one.high) == (None, None)
    assert "frechet" not in evaluate_systems(systems, items, sample_rate=RATE, channels=1).facts
