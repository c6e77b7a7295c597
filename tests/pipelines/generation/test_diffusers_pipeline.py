"""The face of diffusers: our pipeline as one of diffusers', our networks in a pipeline of somebody else, hub ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

import latentune
from latentune.core.config import build_config
from latentune.core.errors import CheckpointError
from latentune.core.settings import load_settings
from latentune.generators.base import TokenizerBinding
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.load import load_generator
from latentune.pipelines.generation import diffusers_pipeline as face
from latentune.pipelines.generation.diffusers_pipeline import LatentunePipeline
from latentune.pipelines.generation.load import load_pipeline
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

CALL: dict[str, Any] = {"duration_s": 0.1, "num_inference_steps": 2}


class Anyones(DiffusionPipeline):
    """A pipeline of somebody else with two of our networks in it."""

    def __init__(self, vae: Any, transformer: Any):
        super().__init__()
        self.register_modules(vae=vae, transformer=transformer)


@pytest.fixture(scope="module")
def codec() -> CoDiCodec:
    torch.manual_seed(0)
    return CoDiCodec(CoDiCodecConfig.tiny()).eval()


@pytest.fixture(scope="module")
def dit(codec: CoDiCodec) -> DiffusionTransformer:
    torch.manual_seed(0)
    width = codec.spec.latent_dim
    binding = TokenizerBinding(
        spec=codec.spec, fingerprint=codec.fingerprint(), latent_mean=(0.0,) * width, latent_std=(1.0,) * width
    )
    config = {**load_settings("generators/dit-tiny")["config"], "binding": binding}
    return DiffusionTransformer(build_config(DiffusionTransformerConfig, config)).eval()


@pytest.fixture
def pipe(codec: CoDiCodec, dit: DiffusionTransformer) -> LatentunePipeline:
    return LatentunePipeline(codec, dit, {"decode": {"steps": 1}})


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_samples_as_our_own_pipeline_does(pipe: LatentunePipeline) -> None:
    steps: list[int] = []

    def callback(pipeline: Any, step: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        assert pipeline is pipe
        steps.append(step)
        return tensors

    options = {**CALL, "guidance_scale": 2.0, "negative_prompt": "noise", "num_waveforms_per_prompt": 2}
    made = pipe("hum", **options, generator=seeded(), callback_on_step_end=callback)
    assert isinstance(made.audios, np.ndarray)
    assert made.audios.shape[:2] == (2, pipe.inner.spec.channels)
    assert steps == [0, 1]
    (audio,) = pipe("hum", **options, generator=seeded(), output_type="pt", return_dict=False)
    assert torch.equal(audio, torch.from_numpy(made.audios))
    own = latentune.GenerationPipeline(pipe.tokenizer, pipe.generator, pipe.inner.defaults)
    same = own(
        "hum", duration_s=0.1, num_inference_steps=2, guidance_scale=2.0, negative_prompt="noise", num_per_prompt=2,
        generator=seeded(),
    )  # fmt: skip
    assert torch.equal(same.audio, audio)
    latents = pipe("hum", **CALL, generator=seeded(), output_type="latent").audios
    assert latents.shape[-1] == pipe.inner.spec.latent_dim


def test_a_saved_pipeline_is_one_of_both_kinds(pipe: LatentunePipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    index = json.loads((tmp_path / "pipe" / "model_index.json").read_text())
    assert index["_class_name"] == "LatentunePipeline"
    assert index["tokenizer"] == ["latentune", "CoDiCodec"]
    assert index["generator"] == ["latentune", "DiffusionTransformer"]
    expected = pipe("a", **CALL, generator=seeded()).audios
    loaded = LatentunePipeline.from_pretrained(tmp_path / "pipe")
    assert np.array_equal(loaded("a", **CALL, generator=seeded()).audios, expected)
    own = load_pipeline(tmp_path / "pipe")("a", duration_s=0.1, num_inference_steps=2, generator=seeded())
    assert np.array_equal(own.audio.numpy(), expected)
    # a folder without model_index.json, as earlier versions wrote it
    latentune.GenerationPipeline(pipe.tokenizer, pipe.generator, pipe.inner.defaults).save_pretrained(tmp_path / "old")
    assert not (tmp_path / "old" / "model_index.json").exists()
    older = LatentunePipeline.from_pretrained(tmp_path / "old")
    assert np.array_equal(older("a", **CALL, generator=seeded()).audios, expected)
    half = LatentunePipeline.from_pretrained(tmp_path / "old", torch_dtype=torch.bfloat16)
    assert half.dtype == half.generator.dtype == torch.bfloat16


def test_networks_load_in_a_pipeline_of_somebody_else(
    codec: CoDiCodec, dit: DiffusionTransformer, tmp_path: Path
) -> None:
    Anyones(codec, dit).save_pretrained(tmp_path)
    loaded: Any = Anyones.from_pretrained(tmp_path)
    assert loaded.vae.fingerprint() == codec.fingerprint()
    assert loaded.transformer.fingerprint() == dit.fingerprint()
    assert type(loaded.transformer) is latentune.DiffusionTransformer


def test_networks_are_offloaded_until_they_are_used(pipe: LatentunePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pipe("a", **CALL, generator=seeded()).audios
    used: list[str] = []
    names = {id(pipe.generator): "generator", id(pipe.tokenizer): "tokenizer"}
    onload = face._onload

    def noted(model: Any) -> None:
        used.append(names[id(model)])
        assert hasattr(model, "_hf_hook")
        onload(model)

    monkeypatch.setattr(face, "_onload", noted)
    pipe.enable_model_cpu_offload(device="cpu")
    assert np.array_equal(pipe("a", **CALL, generator=seeded()).audios, expected)
    assert list(dict.fromkeys(used)) == ["generator", "tokenizer"]
    pipe.remove_all_hooks()


def test_a_pipeline_is_pushed_to_and_loaded_from_the_hub(
    pipe: LatentunePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, Any] = {}

    def upload(self: Any, folder: str, repo_id: str, **options: Any) -> None:
        pushed[repo_id] = sorted(path.name for path in Path(folder).iterdir())
        assert "pipeline_tag: text-to-audio" in (Path(folder) / "README.md").read_text()

    monkeypatch.setattr("huggingface_hub.create_repo", lambda name, **_: type("Repo", (), {"repo_id": name}))
    monkeypatch.setattr(LatentunePipeline, "_upload_folder", upload)
    files = ["README.md", "generator", "model_index.json", "pipeline.json", "tokenizer"]
    pipe.push_to_hub("me/hums")
    pipe.save_pretrained(tmp_path / "pipe", push_to_hub=True, repo_id="me/again")
    assert pushed == {"me/hums": files, "me/again": files}

    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path / "pipe"))
    for loaded in (
        load_pipeline("me/hums", revision="v1").generator,
        LatentunePipeline.from_pretrained("me/hums").generator,
    ):
        assert loaded.fingerprint() == pipe.generator.fingerprint()


def test_what_the_face_does_not_have_is_told(pipe: LatentunePipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="output_type must be one of np, pt, latent, got 'pil'"):
        pipe("a", **CALL, output_type="pil")
    with pytest.raises(TypeError, match="no sampling option 'temperature'"):
        pipe("a", **CALL, temperature=1.0)
    with pytest.raises(ValueError, match="saved as safetensors and without variants"):
        pipe.save_pretrained(tmp_path, variant="fp16")
    with pytest.raises(TypeError, match="load_pipeline has no option use_safetensors"):
        LatentunePipeline.from_pretrained(tmp_path, use_safetensors=True)
    for load in (load_pipeline, load_generator):
        with pytest.raises(CheckpointError, match="nobody/nothing"):
            load("nobody/nothing", local_files_only=True)
