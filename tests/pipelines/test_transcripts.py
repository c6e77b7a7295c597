"""A generator that speaks, in small: each letter of a text is a level of the audio, in training and in sampling."""

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import third_party
import torch

from latentune.core.errors import ConfigError, DatasetError, TrainingError
from latentune.core.settings import load_settings
from latentune.generators.conditions import Conditions
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.train import train, train_config
from latentune.tokenizers.load import load_tokenizer

RATE = 8000
FRAME_S = 0.01
LEVELS = {"a": -0.6, "b": 0.1, "c": 0.6}
FRAMES = {"a": 5, "b": 6, "c": 8}  # of each letter, which a text that is laid out evenly does not say
HELD_OUT = ("abc", "cab", "bacb")
LONGEST = 32


def levels(text: str) -> np.ndarray:
    """The level of each frame of a text."""
    return np.repeat([LEVELS[letter] for letter in text], [FRAMES[letter] for letter in text])


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    third_party.LinearCodec(third_party.LinearConfig(latent_dim=2)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows: list[dict[str, Any]] = []
    for text in ("".join(letters) for count in (2, 3, 4) for letters in itertools.product("abc", repeat=count)):
        if text not in HELD_OUT:
            soundfile.write(folder / f"{text}.wav", np.repeat(levels(text), RATE // 100), RATE, subtype="FLOAT")
            rows.append({"path": f"{text}.wav", "text": text, "count": len(text)})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = folder / "latents"
    encode_dataset(EncodeConfig(source=str(folder / "manifest.jsonl"), output=str(output), tokenizer=str(codec)))
    return output


def run(
    dataset: Path,
    codec: Path,
    output: Path,
    *overrides: str,
    conditioner: dict[str, Any] | None = None,
    further: dict[str, Any] | None = None,
    model: str = "dit",
    data: dict[str, Any] | None = None,
) -> None:
    options = {"kind": "characters", "layers": 2, **(conditioner or {})}
    conditioners = {"text": None, "seconds": None, "transcript": options, **(further or {})}
    given = {
        "model": {"config": {"conditioning": {"conditioners": conditioners}}},
        "data": {
            "source": str(dataset),
            "tokenizer": str(codec),
            "crop_s": LONGEST * FRAME_S,
            "conditions": {"transcript": "text"},
            **(data or {}),
        },
        "output": str(output),
        "batch_size": 16,
        "device": "cpu",
        "log_every": 100,
    }
    train(train_config(load_settings(f"train/{model}-tiny", overrides, given)))


@pytest.fixture(scope="module")
def spoken(dataset: Path, codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("spoken") / "run"
    run(dataset, codec, output, "steps=300", "optimizer.lr=4e-3", "ema_decay=0.97", "packed=true")
    return output


def right_frames(codec: Path, latents: torch.Tensor, text: str) -> float:
    """Share of the frames of a text whose level is the one that is nearest to the latents [T, D]."""
    tokenizer = load_tokenizer(codec)
    known = [
        tokenizer.encode(torch.full((1, 1, RATE // 10), level), RATE).latents[0].mean(0) for level in LEVELS.values()
    ]
    found = torch.cdist(latents, torch.stack(known)).argmin(1)
    wanted = torch.tensor([list(LEVELS.values()).index(level) for level in levels(text)])
    return (found[: len(wanted)] == wanted).float().mean().item()


@pytest.mark.slow  # trains 300 steps
def test_what_is_said_follows_texts_that_were_never_heard(spoken: Path, codec: Path) -> None:
    model = load_pipeline(spoken).generator
    lengths_s = [model.duration_of(text) for text in HELD_OUT]
    assert lengths_s == pytest.approx([len(levels(text)) * FRAME_S for text in HELD_OUT], abs=0.005)
    made = model.sample(
        Conditions(values={"transcript": HELD_OUT}),
        torch.tensor([round(length_s * RATE) for length_s in lengths_s]),
        generator=torch.Generator().manual_seed(0),
    )
    assert made.latents is not None
    shares = [right_frames(codec, latents, text) for latents, text in zip(made.latents, HELD_OUT, strict=True)]
    assert np.mean(shares) > 0.9
    others = ("cba", "bca", "bcab")  # the same letters in another order
    mistaken = [right_frames(codec, latents, text) for latents, text in zip(made.latents, others, strict=True)]
    assert np.mean(mistaken) < 0.6


def test_what_was_learned_of_transcripts_is_saved(dataset: Path, codec: Path, tmp_path: Path) -> None:
    run(dataset, codec, tmp_path / "run", "steps=1")
    facts = load_pipeline(tmp_path / "run").generator.trained_on
    assert facts.conditions == ("transcript",)
    assert facts.durations is not None
    assert facts.durations.symbol_s == pytest.approx({"a": 0.05, "b": 0.06, "c": 0.08}, abs=2e-3)
    assert facts.durations.error_s == pytest.approx(0, abs=2e-3)


def test_items_that_are_too_long_are_left_out_and_counted(
    dataset: Path, codec: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(dataset, codec, tmp_path / "run", "steps=1", data={"crop_s": 0.2})
    counts = [len(levels("".join(text))) for count in (2, 3, 4) for text in itertools.product("abc", repeat=count)]
    longer = sum(count > 20 for count in counts) - sum(len(levels(text)) > 20 for text in HELD_OUT)
    left_out = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [message.split(" are longer")[0] for message in left_out] == [
        f"{longer} of {len(counts) - 3} items of {dataset}"
    ]
    with pytest.raises(TrainingError, match=r"none of the 114 items of .* fits into data.crop_s=0.05, .* has 0.10 s"):
        run(dataset, codec, tmp_path / "none", data={"crop_s": 0.05})


def test_a_transcript_needs_its_column_and_texts_that_fit(dataset: Path, codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column 'words' for the condition transcript"):
        run(dataset, codec, tmp_path / "run", data={"conditions": {"transcript": "words"}})
    with pytest.raises(DatasetError, match=r"column text, of the condition transcript: a text of 3 symbols, but max_s"):
        run(dataset, codec, tmp_path / "run", conditioner={"max_symbols": 2})


def test_a_language_model_reads_the_symbols_before_its_tokens(dataset: Path, codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a token language model cannot"):
        run(dataset, codec, tmp_path / "no", model="lm")
    run(dataset, codec, tmp_path / "run", "steps=2", conditioner={"spread": False}, model="lm")
    assert load_pipeline(tmp_path / "run").generator.duration_of("abc") == pytest.approx(0.19, abs=0.01)


def test_a_pipeline_hears_a_voice_through_its_own_codec(dataset: Path, codec: Path, tmp_path: Path) -> None:
    reference = {"kind": "reference", "latent_dim": 2, "heads": 2, "num_tokens": 2}
    run(
        dataset,
        codec,
        tmp_path / "run",
        "steps=2",
        further={"reference": reference},
        data={"conditions": {"transcript": "text", "reference": "audio"}},
    )
    pipe = load_pipeline(tmp_path / "run")
    voice = torch.linspace(-1, 1, RATE)[None], RATE

    def say(**conditions: Any) -> torch.Tensor:
        noise = torch.Generator().manual_seed(0)
        return pipe("", duration_s=0.2, conditions={"transcript": "abc", **conditions}, generator=noise).audio

    assert say(reference=voice).shape == (1, 1, RATE // 5)
    pipe.check_conditions(Conditions(values={"transcript": ["abc"], "reference": [voice]}))
    latents = pipe.tokenizer.encode(voice[0][None], RATE).latents[0]
    torch.testing.assert_close(say(reference=voice), say(reference=latents))
    with pytest.raises(ValueError, match=r"a reference is audio \[channels, samples\] of at least 0.5 s"):
        say(reference=(voice[0][:, : RATE // 10], RATE))
    with pytest.raises(ValueError, match="got a str"):
        say(reference="voice.wav")
