"""NeuCodec's training: the terms of each stage, what learns in it, distillation, and a run of the one loop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError, MismatchError
from latentune.core.objective import AudioBatch
from latentune.core.settings import load_settings
from latentune.layers.audio import to_rate
from latentune.pipelines.train import train, train_config
from latentune.pipelines.training.objectives import build_objective
from latentune.tokenizers.neucodec import DistillNeuCodec, DistillNeuCodecConfig, NeuCodec, NeuCodecConfig
from latentune.tokenizers.neucodec.discriminators import CriticConfig
from latentune.tokenizers.neucodec.objective import NeuCodecObjective
from latentune.tokenizers.neucodec.objective_config import NeuCodecObjectiveConfig

RATE = 24000
SMALL: dict[str, Any] = {
    "crop_s": 0.1,
    "mel_windows_samples": (64, 256),
    "mel_bands": (10, 40),
    "critic": CriticConfig(
        periods=(2, 3), period_filters=2, period_max_filters=8, window_samples=(78, 206), spectrum_filters=4
    ),
}


def codec(cls: type[NeuCodec] = NeuCodec, **changes: Any) -> NeuCodec:
    torch.manual_seed(0)
    return cls(replace(cls.config_class.tiny(), **changes))


def make(model: NeuCodec, **options: Any) -> tuple[NeuCodecObjective, AudioBatch]:
    objective = NeuCodecObjective(NeuCodecObjectiveConfig(**{**SMALL, **options}), model.settings)
    objective.prepare(model)
    time = torch.arange(objective.num_samples) / RATE
    audio = 0.1 * torch.stack([torch.sin(2 * torch.pi * f * time) for f in (300.0, 1200.0)])
    return objective, AudioBatch(audio=audio[:, None], ids=["a", "b"])


def loss_of(objective: NeuCodecObjective, model: NeuCodec, batch: AudioBatch, step: int = 0) -> tuple[Any, ...]:
    torch.manual_seed(1)  # the decoder drops out
    return objective.model_loss(model, batch, step=step, generator=torch.Generator())


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    codec().save_pretrained(folder)
    return folder


def test_an_example_is_whole_frames() -> None:
    assert make(codec())[0].num_samples == 2400
    assert make(codec(), crop_s=0.1001)[0].num_samples == 2880
    with torch.device("meta"):
        assert NeuCodecObjective(NeuCodecObjectiveConfig(), NeuCodecConfig()).num_samples == 144_000


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    model = codec(predict_semantic=True)
    weights = {"mel_weight": 2.0, "adversarial_weight": 3.0, "feature_matching_weight": 5.0, "semantic_weight": 7.0}
    objective, batch = make(model, **weights)
    loss, terms, pair = loss_of(objective, model, batch)
    expected = 2 * terms["mel"] + 3 * terms["adversarial"] + 5 * terms["feature_matching"] + 7 * terms["semantic"]
    torch.testing.assert_close(loss, expected)
    assert not {"distil", "latent"} & set(terms)
    assert pair.real.shape == pair.fake.shape == (2, 1, 2400)
    assert not any(value.requires_grad for value in (*terms.values(), pair.real, pair.fake))


def test_the_latent_term_is_the_mean_square_before_the_bound() -> None:
    model = codec()
    objective, batch = make(model, latent_weight=0.5)
    loss, terms, _ = loss_of(objective, model, batch)
    with torch.no_grad():
        z = model.quantiser.project_in(model.fuse(to_rate(batch.audio, RATE, 16000)))
    torch.testing.assert_close(terms["latent"], z.square().mean())
    others = 15 * terms["mel"] + terms["adversarial"] + terms["feature_matching"]
    torch.testing.assert_close(loss, others + 0.5 * terms["latent"])


def test_adversarial_terms_are_sums_over_networks_and_layers() -> None:
    model = codec()
    objective, batch = make(model)
    _, terms, pair = loss_of(objective, model, batch)
    with torch.no_grad():
        real, fake = objective.critic(pair.real), objective.critic(pair.fake)
        adversarial = sum((1 - one.logits).square().mean() for one in fake)
        maps = [(r, f) for one, other in zip(real, fake, strict=True) for r, f in zip(one[1], other[1], strict=True)]
        matching = sum((r - f).abs().mean() for r, f in maps)
    torch.testing.assert_close(terms["adversarial"], adversarial)
    torch.testing.assert_close(terms["feature_matching"], matching)


def learning(model: NeuCodec) -> set[str]:
    """Parts of the codec all of whose parameters got a gradient; none may have it in part."""
    parts = set()
    for name, part in model.named_children():
        given = {p.grad is not None and bool(p.grad.any()) for p in part.parameters()}
        assert len(given) == 1, name
        if given == {True}:
            parts.add(name)
    return parts


@pytest.mark.parametrize("cls", [NeuCodec, DistillNeuCodec])
@pytest.mark.parametrize("stage", ["train", "decoder", "distil"])
def test_each_stage_trains_its_parts_and_no_critic(stage: str, cls: type[NeuCodec], teacher: Path) -> None:
    model = codec(cls, predict_semantic=True).train()
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero or one may have no gradient
            parameter.add_(0.02 * torch.randn_like(parameter))
        model.quantiser.project_in.weight.mul_(20)  # else all frames lie on one level
    objective, batch = make(model, stage=stage, **({"teacher": str(teacher)} if stage == "distil" else {}))
    loss_of(objective, model, batch)[0].backward()
    every = {name for name, _ in model.named_children()}
    encoder = {"semantic_adapter", "acoustic_encoder", "fusion"} | ({"acoustic_proj"} & every)
    expected = {"train": every - {"semantic_encoder"}, "decoder": {"decoder"}, "distil": encoder}
    assert learning(model) == expected[stage]
    assert all(p.requires_grad == (p.grad is not None) for p in model.parameters())
    assert all(parameter.grad is None for parameter in objective.critic.parameters())


def test_the_critics_loss_trains_the_critic_alone() -> None:
    model = codec()
    objective, batch = make(model)
    pair = loss_of(objective, model, batch)[2]
    loss, metrics = objective.critic_loss(objective.critic, pair)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.critic.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert set(metrics) == {"critic_real", "critic_fake"}


@pytest.mark.slow
def test_the_loss_falls() -> None:
    model = codec(predict_semantic=True).train()
    objective, batch = make(model)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=3e-3, betas=(0.8, 0.9)) for m in (model, objective.critic)]
    mels = []
    for step in range(25):
        loss, metrics, pair = objective.model_loss(model, batch, step=step, generator=torch.Generator())
        loss.backward()
        objective.critic_loss(objective.critic, pair)[0].backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        mels.append(float(metrics["mel"]))
    assert sum(mels[-5:]) < 0.8 * sum(mels[:5])


# ---------------------------------------------------------------------- distillation


def test_the_student_takes_its_teachers_quantiser_and_decoder(teacher: Path) -> None:
    student, source = codec(DistillNeuCodec), NeuCodec.from_pretrained(teacher)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        for parameter in (*student.quantiser.parameters(), *student.decoder.parameters()):
            parameter.add_(1.0)
    make(student, stage="distil", teacher=str(teacher))
    for name, value in student.state_dict().items():
        shared = name.startswith(("quantiser.", "decoder."))
        assert torch.equal(value, source.state_dict()[name] if shared else before[name]), name


def test_the_distance_to_the_teacher_counts_from_its_step_on(teacher: Path) -> None:
    student = codec(DistillNeuCodec)
    options = {"mel_weight": 0.5, "adversarial_weight": 0.0, "feature_matching_weight": 0.0}
    objective, batch = make(
        student, stage="distil", teacher=str(teacher), distil_weight=3.0, mse_start_step=7, **options
    )
    before, terms, _ = loss_of(objective, student, batch, step=6)
    torch.testing.assert_close(before, 0.5 * terms["mel"])
    after, terms, _ = loss_of(objective, student, batch, step=7)
    torch.testing.assert_close(after, 0.5 * terms["mel"] + 3 * terms["distil"])
    assert float(terms["distil"]) > 0
    assert -1 <= float(terms["fused_cosine"]) < 0.99


def test_a_student_that_is_its_teacher_is_no_distance_away(teacher: Path) -> None:
    student = NeuCodec.from_pretrained(teacher)
    objective, batch = make(student, stage="distil", teacher=str(teacher))
    terms = loss_of(objective, student, batch)[1]
    assert float(terms["distil"]) == pytest.approx(0, abs=1e-10)
    assert float(terms["fused_cosine"]) == pytest.approx(1)


def test_the_teacher_is_no_part_of_what_is_trained(teacher: Path) -> None:
    objective, _ = make(codec(DistillNeuCodec), stage="distil", teacher=str(teacher))
    assert objective.teacher is not None
    assert not objective.teacher.training
    assert not any(parameter.requires_grad for parameter in objective.teacher.parameters())


# ---------------------------------------------------------------------- a decoder of another rate


def test_a_new_decoder_takes_the_encoder_of_another_codec(tmp_path: Path) -> None:
    config = NeuCodecConfig.tiny()
    first_rate = replace(config.synthesis, hop_samples=320, window_samples=1280)
    first = codec(sample_rate=16000, synthesis=first_rate)
    first.save_pretrained(tmp_path)
    torch.manual_seed(5)
    model = NeuCodec(config)
    objective, batch = make(model, stage="decoder", encoder_from=str(tmp_path))
    audio = 0.1 * torch.randn(1, 1, 3200, generator=torch.Generator().manual_seed(0))
    model.eval(), first.eval()
    assert torch.equal(model.encode(audio, 16000).tokens, first.encode(audio, 16000).tokens)
    assert loss_of(objective, model, batch)[2].fake.shape == (2, 1, 2400)
    assert objective.given == {}  # not held twice


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": "distil"}, "needs a teacher"),
        ({"teacher": "x"}, "teacher belongs to stage distil, but the stage is train"),
        ({"stage": "distil", "teacher": "x", "encoder_from": "y"}, "encoder_from belongs to stage decoder"),
        ({"crop_s": 0.0}, "crop_s 0.0 must be above 0"),
        ({"mel_bands": (10,)}, "differ"),
        ({"mel_windows_samples": (30, 64)}, "multiples of 4"),
        ({"mel_weight": -1.0}, "mel_weight must not be below 0"),
        ({"correlation_weight": -1.0}, "correlation_weight must not be below 0"),
        ({"warm_start_examples": -1}, "warm_start_examples must not be below 0"),
        ({"stage": "distil", "teacher": "x", "warm_start_examples": 8}, "must be 0 in stage distil"),
    ],
)
def test_constants_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuCodecObjectiveConfig(**{**SMALL, **options})


def test_a_crop_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="is 480 samples, but the windows need 1025"):
        make(codec(), crop_s=0.02, mel_windows_samples=(64, 2048))


def test_audio_of_another_length_is_refused() -> None:
    model = codec()
    objective, batch = make(model)
    with pytest.raises(ValueError, match=r"takes audio \[B, 1, 2400\], got \(2, 1, 1920\)"):
        loss_of(objective, model, AudioBatch(audio=batch.audio[..., :-480], ids=batch.ids))


def test_a_teacher_that_does_not_fit_is_refused(teacher: Path, tmp_path: Path) -> None:
    synthesis = replace(DistillNeuCodecConfig.tiny().synthesis, depth=2)
    with pytest.raises(MismatchError, match=r"teacher.* differs in synthesis from the one that is trained"):
        make(codec(DistillNeuCodec, synthesis=synthesis), stage="distil", teacher=str(teacher))
    with pytest.raises(CheckpointError, match="absent"):
        make(codec(DistillNeuCodec), stage="distil", teacher=str(tmp_path / "absent"))


def test_all_weights_zero_are_refused() -> None:
    zero = dict.fromkeys(("mel_weight", "adversarial_weight", "feature_matching_weight", "semantic_weight"), 0.0)
    with pytest.raises(ValueError, match="nothing to train on"):
        make(codec(), **zero)


def test_distance_to_a_teacher_alone_must_count_from_the_first_step(teacher: Path) -> None:
    zero = dict.fromkeys(("mel_weight", "adversarial_weight", "feature_matching_weight"), 0.0)
    options = {"stage": "distil", "teacher": str(teacher), **zero}
    with pytest.raises(ValueError, match=r"at the start \(see mse_start_step\)"):
        make(codec(DistillNeuCodec), mse_start_step=1, **options)
    student = codec(DistillNeuCodec)
    objective, batch = make(student, mse_start_step=0, **options)
    loss_of(objective, student, batch)


# ---------------------------------------------------------------------- the loop


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(1)
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, RATE // 2), RATE)
    return folder


def test_a_codec_and_its_student_are_trained_by_the_one_loop(audio: Path, tmp_path: Path) -> None:
    def run(name: str, *overrides: str) -> list[dict[str, Any]]:
        output = tmp_path / name.rpartition("/")[2]
        train(train_config(load_settings(name, [f"data.source={audio}", f"output={output}", *overrides])))
        return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]

    lines = run("train/neucodec-tiny")
    assert {"mel", "adversarial", "feature_matching", "semantic", "critic_loss"} <= lines[-1].keys()
    trained = tmp_path / "neucodec-tiny/checkpoints/00000004/model"
    lines = run("train/neucodec-distill-tiny", f"model.objective.teacher={trained}")
    assert {"distil", "fused_cosine", "critic_loss"} <= lines[-1].keys()
    student = DistillNeuCodec.from_pretrained(tmp_path / "neucodec-distill-tiny/checkpoints/00000004/ema")
    source = NeuCodec.from_pretrained(trained)
    for name, value in student.decoder.state_dict().items():
        assert torch.equal(value, source.decoder.state_dict()[name]), name


def test_the_model_is_prepared_when_the_objective_is_built() -> None:
    model = codec()
    build_objective(model, {"stage": "decoder", "crop_s": 1.0})
    trained: set[str] = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"decoder"}


def test_the_teachers_hearing_is_that_of_the_student(teacher: Path) -> None:
    """Both get the same audio at the encoders' rate, of which they make equally many frames."""
    heard: list[Tensor] = []
    student = codec(DistillNeuCodec)
    objective, batch = make(student, stage="distil", teacher=str(teacher))
    assert objective.teacher is not None
    fuse = objective.teacher.fuse
    objective.teacher.fuse = lambda audio: heard.append(audio) or fuse(audio)  # type: ignore[method-assign, func-returns-value]
    loss_of(objective, student, batch)
    assert heard[0].shape == (2, 1, 1600)
    assert student(heard[0]).fused.shape == fuse(heard[0]).shape == (2, 5, 32)
