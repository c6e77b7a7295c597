"""All steps with TAAE: none of them may assume another codec's chunks, codebooks, levels or options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny_training import train_tiny

from latentune.core.config import build_config
from latentune.core.errors import ConfigError, MismatchError
from latentune.core.settings import load_settings
from latentune.demos.walkthrough import DemoConfig, run_demo
from latentune.demos.walkthrough_generation import TRAINED
from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.decode import DecodeConfig, decode_dataset
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.generation.load import load_pipeline, shipped_pipelines
from latentune.pipelines.info import dataset_info
from latentune.pipelines.measure.codecs.evaluate import evaluate_tokenizer
from latentune.pipelines.measure.codecs.systems import CodecSystems
from latentune.pipelines.sample import SampleConfig, sample_to_folder
from latentune.pipelines.train import train, train_config
from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.taae import TAAE, TAAEConfig
from latentune.tokenizers.taae.bottleneck import BottleneckConfig

RATE = 16000
LEVELS = {"loud.wav": 0.3, "quiet.wav": 0.01, "short.wav": 0.1}
LENGTHS = {"loud.wav": 9601, "quiet.wav": 6400, "short.wav": 2000}
CODEBOOKS = {"native": [17**6], "2x15625_700bps": [15625] * 2, "4x729_1000bps": [729] * 4}


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of 24 kHz stereo: noise at different levels."""
    folder, rng = tmp_path_factory.mktemp("speech"), np.random.default_rng(0)
    rows = []
    for name, level in LEVELS.items():
        soundfile.write(folder / name, rng.normal(0, level, (LENGTHS[name] * 3 // 2, 2)), 24000, subtype="FLOAT")
        rows.append({"path": name, "text": f"noise of {name}", "label": "speech"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module", params=list(CODEBOOKS))
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def codec_folder(tiny_taae: TAAE, preset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec = TAAE(tiny_taae.settings)
    codec.load_state_dict(tiny_taae.state_dict())
    folder = tmp_path_factory.mktemp("codec")
    codec.use_preset(preset).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(audio: Path, codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "latents"
    source = str(audio / "manifest.jsonl")
    encode_dataset(EncodeConfig(source=source, output=str(folder), tokenizer=str(codec_folder), dtype="float32"))
    return folder


def test_a_dataset_holds_every_codebook_and_the_gains(dataset: Path, codec_folder: Path, preset: str) -> None:
    data, codec = LatentDataset(dataset), load_tokenizer(codec_folder)
    assert list(data.spec.codebook_sizes) == CODEBOOKS[preset]
    gains = {}
    for index in range(len(data)):
        item, meta = data[index], data.meta(index)
        assert item.tokens is not None
        assert item.latents is not None
        assert torch.equal(codec.latents_to_tokens(item.latents[None])[0], item.tokens)
        gains[meta["id"]] = meta["codec_gain_db"]
    assert gains["quiet.wav"] > 15 > -5 > gains["loud.wav"]
    assert not set(shipped_pipelines(codec))  # no generator of another codec is taken for its own
    facts = dataset_info(dataset, verify=True)
    assert facts["problems"] == []
    assert ", ".join(map(str, CODEBOOKS[preset])) in facts["tokens"]


def decode(dataset: Path, output: Path, tokenizer: Any = None, **settings: Any) -> Any:
    return decode_dataset(DecodeConfig(dataset=str(dataset), output=str(output), **settings), tokenizer=tokenizer)


def test_decoding_a_dataset_gives_each_item_its_own_level(
    dataset: Path, audio: Path, codec_folder: Path, tmp_path: Path
) -> None:
    codec = load_tokenizer(codec_folder)
    for stream in ("latents", "tokens"):
        records = decode(dataset, tmp_path / stream, stream=stream, subtype="FLOAT")
        power = {}
        for record in records:
            decoded, rate = soundfile.read(tmp_path / stream / record["file"], dtype="float32")
            assert (len(decoded), rate) == (LENGTHS[record["id"]], RATE)
            given = torch.from_numpy(soundfile.read(audio / record["id"], dtype="float32")[0].T)
            direct = codec.decode_encoded(codec.encode(given[None], 24000), stream)[0, 0]
            np.testing.assert_allclose(decoded, direct, atol=2e-4)
            power[record["id"]] = float(np.square(decoded).mean())
        assert 500 < power["loud.wav"] / power["quiet.wav"] < 1500  # 900 in the audio


def test_a_dataset_of_before_gains_were_recorded_decodes_as_it_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latentune.pipelines.data.shards.shard import ShardFile

    with_gain = decode(dataset, tmp_path / "with", subtype="FLOAT", ids=("quiet.wav",))
    meta = ShardFile.meta
    monkeypatch.setattr(ShardFile, "meta", lambda s, r: {k: v for k, v in meta(s, r).items() if k != "codec_gain_db"})
    without = decode(dataset, tmp_path / "without", subtype="FLOAT", ids=("quiet.wav",))
    level = [
        np.abs(soundfile.read(tmp_path / name / found[0]["file"])[0]).mean()
        for name, found in (("with", with_gain), ("without", without))
    ]
    assert level[1] > 5 * level[0]


def test_reconstruction_is_measured_at_the_level_of_the_audio(audio: Path, codec_folder: Path) -> None:
    codec = load_tokenizer(codec_folder)
    result = evaluate_tokenizer(codec, audio / "manifest.jsonl", options={"": {}, "chunked": {"chunk_frames": 64}})
    assert set(result.systems) == {"latents", "tokens", "latents, chunked", "tokens, chunked"}
    for name, level in LEVELS.items():
        mono = torch.from_numpy(soundfile.read(audio / name, dtype="float32")[0].T).mean(0, keepdim=True)
        made = CodecSystems(codec).system("latents")(mono, RATE).audio
        at_normal_level = codec.decode(latents=codec.encode(mono[None], RATE).latents)
        assert made.std() / at_normal_level.std() == pytest.approx(level / LEVELS["short.wav"], rel=0.3)


def test_a_codec_without_tokens_makes_a_dataset_of_latents(tiny_taae: TAAE, audio: Path, tmp_path: Path) -> None:
    codec = TAAE(replace(tiny_taae.settings, bottleneck=BottleneckConfig(kind="none"))).eval()
    wanted = {"source": str(audio), "output": str(tmp_path / "data")}
    with pytest.raises(ConfigError, match=r"no tokens: set streams to \[latents\]"):
        encode_dataset(EncodeConfig(**wanted), tokenizer=codec)  # type: ignore[arg-type]
    encode_dataset(EncodeConfig(**wanted, streams=("latents",)), tokenizer=codec)  # type: ignore[arg-type]
    records = decode(tmp_path / "data", tmp_path / "out", tokenizer=codec)
    assert {r["id"]: soundfile.info(tmp_path / "out" / r["file"]).frames for r in records} == LENGTHS


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("native", "dit-tiny"),
        ("2x15625_700bps", "lm-tiny"),
        pytest.param("native", "lm-tiny", marks=pytest.mark.slow),
        pytest.param("4x729_1000bps", "lm-tiny", marks=pytest.mark.slow),
    ],
    indirect=["preset"],
)
def test_train_sample_and_evaluate(name: str, dataset: Path, codec_folder: Path, audio: Path, tmp_path: Path) -> None:
    previews = {"preview_every": 30, "preview__seconds": 0.05}
    train_tiny(name, dataset, codec_folder, tmp_path / "run", steps=30, batch_size=3, **previews)
    assert list((tmp_path / "run" / "previews").rglob("*.wav"))
    records = sample_to_folder(
        SampleConfig(
            pipeline=str(tmp_path / "run"),
            output=str(tmp_path / "samples"),
            num=2,
            seconds=0.1,
            decode_options={"max_frames": 7},
            spectrograms=False,
            device="cpu",
            options={"steps": 2} if name == "dit-tiny" else {"top_k": 5},
        )
    )
    for record in records:
        assert soundfile.info(tmp_path / "samples" / record["file"]).frames == 1600
    assert np.isfinite(evaluate(EvaluateConfig(reference=str(audio), generated=str(tmp_path / "samples"))).value)
    with pytest.raises(ConfigError, match=r"TAAE\.decode has no option steps"):
        sample_to_folder(
            SampleConfig(pipeline=str(tmp_path / "run"), output=str(tmp_path / "x"), decode_options={"steps": 3})
        )

    pipe = load_pipeline(tmp_path / "run")
    start = 0.02 * torch.randn(1, 810, generator=torch.Generator().manual_seed(0))
    out = pipe(duration_s=0.1, given=(start, RATE), generator=torch.Generator().manual_seed(0))
    again = pipe.tokenizer.encode(start[None], RATE)
    stream = "latents" if out.tokens is None else "tokens"
    assert torch.equal(getattr(out, stream)[:, :20], getattr(again, stream)[:, :20])
    loud = pipe.tokenizer.decode(**{stream: getattr(out, stream)}, lengths_samples=out.lengths_samples)
    torch.testing.assert_close(out.audio, loud * 10 ** (-again.gain_db.item() / 20), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["2x15625_700bps"], indirect=True)
def test_the_demo_runs_with_it_and_samples_from_what_it_trained(
    codec_folder: Path, audio: Path, tmp_path: Path
) -> None:
    result = run_demo(
        DemoConfig(
            output=str(tmp_path / "out"),
            audio=str(audio / "manifest.jsonl"),
            tokenizers=(str(codec_folder),),
            train_configs=("train/dit-tiny", "train/lm-tiny"),
            overrides=("batch_size=2", "data.crop_s=0.1"),
            prompts=("one", "two"),
            train_steps=2,
            seconds=0.1,
        )
    )
    trained = [one.caption for one in result.exhibits if one.section == TRAINED]
    assert trained == ["train/dit-tiny after 2 steps", "train/lm-tiny after 2 steps"]
    assert {row["stream"] for row in result.reconstruction} == {"latents", "tokens"}
    assert TRAINED in Path(result.report).read_text()


def test_a_model_becomes_causal_and_is_fine_tuned(tiny_taae: TAAE, audio: Path, tmp_path: Path) -> None:
    tiny_taae.save_pretrained(tmp_path / "released")
    causal = tiny_taae.to_causal()
    window = f"model.config.window=[{tiny_taae.settings.window[0]},0]"
    keys = [f"data.source={audio}", f"output={tmp_path / 'run'}", "device=cpu", "optimizer.lr=1e-9", "steps=1"]
    keys += [f"model.init_from={tmp_path / 'released'}", "model.config.causal=true", window]
    with pytest.raises(MismatchError, match="causal, window differ"):
        train(train_config(load_settings("train/taae-tiny", keys)))
    train(train_config(load_settings("train/taae-tiny", [*keys, "model.init_allow=[causal,window]"])))
    tuned = load_tokenizer(run_weights(tmp_path / "run"))
    assert tuned.settings == causal.settings
    for name, tensor in tuned.state_dict().items():
        torch.testing.assert_close(tensor, causal.state_dict()[name], atol=1e-6, rtol=0, msg=name)
    live, heard = tuned.stream_encoder(), 0.1 * torch.randn(1, 1, 4 * tuned.spec.hop_samples)
    assert live.push(heard) is not None, "a causal model needs no audio of the future"


def test_the_config_of_the_causal_conversion_is_that_of_the_paper() -> None:
    config = train_config(load_settings("train/taae-base-causal", ["data.source=speech"]))
    assert (config.steps, config.model.init_from) == (200_000, "stable-codec-speech-16k")
    base = TAAEConfig.preset("taae-base")
    with torch.device("meta"):
        assert build_config(TAAEConfig, config.model.config) == TAAE(base).to_causal().settings
