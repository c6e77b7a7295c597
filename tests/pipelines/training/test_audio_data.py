"""Random crops of audio files, read directly or from the cache."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from latentune.core.errors import ConfigError, TrainingError
from latentune.pipelines.training.audio_data import AudioCrops, open_audio
from latentune.pipelines.training.data_config import AudioDataConfig

RATE = 8000
CROP = 800


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 0.5, 1 and 2 s whose samples are their own positions, one shorter than a crop, and two broken ones."""
    folder = tmp_path_factory.mktemp("audio")
    rows = []
    for number, (name, seconds) in enumerate({"a": 0.5, "b": 1.0, "c": 2.0, "short": 0.05}.items()):
        ramp = np.arange(round(seconds * RATE), dtype=np.int16) + 1
        stereo = np.stack([ramp, ramp], 1) if number % 2 else ramp
        soundfile.write(folder / f"{name}.wav", stereo, RATE, subtype="PCM_16")
        rows.append({"path": f"{name}.wav", "kind": "ab"[number % 2], "split": "train"})
    (folder / "noise.wav").write_bytes(b"not audio" * 20)
    rows += [{"path": "noise.wav", "kind": "a", "split": "train"}, {"path": "gone.wav", "kind": "a", "split": "train"}]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def open_crops(folder: Path, seed: int = 0, augment: bool = True, **options: Any) -> AudioCrops:
    config = AudioDataConfig(source=str(folder / "manifest.jsonl"), **options)
    return AudioCrops(open_audio(config, RATE, 1), config, CROP, seed, augment)


def test_a_crop_depends_on_seed_and_number_alone(audio_folder: Path) -> None:
    options = {"gain_db": (-6.0, 3.0), "mix_probability": 0.5}
    first, again, other = (open_crops(audio_folder, seed, **options) for seed in (0, 0, 1))
    ahead = [first.load(number) for number in range(8)]
    backwards = [again.load(number) for number in reversed(range(8))][::-1]
    assert all(torch.equal(a, b) and x == y for (a, x), (b, y) in zip(ahead, backwards, strict=True))
    assert [name for _, name in ahead] != [other.load(number)[1] for number in range(8)]


def test_a_crop_is_a_piece_of_its_file(audio_folder: Path) -> None:
    crops = open_crops(audio_folder)
    starts = set()
    for number in range(60):
        audio, name = crops.load(number)
        file, start = name.split(" at ")
        samples = (audio[0] * 32768).round().int()
        real = samples[samples > 0]
        assert audio.shape == (1, CROP)
        assert torch.equal(real, torch.arange(len(real), dtype=torch.int32) + int(start) + 1)
        # an item that is shorter than a crop is whole and has silence around it
        assert len(real) == (RATE // 20 if file == "short.wav" else CROP)
        starts.add((file, start))
    assert {file for file, _ in starts} == {"a.wav", "b.wav", "c.wav", "short.wav"}
    assert len(starts) > 50


def test_files_are_drawn_by_duration_and_groups_by_weight(audio_folder: Path) -> None:
    def kinds(**options: Any) -> Counter[str]:
        crops = open_crops(audio_folder, **options)
        return Counter("a" if crops.load(n)[1][0] in "ac" else "b" for n in range(600))

    # seconds: group a has 2.5, group b has 1.05
    assert kinds()["a"] / 600 == pytest.approx(2.5 / 3.55, abs=0.06)
    assert kinds(weight_column="kind")["a"] / 600 == pytest.approx(0.5, abs=0.06)
    assert kinds(weight_column="kind", weights={"a": 1, "b": 4})["a"] / 600 == pytest.approx(0.2, abs=0.06)
    assert kinds(weight_column="kind", weights={"b": 1})["a"] == 0


def test_gain_and_mixing_are_for_training_only(audio_folder: Path) -> None:
    options = {"gain_db": (6.0, 6.0), "mix_probability": 1.0}
    plain, clean = open_crops(audio_folder), open_crops(audio_folder, augment=False, **options)
    loud = open_crops(audio_folder, gain_db=(6.0, 6.0))
    mixed = open_crops(audio_folder, **options)
    assert torch.equal(plain.load(5)[0], clean.load(5)[0])
    torch.testing.assert_close(loud.load(5)[0], plain.load(5)[0] * 10 ** (6 / 20))
    assert " + " in mixed.load(5)[1]
    assert mixed.load(5)[0].abs().sum() > loud.load(5)[0].abs().sum()


def test_a_speed_changes_how_much_of_a_file_a_crop_holds(audio_folder: Path) -> None:
    plain, fast = open_crops(audio_folder), open_crops(audio_folder, speed=(1.25, 1.25), speed_probability=1.0)
    seen = 0
    for number in range(20):
        audio, name = fast.load(number)
        assert audio.shape == (1, CROP)
        if not name.startswith("short"):  # the ramp of a file rises by 1.25 per sample
            steps = (audio[0, 100:-100] * 32768).diff()
            assert float(steps.mean()) == pytest.approx(1.25, rel=0.01)
            seen += 1
    assert seen > 10
    assert torch.equal(fast.load(3)[0], fast.load(3)[0])
    clean = open_crops(audio_folder, augment=False, speed=(1.25, 1.25), speed_probability=1.0)
    assert torch.equal(clean.load(3)[0], plain.load(3)[0])
    never = open_crops(audio_folder, speed=(1.25, 1.25), speed_probability=0.0)
    assert float((never.load(3)[0][0, 100:-100] * 32768).diff().mean()) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": (1.2, 0.8)}, r"speed must be \(lowest, highest\)"),
        ({"speed": (0.0, 1.0)}, "speed must be above 0"),
        ({"speed_probability": 1.5}, "speed_probability must lie in 0..1"),
    ],
)
def test_speeds_that_cannot_be(audio_folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_crops(audio_folder, **options)


def test_the_cache_holds_what_the_files_hold(audio_folder: Path, tmp_path: Path) -> None:
    plain, cached = open_crops(audio_folder), open_crops(audio_folder, cache_dir=str(tmp_path))
    assert plain.store.failures[0][0] == cached.store.failures[0][0]
    assert list(plain.store.lengths) == list(cached.store.lengths)
    for number in range(20):
        (a, x), (b, y) = plain.load(number), cached.load(number)
        assert x == y
        torch.testing.assert_close(a, b, atol=1 / 32000, rtol=0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.i16")}
    open_crops(audio_folder, cache_dir=str(tmp_path))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.i16")}
    assert len(before) == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("cached", [False, True])
def test_files_that_cannot_be_read_are_told_and_left_out(
    audio_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, cached: bool
) -> None:
    crops = open_crops(audio_folder, cache_dir=str(tmp_path) if cached else None)
    assert [Path(path).name for path, _ in crops.store.failures] == ["noise.wav", "gone.wav"]
    assert "2 of 6 audio files" in caplog.text
    assert "gone.wav: no such file" in caplog.text
    assert len(crops.store.items) == 4


def test_short_files_can_be_left_out(audio_folder: Path) -> None:
    assert [item.name for item in open_crops(audio_folder, min_duration_s=0.9).store.items] == ["b.wav", "c.wav"]


def test_nothing_to_train_on_is_an_error(audio_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="all 4 files are shorter than 9 s"):
        open_crops(audio_folder, min_duration_s=9)
    (tmp_path / "broken.wav").write_bytes(b"not audio")
    with pytest.raises(TrainingError, match="none of the 1 audio files"):
        open_audio(AudioDataConfig(source=str(tmp_path)), RATE, 1)
    with pytest.raises(ValueError, match=r"no row of .* has kind = 'z'"):
        open_crops(audio_folder, where={"kind": "z"})
    with pytest.raises(ConfigError, match=r"weights names 'z'.*known: a, b"):
        open_crops(audio_folder, weight_column="kind", weights={"z": 1})


def test_a_file_that_vanishes_during_training_stops_the_run(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    config = AudioDataConfig(source=str(tmp_path))
    crops = AudioCrops(open_audio(config, RATE, 1), config, CROP, 0)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(TrainingError, match=r"100 crops in a row could not be read: .*a\.wav: no such file"):
        crops.load(0)


def test_a_truncated_file_is_named_and_its_crops_are_drawn_again(tmp_path: Path, caplog: Any) -> None:
    rng = np.random.default_rng(0)
    for name in ("whole.flac", "cut.flac"):
        soundfile.write(tmp_path / name, rng.uniform(-0.3, 0.3, 6 * RATE), RATE)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 3])
    config = AudioDataConfig(source=str(tmp_path))
    crops = AudioCrops(open_audio(config, RATE, 1), config, CROP, 0)
    drawn = [crops.load(number) for number in range(40)]
    assert list(crops.unreadable) == [tmp_path / "cut.flac"]
    assert [record.getMessage() for record in caplog.records] == [
        f"crops that cannot be read are replaced, in 1 of 2 files so far: {crops.unreadable[tmp_path / 'cut.flac']}"
    ]
    resumed = AudioCrops(open_audio(config, RATE, 1), config, CROP, 0)
    assert all(torch.equal(resumed.load(number)[0], drawn[number][0]) for number in range(20, 40))


def test_segments_of_a_manifest_are_what_is_drawn_from(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.arange(RATE, dtype=np.int16) + 1, RATE)
    row = {"path": "a.wav", "offset": 0.25, "duration": 0.25}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    for options in ({}, {"cache_dir": str(tmp_path / "cache")}):
        config = AudioDataConfig(source=str(tmp_path / "m.jsonl"), **options)
        crops = AudioCrops(open_audio(config, RATE, 1), config, CROP, 0)
        values = torch.cat([crops.load(number)[0][0] for number in range(40)]) * 32767
        real = values[values > 0.5]
        assert crops.store.lengths.tolist() == [RATE // 4]
        assert RATE // 4 <= float(real.min()) <= float(real.max()) <= RATE // 2 + 1
