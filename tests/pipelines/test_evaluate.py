import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from latentune.core.errors import AudioError, CheckpointError, ConfigError, MismatchError
from latentune.core.settings import load_config
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.measure.embedders import Embedder
from latentune.pipelines.measure.results import ResultsTable

RATE = 8000
DIM = 4


class FakeEmbedder(Embedder):
    """Linear in the samples of a window of 0.1 s, so that the distance can be computed by hand."""

    name = "fake"
    overlap = 0.0
    sample_rate = RATE
    window_samples = 800
    preprocessing = "none"

    def __init__(self, seed: int = 0) -> None:
        network = nn.Linear(self.window_samples, DIM, bias=False)
        nn.init.normal_(network.weight, generator=torch.Generator().manual_seed(seed))
        super().__init__(network, dim=DIM, source=f"seed {seed}")
        self.batches: list[int] = []

    def windows(self, audio: Tensor) -> Tensor:
        if len(audio) < self.window_samples:
            audio = audio.repeat(math.ceil(self.window_samples / len(audio)))[: self.window_samples]
        num = len(audio) // self.window_samples
        return audio[: num * self.window_samples].reshape(num, -1)

    def network_output(self, windows: Tensor) -> Tensor:
        self.batches.append(len(windows))
        return self.network(windows)


def write(folder: Path, num: int = 4, *, scale: float = 0.1, seed: int = 0, seconds: float = 0.55) -> Path:
    """`num` wavs of noise of growing length."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(num):
        audio = scale * rng.normal(size=round(RATE * seconds) + 400 * number)
        soundfile.write(folder / f"{number}.wav", audio, RATE, subtype="FLOAT")
    return folder


def run(reference: object, generated: object, embedder: Embedder | None = None, **settings: object) -> ResultsTable:
    config = EvaluateConfig(reference=str(reference), generated=str(generated), **settings)  # type: ignore[arg-type]
    return evaluate(config, embedder=embedder or FakeEmbedder())


def side(result: ResultsTable, name: str = "generated") -> dict[str, Any]:
    """The summary of a set."""
    return dict(result.facts[name])


def test_the_distance_is_that_of_the_windows_of_all_files(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", 3, scale=0.2, seed=1)
    result = run(real, made)
    embedder = FakeEmbedder()
    sides = []
    for folder in (real, made):
        audio = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in sorted(folder.iterdir())]
        sides.append(torch.cat([embedder.embed(one) for one in audio]).double().numpy())
    means, covariances = [s.mean(0) for s in sides], [np.cov(s, rowvar=False) for s in sides]
    values = np.linalg.eigvals(covariances[0] @ covariances[1]).real
    by_hand = np.square(means[0] - means[1]).sum() + np.trace(sum(covariances)) - 2 * np.sqrt(values).sum()
    assert result.value == pytest.approx(by_hand, rel=1e-5)
    assert result.metric == "fad_fake"
    assert result.facts["embedder"] == embedder.identity()
    assert result.facts["weights"] == "seed 0"
    assert (side(result, "reference")["num_files"], side(result, "reference")["num_windows"]) == (4, len(sides[0]))
    assert (side(result)["num_files"], side(result)["num_windows"]) == (3, len(sides[1]))
    assert result.warnings == []


def test_the_same_audio_has_no_distance_and_worse_audio_more(tmp_path: Path) -> None:
    real = write(tmp_path / "real", 8)
    near, far = write(tmp_path / "near", 8, scale=0.11), write(tmp_path / "far", 8, scale=0.5)
    assert run(real, real).value < 1e-9
    assert 0 < run(real, near).value < run(real, far).value
    assert run(real, far).value == pytest.approx(run(far, real).value)


def test_neither_batch_size_nor_the_order_of_files_matters(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", seed=1)
    embedder = FakeEmbedder()
    expected = run(real, made, embedder, batch_size=7)
    assert set(embedder.batches[:3]) == {7}, "batches hold windows of several files"
    assert run(real, made, batch_size=1).value == pytest.approx(expected.value, rel=1e-6)
    names = ["2.wav", "0.wav", "3.wav", "1.wav"]
    (real / "list.jsonl").write_text("".join(json.dumps({"path": name}) + "\n" for name in names))
    assert run(real / "list.jsonl", made, batch_size=7).value == expected.value


def test_channels_and_rates_are_converted(tmp_path: Path) -> None:
    real = write(tmp_path / "real")
    (tmp_path / "stereo").mkdir()
    for path in real.iterdir():
        audio, _ = soundfile.read(path)
        other = np.random.default_rng(1).normal(size=len(audio))
        soundfile.write(tmp_path / "stereo" / path.name, np.stack([audio + other, audio - other], 1), RATE, "DOUBLE")
    assert run(real, tmp_path / "stereo").value < 1e-6
    (tmp_path / "fast").mkdir()
    soundfile.write(tmp_path / "fast" / "x.wav", 0.1 * np.random.default_rng(2).normal(size=16_000), 2 * RATE)
    assert side(run(real, tmp_path / "fast"))["num_windows"] == 10


def test_saved_statistics_stand_for_the_folder(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", seed=1)
    stats = tmp_path / "new" / "real.safetensors"
    expected = run(real, made, save_statistics=str(stats))
    again = run(stats, made)
    assert again.value == expected.value
    assert (side(again, "reference")["num_files"], side(again, "reference")["num_windows"]) == (
        0,
        side(expected, "reference")["num_windows"],
    )
    with pytest.raises(MismatchError, match="weights_sha256"):
        run(stats, made, FakeEmbedder(seed=1))
    with pytest.raises(ConfigError, match="statistics already"):
        run(stats, made, save_statistics=str(tmp_path / "x.safetensors"))
    with pytest.raises(CheckpointError, match="no saved statistics"):
        run(tmp_path / "none.safetensors", made)


def test_unreadable_files_are_listed_and_counted(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", seed=1)
    expected = run(real, made)
    (made / "9.wav").write_bytes(b"RIFF nothing")
    soundfile.write(made / "nan.wav", np.full(900, np.nan), RATE, subtype="FLOAT")
    soundfile.write(made / "empty.wav", np.zeros(0), RATE)
    result = run(real, made)
    assert result.value == expected.value
    assert [Path(failure["path"]).name for failure in side(result)["failures"]] == [
        "9.wav",
        "empty.wav",
        "nan.wav",
    ]
    assert all(failure["reason"] for failure in side(result)["failures"])
    assert any("3 files could not be measured" in line for line in result.warnings)


class Overflowing(FakeEmbedder):
    """Squares what it sees, as a power spectrum does."""

    def network_output(self, windows: Tensor) -> Tensor:
        return super().network_output(windows * windows)


def test_a_file_whose_embeddings_overflow_is_left_out_with_its_reason(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", seed=1)
    expected = run(real, made, Overflowing())
    write(made / "huge", 1, scale=1e30)
    result = run(real, made, Overflowing())
    assert result.value == expected.value
    [failure] = side(result)["failures"]
    assert "embeddings hold NaN or inf: have a peak above" in failure["reason"]


def test_a_source_that_is_not_there_is_found_before_anything_is_embedded(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(write(tmp_path / "real"), tmp_path / "nowhere", embedder)
    assert not embedder.batches


def test_short_and_silent_files_are_measured_and_reported(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", seed=1)
    soundfile.write(made / "short.wav", 0.1 * np.ones(5), RATE)
    soundfile.write(made / "silent.wav", np.zeros(1600), RATE)
    result = run(real, made)
    assert (
        side(result)["num_repeated"],
        side(result)["num_silent"],
        side(result)["num_files"],
    ) == (1, 1, 6)
    assert side(result)["num_windows"] == side(run(real, write(tmp_path / "made", seed=1)))["num_windows"]
    assert any("shorter than a window" in line for line in result.warnings)
    assert any("1 of 6 files are silent" in line for line in result.warnings)


def test_few_windows_are_warned_of(tmp_path: Path) -> None:
    real, few = write(tmp_path / "real", 4), write(tmp_path / "few", 1, seconds=0.7)
    (warning,) = run(real, few).warnings
    assert warning.startswith("generated: 7 windows are too few, 8 are enough for the 4 dimensions")
    assert run(real, write(tmp_path / "enough", 1, seconds=0.8)).warnings == []


def test_files_can_be_limited_and_filtered(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real", 4), write(tmp_path / "made", seed=1)
    assert side(run(real, made, max_files=2), "reference")["num_files"] == 2
    assert side(run(real, made, max_duration_s=0.2), "reference")["num_windows"] == 8
    rows = [{"path": f"{n}.wav", "split": "test" if n else "train"} for n in range(4)]
    (real / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert side(run(real / "list.jsonl", made, reference_where={"split": "test"}), "reference")["num_files"] == 3


def test_the_result_is_written_as_json(tmp_path: Path) -> None:
    real, made = write(tmp_path / "real"), write(tmp_path / "made", seed=1)
    result = run(real, made, output=str(tmp_path / "out" / "result.json"))
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result.to_dict()


def test_bad_input_is_refused(tmp_path: Path) -> None:
    real = write(tmp_path / "real")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no audio in"):
        run(real, tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no audio at"):
        run(tmp_path / "none", real)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.wav").write_bytes(b"nothing")
    with pytest.raises(AudioError, match="none of 1 audio files"):
        run(real, tmp_path / "broken")
    with pytest.raises(ValueError, match="needs at least 2"):
        run(real, write(tmp_path / "one", 1, seconds=0.1))
    for settings in (
        {"max_files": 0},
        {"batch_size": -1},
        {"max_duration_s": 0.0},
        {"window_overlap": 1.0},
        {"save_statistics": "x.npz"},
    ):
        with pytest.raises(ConfigError):
            run(real, real, **settings)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        run(real, real, output=str(tmp_path / "file" / "result.json"))
    for settings in ({"output": str(tmp_path)}, {"csv": str(tmp_path)}, {"html": str(tmp_path)}):
        with pytest.raises(OSError, match="Is a directory"):
            run(tmp_path / "nothing is read before", real, **settings)


def test_musicnn_is_the_default_and_orders_degradations(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    time_s = np.arange(16_000 * 7) / 16_000
    for folder in ("real", "same", "noisy"):
        (tmp_path / folder).mkdir()
    for number in range(3):

        def chord(seed: int) -> np.ndarray:
            notes = 220 * 2 ** (np.random.default_rng(seed).integers(0, 24, 4) / 12)
            return 0.05 * sum(np.sin(2 * np.pi * note * time_s) for note in notes)

        soundfile.write(tmp_path / "real" / f"{number}.wav", chord(number), 16_000)
        soundfile.write(tmp_path / "same" / f"{number}.wav", chord(number + 10), 16_000)
        soundfile.write(
            tmp_path / "noisy" / f"{number}.wav", chord(number) + 0.2 * rng.normal(size=len(time_s)), 16_000
        )
    real = str(tmp_path / "real")
    same = evaluate(EvaluateConfig(reference=real, generated=str(tmp_path / "same"), device="cpu"))
    noisy = evaluate(EvaluateConfig(reference=real, generated=str(tmp_path / "noisy"), device="cpu"))
    assert same.metric == "fad_musicnn"
    assert same.facts["reference"]["num_windows"] == 3 * 4
    assert same.facts["embedder"]["overlap"] == 0.5
    settings = {"reference": real, "generated": str(tmp_path / "same"), "device": "cpu", "window_overlap": 0.0}
    apart = evaluate(EvaluateConfig(**settings))  # type: ignore[arg-type]
    assert apart.facts["reference"]["num_windows"] == 3 * 2
    assert 0 < same.value < noisy.value
    assert "12 windows are too few, 800 are enough for the 200" in same.warnings[0]
    assert "6 windows are too few, 400 are enough" in apart.warnings[0]


@pytest.mark.parametrize(
    "path", sorted((files("latentune.configs") / "evaluate").iterdir(), key=str), ids=lambda p: p.name
)
def test_every_shipped_config_is_one_of_evaluate(path: Path) -> None:
    given = ["reference=a", "generated=b", "clap_checkpoint=null" if "musicnn" in path.name else "clap_checkpoint=x.pt"]
    config = load_config(EvaluateConfig, path, given)
    assert config.embedder == path.stem
