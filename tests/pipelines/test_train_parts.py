"""The parts of the training loop: crops, order, learning rate, averaged weights, optimiser state, checkpoints."""

import itertools
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from latentune.core.errors import CheckpointError, ConfigError, TrainingError
from latentune.pipelines.training.audio_data import AudioCrops, open_audio
from latentune.pipelines.training.config import AudioDataConfig, OptimizerConfig, ScheduleConfig
from latentune.pipelines.training.ema import AveragedModel
from latentune.pipelines.training.loader import fixed_batches, micro_batches
from latentune.pipelines.training.log import Averages, MetricsLog
from latentune.pipelines.training.optim import (
    build_optimizer,
    learning_rate_factor,
    load_optimizer_tensors,
    optimizer_tensors,
)

RATE = 8000
CROP = 800


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 0.5, 1 and 2 s whose samples tell their place, one shorter than a crop, and two broken ones."""
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


# ---------------------------------------------------------------------- crops of audio


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
    with pytest.raises(TrainingError, match=r"cannot be now: .*a\.wav: no such file"):
        crops.load(0)


# ---------------------------------------------------------------------- the order of examples


class Numbers:
    """Examples that are their own number."""

    def __init__(self, fail_at: int | None = None):
        self.fail_at, self.loaded = fail_at, 0

    def keys(self, samples_seen: int) -> Any:
        return itertools.count(samples_seen)

    def load(self, key: int) -> int:
        self.loaded = max(self.loaded, key)
        if key == self.fail_at:
            raise TrainingError(f"example {key} is broken")
        return key

    def collate(self, examples: list[int]) -> list[int]:
        return examples


def take(count: int, **options: Any) -> list[list[int]]:
    batches = micro_batches(Numbers(), **options)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def test_batches_follow_one_order_from_any_step_on() -> None:
    whole = take(6, first_step=0, batch_size=4, parts=2, num_threads=3)
    assert list(itertools.chain(*whole)) == list(range(12))
    assert take(2, first_step=2, batch_size=4, parts=2, num_threads=2) == whole[4:]


@pytest.mark.parametrize(("world_size", "parts"), [(1, 1), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_processes_and_parts_share_a_step_without_gap_or_overlap(world_size: int, parts: int) -> None:
    shares = [
        take(parts, first_step=3, batch_size=8, parts=parts, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert sorted(itertools.chain(*itertools.chain(*shares))) == list(range(24, 32))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 6 cannot be shared evenly by 2 process"):
        take(1, first_step=0, batch_size=6, parts=2, world_size=2)


def test_reading_ahead_is_bounded() -> None:
    examples = Numbers()
    batches = micro_batches(examples, first_step=0, batch_size=2, parts=1, prefetch_batches=3)
    next(batches)
    batches.close()
    assert examples.loaded <= 5


def test_an_example_that_fails_stops_the_loop_at_its_batch() -> None:
    batches = micro_batches(Numbers(fail_at=3), first_step=0, batch_size=2, parts=1, prefetch_batches=4)
    assert next(batches) == [0, 1]
    with pytest.raises(TrainingError, match="example 3"):
        next(batches)


def test_held_out_batches_hold_each_example_once() -> None:
    assert list(fixed_batches(Numbers(), 5, 2)) == [[0, 1], [2, 3], [4]]


# ---------------------------------------------------------------------- optimiser


def test_the_learning_rate_rises_then_falls() -> None:
    config = ScheduleConfig(kind="cosine", warmup_steps=4, final_lr_ratio=0.1)
    factors = [learning_rate_factor(step, 20, config) for step in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(a >= b for a, b in itertools.pairwise(factors[4:]))
    assert factors[-1] == pytest.approx(0.1)
    constant = ScheduleConfig(kind="constant", warmup_steps=2)
    assert [learning_rate_factor(step, 5, constant) for step in range(5)] == [0.5, 1, 1, 1, 1]


def test_a_constant_rate_decays_in_the_last_steps_whatever_their_number() -> None:
    config = ScheduleConfig(kind="constant_decay", warmup_steps=2, decay_steps=4, final_lr_ratio=0.2)
    short, long = ([learning_rate_factor(step, steps, config) for step in range(steps)] for steps in (10, 14))
    assert short == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert long == pytest.approx([0.5, *[1] * 9, 0.8, 0.6, 0.4, 0.2])  # the same but for more constant steps
    never = ScheduleConfig(kind="constant_decay")
    assert [learning_rate_factor(step, 3, never) for step in range(3)] == [1, 1, 1]
    with pytest.raises(ValueError, match="decay_steps belongs to kind constant_decay"):
        ScheduleConfig(decay_steps=4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_as_short_as_its_warm_up_has_a_learning_rate(steps: int) -> None:
    config = ScheduleConfig(warmup_steps=2)
    assert all(0 < learning_rate_factor(step, steps, config) <= 1 for step in range(steps))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    model(torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", ["adamw", "radam"])
def test_the_optimisers_state_survives_as_named_tensors(name: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    config = OptimizerConfig(name=name, lr=0.01, weight_decay=0.1)
    model = network()
    optimizer = build_optimizer(model, config)
    for seed in range(7):
        step(model, optimizer, seed)
    save_file(optimizer_tensors(optimizer, model), tmp_path / "o.safetensors")
    twin = network()
    twin.load_state_dict(model.state_dict())
    restored = build_optimizer(twin, config)
    load_optimizer_tensors(restored, twin, load_file(tmp_path / "o.safetensors"))
    for seed in range(7, 12):
        step(model, optimizer, seed)
        step(twin, restored, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_the_state_of_another_model_is_refused() -> None:
    model = network()
    optimizer = build_optimizer(model, OptimizerConfig())
    with pytest.raises(CheckpointError, match="of another model: it has elsewhere"):
        load_optimizer_tensors(optimizer, model, {"elsewhere/exp_avg": torch.zeros(1)})


def test_weight_decay_spares_biases_and_gains() -> None:
    model = network()
    groups = build_optimizer(model, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 2), (0.0, 4)]


def test_averaged_weights_follow_the_formula() -> None:
    model: Any = network()
    averaged = AveragedModel(model, 0.5)
    expected = [p.detach().clone() for p in model.parameters()]
    for number in range(12):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        averaged.update(model, number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, model.parameters(), strict=True)]
    for average, value in zip(averaged.model.parameters(), expected, strict=True):
        torch.testing.assert_close(average, value)
        assert not average.requires_grad


# ---------------------------------------------------------------------- figures


def test_averages_are_weighted_and_start_anew() -> None:
    averages = Averages()
    averages.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, weight=3)
    averages.add({"a": torch.tensor(5.0)}, weight=1)
    assert averages.take() == {"a": 2.0, "b": 5.0}
    assert averages.take() == {}


def test_a_resumed_log_forgets_the_steps_that_are_done_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    for number in range(1, 5):
        log.write(number, {"loss": number if number > 1 else math.nan})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # a kill cut this line
    MetricsLog(tmp_path, 2).close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": None}, {"step": 2, "loss": 2}]


def test_figures_are_logged_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    log = MetricsLog(tmp_path, 0)
    log.write(1, {"loss": 2.0})
    log.audio(1, "preview", torch.zeros(1, 8), RATE)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
