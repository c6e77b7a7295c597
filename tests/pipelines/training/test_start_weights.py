"""Training that starts from other weights: adapters, and configs that differ by name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_dataset import make_dataset
from safetensors.torch import load_file

from latentune.core.config import config_to_dict
from latentune.core.errors import CheckpointError, ConfigError, MismatchError
from latentune.core.settings import load_settings
from latentune.generators.load import load_generator
from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.sample import adapter_weights
from latentune.pipelines.train import TrainConfig, train, train_config
from latentune.pipelines.training.data_config import AudioDataConfig

LABELS = "model.config.conditioning.conditioners.label={kind: labels, labels: [%s]}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset, and `base`: a run of a generator with the labels a and b."""
    root = tmp_path_factory.mktemp("made")
    found = make_dataset(root, seconds=(0.2, 0.2)) | {"base": root / "base"}
    run(found, found["base"], "steps=2", LABELS % "a, b")
    return found


def run(made: dict[str, Path], output: Path, *overrides: str) -> Path:
    keys = [f"data.source={made['data']}", f"data.tokenizer={made['codec']}", "data.crop_s=0.17", f"output={output}"]
    train(train_config(load_settings("train/dit-tiny", [*keys, "batch_size=2", "device=cpu", *overrides])))
    return run_weights(output)


def test_an_adapter_is_trained_resumed_and_sampled(made: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    keys = [f"model.init_from={run_weights(made['base'])}", LABELS % "a, b", "adapter.rank=2", "optimizer.lr=1e-2"]
    whole = run(made, tmp_path / "whole", *keys, "steps=3", "schedule.warmup_steps=0")
    run(made, tmp_path / "parts", *keys, "steps=2", "schedule.warmup_steps=0")
    resumed = run(made, tmp_path / "parts", *keys, "steps=3", "schedule.warmup_steps=0")
    assert sorted(path.name for path in whole.iterdir()) == ["adapter.json", "pytorch_lora_weights.safetensors"]
    for name, value in load_file(whole / "pytorch_lora_weights.safetensors").items():
        assert torch.equal(load_file(resumed / "pytorch_lora_weights.safetensors")[name], value)
    with pytest.raises(MismatchError, match="adapter"):
        run(made, tmp_path / "parts", *keys, "adapter.rank=3", "steps=4")

    def sample(path: Path, **options: dict[str, float]) -> torch.Tensor:
        pipeline = load_pipeline(path, **options)  # type: ignore[arg-type]
        return pipeline("", duration_s=0.1, generator=torch.Generator().manual_seed(0), num_inference_steps=2).audio

    adapted = sample(tmp_path / "whole")
    torch.testing.assert_close(sample(made["base"], adapters={str(tmp_path / "whole"): 1.0}), adapted)
    torch.testing.assert_close(sample(made["base"], adapters={str(tmp_path / "whole"): 0.0}), sample(made["base"]))


def test_named_differences_are_allowed_and_what_is_new_is_logged(
    made: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [f"model.init_from={run_weights(made['base'])}", LABELS % "c, b, a", "model.config.max_frames=2048"]
    still = ["steps=1", "optimizer.lr=1e-12", "model.init_allow=[conditioning, max_frames]"]
    with pytest.raises(MismatchError, match="conditioning, max_frames differ"):
        run(made, tmp_path / "refused", *keys)
    with caplog.at_level("INFO"):
        grown = load_generator(run(made, tmp_path / "grown", *keys, *still))
    assert "new, at random: none; without a place: none" in caplog.text
    before = load_generator(run_weights(made["base"]))
    assert grown.settings.max_frames == 2048
    table, old = (model.condition_encoder.conditioners["label"].table.weight for model in (grown, before))
    torch.testing.assert_close(table[[2, 1, 3]], old, atol=1e-6, rtol=0)  # a, b, not given
    with caplog.at_level("INFO"):
        run(made, tmp_path / "other", keys[0], *still, "model.config.conditioning.conditioners.seconds=null")
    assert "without a place: 10 (" in caplog.text


def fine_tuned(made: dict[str, Path], output: Path, start: object, *overrides: str) -> TrainConfig:
    keys = [f"data.source={made['data']}", "data.crop_s=0.17", f"output={output}", f"model.init_from={start}"]
    keys += ["steps=1", "batch_size=2", "device=cpu", "precision=fp32", *overrides]
    return train_config(load_settings("train/fine-tune", keys))


@pytest.mark.parametrize("door", ["run", "checkpoint", "pipeline", "folder"])
def test_a_run_without_a_class_is_of_the_weights_it_starts_from(
    made: dict[str, Path], tmp_path: Path, door: str
) -> None:
    load_pipeline(made["base"]).save_pretrained(tmp_path / "saved")
    weights = run_weights(made["base"])
    places = {"run": made["base"], "checkpoint": weights.parent, "pipeline": tmp_path / "saved", "folder": weights}
    config = fine_tuned(made, tmp_path / "tuned", places[door], "optimizer.lr=1e-12")
    assert config.model.class_name == "DiffusionTransformer"
    train(config)
    before, after = load_generator(weights), load_generator(run_weights(tmp_path / "tuned"))
    assert config_to_dict(after.settings) == config_to_dict(before.settings)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], value, atol=1e-6, rtol=0)
    saved = train_config(load_settings(tmp_path / "tuned" / "train.yaml"))
    assert replace(saved, model=replace(saved.model, init_from=config.model.init_from)) == config


def test_keys_of_a_config_are_taken_on_top_of_that_of_the_weights(made: dict[str, Path], tmp_path: Path) -> None:
    before = config_to_dict(load_generator(run_weights(made["base"])).settings)
    config = fine_tuned(
        made,
        tmp_path / "x",
        made["base"],
        "model.config.max_frames=2048",
        "model.config.conditioning.conditioners={seconds: null, text: {kind: words, rows: 64}}",
    )
    given = config.model.config
    assert (given["max_frames"], given["width"]) == (2048, before["width"])
    assert given["conditioning"]["conditioners"] == {
        "label": before["conditioning"]["conditioners"]["label"],
        "seconds": None,
        "text": {"kind": "words", "rows": 64},  # nothing of the text encoder that was there, which is of another kind
    }
    with pytest.raises(MismatchError, match="conditioning, max_frames differ"):
        train(config)


def test_a_run_that_is_trained_further_stays_the_same_start(made: dict[str, Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    run(made, base, "steps=1")
    config = fine_tuned(made, tmp_path / "tuned", base)
    run(made, base, "steps=2")
    assert config.model.init_from == str(base / "checkpoints" / "00000001" / "ema")
    assert train_config(config_to_dict(config)) == config


def test_a_run_keeps_the_checkpoint_that_it_was_begun_with(
    made: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("peft")
    base = tmp_path / "base"
    run(made, base, "steps=1", "keep_checkpoints=1")
    first = load_generator(run_weights(base)).fingerprint()
    keys = ["adapter.rank=2", "checkpoint_every=1"]
    train(fine_tuned(made, tmp_path / "tuned", base, *keys))
    run(made, base, "steps=3", "keep_checkpoints=1", "optimizer.lr=1e-2")  # which removes the checkpoint
    assert load_generator(tmp_path / "tuned" / "start").fingerprint() == first
    load_pipeline(tmp_path / "tuned", tokenizer=made["codec"])
    with caplog.at_level("INFO"):
        train(fine_tuned(made, tmp_path / "tuned", base, *keys, "steps=2"))
    assert f"begun with the weights of {tmp_path / 'tuned' / 'start'} and keeps them" in caplog.text
    facts = json.loads((run_weights(tmp_path / "tuned") / "adapter.json").read_text())
    assert facts["base"] == str(tmp_path / "tuned" / "start")
    with pytest.raises(ConfigError, match="is an adapter: start from a pipeline that was saved with it"):
        fine_tuned(made, tmp_path / "x", tmp_path / "tuned")
    (tmp_path / "tuned" / "start").rename(tmp_path / "moved")
    train(fine_tuned(made, tmp_path / "tuned", tmp_path / "moved", *keys, "steps=3"))
    shutil.rmtree(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="an adapter of other weights than those in"):
        train(fine_tuned(made, tmp_path / "tuned", base, *keys, "steps=4"))


@pytest.mark.parametrize("dora", ["false", "true"])
def test_a_pipeline_with_adapters_is_saved_with_their_updates_in_its_weights(
    made: dict[str, Path], tmp_path: Path, dora: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("peft")
    fast = ["optimizer.lr=0.05", "schedule.warmup_steps=0", "steps=3", "ema_decay=0.01"]
    base = tmp_path / "base"
    run(made, base, *fast)  # random gates are zero, and let nothing of an adapter through
    train(fine_tuned(made, tmp_path / "style", base, "adapter.rank=2", f"adapter.dora={dora}", *fast))

    def sample(pipeline: Any) -> torch.Tensor:
        output = pipeline("", duration_s=0.1, generator=torch.Generator().manual_seed(0), num_inference_steps=2)
        latents: torch.Tensor = output.latents
        return latents

    plain = sample(load_pipeline(base))
    for weight in (1.0, 0.5):
        adapted = load_pipeline(base, adapters={str(tmp_path / "style"): weight})
        adapted.save_pretrained(tmp_path / f"saved{weight}")
        again = sample(load_pipeline(tmp_path / f"saved{weight}"))
        assert (again - sample(adapted)).norm() < 1e-4 * plain.norm()
        assert (again - plain).norm() > 0.1 * plain.norm()
    with caplog.at_level("WARNING"):
        twice = {str(tmp_path / "style"): 0.5, str(run_weights(tmp_path / "style")): 0.5}
        with pytest.raises(ValueError, match="is given twice"):
            load_pipeline(base, adapters=twice)
        assert not caplog.records
        load_pipeline(made["base"], adapters={str(tmp_path / "style"): 1.0})
    assert "was trained on other weights of a DiffusionTransformer" in caplog.text
    config = fine_tuned(made, tmp_path / "more", tmp_path / "saved1.0")
    assert config.model.class_name == "DiffusionTransformer"


def test_a_shipped_pipeline_and_a_shipped_codec_can_be_trained_on(tmp_path: Path) -> None:
    for name, class_name in (("melcodec-music-dit", "DiffusionTransformer"), ("melcodec-speech", "MelCodec")):
        keys = ["data.source=x", f"model.init_from={name}", "steps=1", "batch_size=1", "output=y"]
        config = train_config(load_settings(None, keys))
        assert (config.model.class_name, config.model.init_from) == (class_name, name)
        assert isinstance(config.data, AudioDataConfig) == (name == "melcodec-speech")


def test_what_cannot_start_is_told(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"crop_s.*melcodec-music is a codec \(MelCodec\), which trains on audio"):
        fine_tuned(made, tmp_path / "x", "melcodec-music")
    codec = ["data.source=" + str(made["audio"]), "model.init_from=melcodec-music-dit", f"output={tmp_path / 'y'}"]
    with pytest.raises(MismatchError, match="melcodec-music-dit is a generator: name the weights of a codec"):
        train(train_config(load_settings("train/melcodec-tiny", [*codec, "device=cpu"])))
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="begun is a training run that has saved no checkpoint yet"):
        fine_tuned(made, tmp_path / "x", tmp_path / "begun")
    with pytest.raises(ConfigError, match="adapter a is given twice"):
        adapter_weights(["a=1", "a=0.5"])
    with pytest.raises(ConfigError, match=r"name the generator that it adapts in model\.init_from"):
        run(made, tmp_path / "x", "adapter.rank=2")
    assert adapter_weights(["runs/lora", "runs/a=b=0.5"]) == {"runs/lora": 1.0, "runs/a=b": 0.5}
    with pytest.raises(ConfigError, match="'much' is not a weight"):
        adapter_weights(["runs/lora=much"])
    with pytest.raises(CheckpointError, match=r"no pipeline 'nowhere': give .* or one of melcodec-music-dit"):
        fine_tuned(made, tmp_path / "x", "nowhere")
    # a wrong value of a right key does not mean another kind of model
    with pytest.raises(ConfigError, match=r"crop_s: expected float, got 'much' \(str\)$"):
        fine_tuned(made, tmp_path / "x", made["base"], "data.crop_s=much")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"model\.init_from: .*config\.json does not say the class"):
        fine_tuned(made, tmp_path / "x", tmp_path / "odd")
    with pytest.raises(ConfigError, match="lacks the key class"):
        train_config(load_settings("train/fine-tune", ["data={source: x}", "model.init_from=null"]))
