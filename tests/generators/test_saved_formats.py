"""Saved generators of earlier formats load, and compute what they computed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING
from safetensors.torch import load_file, save_file
from sampling import sample
from torch import Tensor

from latentune.core.errors import CheckpointError, ConfigError
from latentune.generators.base import LatentGenerator
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.language import TokenLM
from latentune.generators.language import sampling as sampling_of_tokens
from latentune.generators.load import load_generator
from latentune.generators.upgrade import upgrade_config

ASSETS = Path(__file__).resolve().parents[1] / "assets"
WEIGHTS = "diffusion_pytorch_model.safetensors"
OPTIONS: dict[str, dict[str, Any]] = {"dit": {"num_inference_steps": 3, "solver": "euler"}, "lm": {}}
ASKED = Conditions.of(["classical orchestral music", ""], [1.5, 1.0])
LENGTHS = [1500, 1000]  # samples of the fake codec, which makes 1,000 per second


@pytest.fixture(params=["dit", "lm"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def saved(kind: str) -> Path:
    """A generator in format 1."""
    return ASSETS / f"generator_format1_{kind}"


@pytest.fixture(params=[1, 2])
def generator(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> LatentGenerator:
    """A generator that was saved in format 1, as it is and saved again."""
    loaded = load_generator(saved(kind))
    if request.param == 2:
        loaded.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["_format_version"] == 2
        loaded = load_generator(tmp_path)
    return loaded.float()


def drawn_item_by_item(model: TokenLM, seeds: Any, patches: range) -> Tensor:
    """The randomness of format 1 for `ASKED`, which came from one generator, item after item."""
    generator = torch.Generator().manual_seed(3)
    uniform = torch.zeros(2, len(patches), len(model.head.levels))
    for item, chunks in enumerate(model.binding.spec.num_chunks(length) for length in LENGTHS):
        frames = chunks * model.binding.spec.chunk_tokens
        uniform[item, :frames] = torch.rand(frames, uniform.shape[-1], generator=generator)
    return uniform


def test_saved_generators_give_what_the_code_of_format_1_gave(
    kind: str, generator: LatentGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling_of_tokens, "draw_uniform", drawn_item_by_item)
    golden = load_file(ASSETS / "generator_format1_golden.safetensors")
    encoded = generator.condition_encoder(ASKED)
    torch.testing.assert_close(encoded.global_vector, golden[f"{kind}.condition_vector"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoded.tokens, golden[f"{kind}.condition_tokens"], atol=1e-5, rtol=1e-4)
    for scale in (1.0, 2.0):
        wanted = golden[f"{kind}.scale{scale:.0f}"]
        made = sample(generator, ASKED, LENGTHS, seed=3, guidance_scale=scale, **OPTIONS[kind])
        if made.latents is not None:
            torch.testing.assert_close(made.latents, wanted, atol=1e-3, rtol=1e-3)
        else:
            assert made.tokens is not None
            # one near-tie that another processor decides otherwise changes all tokens after it
            assert torch.equal(made.tokens[:, :16], wanted[:, :16].long())
    if kind == "lm":
        with torch.no_grad():
            logits = generator(golden["lm.scale1"].long(), conditions=ASKED)
        torch.testing.assert_close(logits[:, ::16], golden["lm.logits"], atol=1e-3, rtol=1e-3)


def test_the_upgrade_is_a_function_of_the_config_alone(kind: str) -> None:
    old = json.loads((saved(kind) / "config.json").read_text())
    before = json.dumps(old)
    new = upgrade_config(old)
    assert json.dumps(old) == before
    assert new["conditioning"] == {
        "width": 16,
        "conditioners": {
            "text": {"kind": "bytes", "layers": 2, "heads": 4, "max_bytes": 48, "num_tokens": 4},
            "seconds": {"kind": "seconds"},
        },
    }
    assert {key: value for key, value in new.items() if key != "conditioning"} == {
        key: value for key, value in old.items() if key != "conditioning"
    }


@pytest.mark.parametrize(
    ("old", "names"),
    [
        ({"text_layers": 0}, ["seconds"]),
        ({"seconds": False}, ["text"]),
        ({"labels": ["a"], "text_layers": 0, "seconds": False}, ["label"]),
        ({}, ["text", "seconds"]),
    ],
)
def test_what_format_1_left_out_stays_out(old: dict[str, Any], names: list[str]) -> None:
    assert list(upgrade_config({"conditioning": old})["conditioning"]["conditioners"]) == names


def test_weights_of_labels_are_found_under_their_old_name(tmp_path: Path) -> None:
    conditioners = {"label": {"kind": "labels", "labels": ["rock", "jazz"]}, "seconds": {"kind": "seconds"}}
    config = DiffusionTransformerConfig(
        binding=LATENT_BINDING,
        width=32,
        depth=1,
        heads=2,
        conditioning=ConditioningConfig(width=8, conditioners=conditioners),
    )
    model = DiffusionTransformer(config).eval()
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["_format_version"], values["trained_on"]
    values["conditioning"] = {"width": 8, "text_layers": 0, "labels": ["rock", "jazz"], "seconds": True}
    (tmp_path / "config.json").write_text(json.dumps(values))
    weights = load_file(tmp_path / WEIGHTS)
    old = {key.replace("parts.label.", "parts.labels."): value for key, value in weights.items()}
    assert set(old) != set(weights)
    save_file(old, tmp_path / WEIGHTS)
    assert load_generator(tmp_path).fingerprint() == model.fingerprint()


def test_a_format_of_the_future_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="format version 99, this release reads up to 2: update latentune"):
        upgrade_config({"_format_version": 99})
    values = json.loads((saved(kind) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "_format_version": 99}))
    (tmp_path / WEIGHTS).symlink_to(saved(kind) / WEIGHTS)
    with pytest.raises(CheckpointError, match="update latentune"):
        load_generator(tmp_path)


def test_device_and_precision_are_chosen_as_for_a_tokenizer() -> None:
    loaded = load_generator(saved("dit"), device="cpu", precision="bf16")
    assert loaded.dtype == torch.bfloat16
    assert loaded.fingerprint() == load_generator(saved("dit")).fingerprint()
    with pytest.raises(ValueError, match="precision and torch_dtype say the same"):
        load_generator(saved("dit"), precision="bf16", torch_dtype=torch.float32)
    with pytest.raises(ValueError, match="device"):
        load_generator(saved("dit"), device="gpu")
