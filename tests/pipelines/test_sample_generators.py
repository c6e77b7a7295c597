"""The sampling pipeline with the real generators, from a checkpoint's folder to files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from latentune.core.config import build_config
from latentune.core.errors import CheckpointError, ConfigError, MismatchError
from latentune.core.settings import load_settings
from latentune.generators.base import LatentGenerator, TokenizerBinding
from latentune.generators.load import generator_class
from latentune.pipelines.data.checkpoints import Progress, save_checkpoint
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.sample import SampleConfig, sample_to_folder

OPTIONS = {"dit-tiny": {"steps": 2}, "lm-tiny": {"temperature": 0.9, "top_k": 5, "top_p": 0.9}}
CALL = {"dit-tiny": {"num_inference_steps": 2}, "lm-tiny": {"temperature": 0.9}}


def weights_of(model: LatentGenerator, averaged: LatentGenerator) -> Callable[[Path], None]:
    """Fills a checkpoint with a model and its averaged weights."""

    def fill(folder: Path) -> None:
        model.save_pretrained(str(folder / "model"))
        averaged.save_pretrained(str(folder / "ema"))

    return fill


def build(name: str, codec: Any) -> LatentGenerator:
    torch.manual_seed(0)
    values = load_settings(f"generators/{name}")
    width = codec.spec.latent_dim
    binding = TokenizerBinding(
        spec=codec.spec, fingerprint=codec.fingerprint(), latent_mean=(0.0,) * width, latent_std=(1.0,) * width
    )
    cls = generator_class(values["class_name"])
    generator = cls(build_config(cls.config_class, {**values["config"], "binding": binding})).eval()
    for parameter in generator.parameters():  # zero-initialised outputs would give every prompt the same
        torch.nn.init.normal_(parameter, std=0.05)
    return generator


@pytest.fixture(scope="module", params=["dit-tiny", "lm-tiny"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def pipe(kind: str, tiny_codec: Any) -> GenerationPipeline:
    return GenerationPipeline(tiny_codec, build(kind, tiny_codec))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max())


def test_an_item_is_the_same_alone_and_in_a_batch(kind: str, pipe: GenerationPipeline) -> None:
    alone = pipe("a", duration_s=0.2, generator=seeded(), **CALL[kind])
    together = pipe(["a", "b"], duration_s=[0.2, 0.1], generator=seeded(), **CALL[kind])
    assert difference(alone.item(0), together.item(0)) < 1e-3
    assert torch.isfinite(together.audio).all()
    assert together.lengths_samples.tolist() == [9600, 4800]


def test_the_prefix_is_kept_and_the_rest_is_new(kind: str, pipe: GenerationPipeline) -> None:
    start = torch.randn(2, 2 * pipe.spec.chunk_samples + 100, generator=seeded(1)) * 0.1
    prefix = pipe.tokenizer.encode(start[None], pipe.spec.sample_rate)
    out = pipe("a", duration_s=0.3, given=(start, pipe.spec.sample_rate), generator=seeded(), **CALL[kind])
    if out.tokens is not None:
        given, got, count = prefix.tokens, out.tokens, 2 * pipe.spec.chunk_tokens
    else:
        assert out.latents is not None
        given, got, count = prefix.latents, out.latents, 2 * pipe.spec.chunk_latents
    assert torch.equal(got[:, :count], given[:, :count])
    assert not torch.equal(got[:, count : count + 4], given[:, count : count + 4])


def test_a_saved_pipeline_writes_the_same_files(kind: str, pipe: GenerationPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    for name in ("a", "b"):
        records = sample_to_folder(
            SampleConfig(
                pipeline=str(tmp_path / "pipe"),
                output=str(tmp_path / name),
                prompts=("calm piano",),
                seconds=0.2,
                num=2,
                options={"guidance": 2.0, **OPTIONS[kind]},
                decode_options={"steps": 1},
                device="cpu",
                spectrograms=False,
            )
        )
    wavs = [record["file"] for record in records]
    assert wavs == ["000_calm-piano.wav", "001_calm-piano.wav"]
    for wav in wavs:
        assert (tmp_path / "a" / wav).read_bytes() == (tmp_path / "b" / wav).read_bytes()
        assert soundfile.info(tmp_path / "a" / wav).frames == 9600


def test_options_of_the_other_kind_are_refused(kind: str, pipe: GenerationPipeline, tmp_path: Path) -> None:
    other = OPTIONS["lm-tiny" if kind == "dit-tiny" else "dit-tiny"]
    with pytest.raises(ConfigError, match="is not an option of a"):
        sample_to_folder(SampleConfig(pipeline="p", output=str(tmp_path), options=other), pipeline=pipe)
    with pytest.raises(ConfigError, match="tempo is not an option of a"):
        sample_to_folder(SampleConfig(pipeline="p", output=str(tmp_path), options={"tempo": 1}), pipeline=pipe)


def test_a_run_and_its_checkpoint_are_pipelines_with_the_averaged_weights(
    kind: str, pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path
) -> None:
    tiny_codec.save_pretrained(str(tmp_path / "codec"))
    other = build(kind, tiny_codec)
    with torch.no_grad():
        next(other.parameters()).add_(0.5)
    run = tmp_path / "run"
    for step, averaged in ((1, other), (2, pipe.generator)):
        progress = Progress(step=step, samples_seen=step, config={"data": {"tokenizer": str(tmp_path / "codec")}})
        save_checkpoint(run / "checkpoints", progress, 3, weights_of(other, averaged))
    last = run / "checkpoints" / "00000002"
    for place in (run, last, last / "ema"):
        assert load_pipeline(place).generator.fingerprint() == pipe.generator.fingerprint()
    assert load_pipeline(run / "checkpoints" / "00000001").generator.fingerprint() == other.fingerprint()
    weights = last / "ema" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="1000 bytes instead of"):
        load_pipeline(run)


def test_a_run_whose_tokenizer_was_replaced_is_refused(
    kind: str, pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path
) -> None:
    other = type(tiny_codec)(tiny_codec.settings)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(str(tmp_path / "codec"))
    progress = Progress(step=1, samples_seen=1, config={"data": {"tokenizer": str(tmp_path / "codec")}})
    save_checkpoint(tmp_path / "checkpoints", progress, 3, weights_of(pipe.generator, pipe.generator))
    with pytest.raises(MismatchError, match="load the tokenizer that encoded its training data"):
        load_pipeline(tmp_path)
