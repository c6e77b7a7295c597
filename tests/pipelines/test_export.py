"""Exported graphs give what PyTorch gives, at other lengths too; what cannot be right is refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fake_binding import CONDITIONING, LATENT_BINDING, TOKEN_BINDING
from plain_codec import PlainCodec
from torch import Tensor, nn

from latentune import load_tokenizer
from latentune.core.config import ConfigError, build_config
from latentune.core.errors import CheckpointError
from latentune.core.folders import refuse_strangers
from latentune.core.graphs import Graph
from latentune.generators.conditions import Conditions
from latentune.generators.continuous import ContinuousAR, ContinuousARConfig
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.language import TokenLM, TokenLMConfig, TokenSetLM, TokenSetLMConfig
from latentune.generators.language.digits import tokens_to_digits
from latentune.pipelines.export import OWN, ExportConfig, export_model
from latentune.pipelines.generation import graph_files
from latentune.pipelines.generation.graph_files import GraphError, export_graph
from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.load import tokenizer_class

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "tokenizers"


def tiny(name: str) -> AudioTokenizer:
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    cls = tokenizer_class(values["class"])
    torch.manual_seed(0)
    codec: AudioTokenizer = cls(build_config(cls.config_class, values["config"])).eval()
    return codec


def transformer(**changes: Any) -> DiffusionTransformer:
    torch.manual_seed(0)
    config = DiffusionTransformerConfig(
        binding=LATENT_BINDING, width=16, depth=1, heads=2, conditioning=CONDITIONING, max_frames=64, **changes
    )
    model = DiffusionTransformer(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 1.0))
    return model


@pytest.mark.parametrize("name", ["melcodec-tiny", "neucodec-tiny", "taae-tiny"])
def test_a_decoder_in_one_pass_is_what_decode_gives(name: str) -> None:
    codec = tiny(name)
    latents = torch.randn(2, 12, codec.spec.latent_dim, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(codec.latents_to_audio(latents), codec.decode(latents=latents), atol=1e-5, rtol=1e-4)


def test_the_inputs_of_a_step_are_those_of_the_network() -> None:
    model = transformer(average_velocity=True)
    [graph] = model.graphs()
    inputs = graph.make_inputs(8)
    assert list(inputs) == ["latents", "times", "condition", "spans", "condition_tokens", "condition_mask"]
    made = graph.network(*inputs.values())
    assert made.shape == (2, 8, 3)
    hidden = dict(inputs) | {
        "condition_tokens": inputs["condition_tokens"] + ~inputs["condition_mask"][..., None] * 5.0
    }
    torch.testing.assert_close(graph.network(*hidden.values()), made)
    for name in ("latents", "times", "condition", "spans"):
        changed = dict(inputs) | {name: inputs[name] * 0.5}
        assert (graph.network(*changed.values()) - made).abs().max() > 1e-4, name


def test_what_has_no_graph_says_why() -> None:
    codec = PlainCodec()
    with pytest.raises(ValueError, match="not one pass of a network"):
        codec.decoder_graph()
    with pytest.raises(TypeError, match="steps"):
        tiny("melcodec-tiny").decoder_graph(steps=2)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        tiny("codicodec-tiny").decoder_graph(steps=0)
    model = transformer()
    model.condition_encoder.parts["label"].gives_frames = True
    with pytest.raises(ValueError, match="condition label has a value for each frame"):
        model.graphs()


def language_model(**changes: Any) -> TokenLM:
    torch.manual_seed(0)
    config = TokenLMConfig(
        binding=TOKEN_BINDING,
        width=32,
        depth=2,
        heads=2,
        digit_width=16,
        max_frames=16,
        conditioning=CONDITIONING,
        **changes,
    )
    model = TokenLM(config).eval()
    torch.nn.init.normal_(model.head.weight, std=0.7)
    return model


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"patch_frames": 2}, {"add_conditions": True}])
def test_the_graphs_of_a_language_model_give_the_logits_of_training(changes: dict[str, Any]) -> None:
    model = language_model(**changes)
    embed, step, digits = (graph.network for graph in model.graphs())
    conditions = model.condition_encoder(Conditions.of(["a", "b"], 1.0))
    sizes = torch.tensor(TOKEN_BINDING.spec.codebook_sizes)
    tokens = (torch.rand(2, 8, len(sizes), generator=torch.Generator().manual_seed(1)) * sizes).long()
    wanted = model(tokens, conditions=conditions)
    patches = model.to_patches(tokens_to_digits(tokens, TOKEN_BINDING.spec.levels))
    start, mask = model.start_embeddings(conditions)
    first, slots = start.shape[1], start.shape[1] + patches.shape[1]
    seen = torch.zeros(2, slots)
    cache = [torch.zeros(2, 2, 2, slots, 16) for _ in range(2)]
    made = []
    for slot in range(slots - 1):
        past = slot - first
        x = start[:, slot] if past < 0 else embed(patches[:, past], torch.tensor([past]))
        if past >= 0 and model.settings.add_conditions:
            x = x + model.added_to_frames(conditions)
        hidden, *cache = step(x, torch.tensor([slot]), seen, *cache)
        seen[:, slot] = 1.0 if mask is None or slot >= first else mask[:, slot].float()
        if past >= -1:
            made.append(digits(hidden, patches[:, past + 1]))
    logits = model.to_frames(torch.stack(made, 1))
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_the_step_of_a_language_model_is_right_with_caches_of_other_sizes(tmp_path: Path) -> None:
    for graph in language_model().graphs():
        facts = export_graph(graph, tmp_path, 6)
        assert max(facts["largest_error"].values()) < 1e-4, graph.name
        if graph.name == "step":
            assert facts["inputs"]["keys"]["shape"] == [2, "batch", 2, "frames", 16]
            assert facts["lengths_checked"] == [6, 7, 18]
            assert facts["outputs"] == ["hidden", "new_keys", "new_values"]


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_the_passes_over_sets_take_other_sizes(tmp_path: Path) -> None:
    config = TokenSetLMConfig(
        binding=TOKEN_BINDING, width=32, depth=2, heads=2, digit_width=16, max_frames=24, conditioning=CONDITIONING
    )
    for graph in TokenSetLM(config).eval().graphs():
        facts = export_graph(graph, tmp_path, 6)
        assert max(facts["largest_error"].values()) < 1e-4, graph.name
        if graph.name == "step":
            assert facts["inputs"]["embeddings"]["shape"] == ["batch", "tokens", 32]
            assert facts["lengths_checked"] == [6, 7, 18]
            run = graph_files._runtime(tmp_path / "step.onnx")
            values = graph.make_inputs(12)
            values |= {name: torch.cat([values[name]] * 2, 1)[:, :5] for name in ("embeddings", "positions")}
            values["slots"] = torch.arange(5)
            wanted = graph.network(*values.values())[0].detach()
            torch.testing.assert_close(run(list(values.values()))[0], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_a_block_behind_a_past_of_any_length_is_exported(tmp_path: Path) -> None:
    [graph] = transformer(attention="chunk_causal", block_chunks=2).graphs()
    facts = export_graph(graph, tmp_path, 6)
    assert max(facts["largest_error"].values()) < 1e-4
    assert facts["inputs"]["keys"]["shape"] == [1, "batch", 2, "frames", 8]
    assert facts["lengths_checked"] == [6, 7, 18]


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_the_pipeline_that_speaks_is_exported(tmp_path: Path) -> None:
    made = export_model(ExportConfig(model="melcodec-speech-say", output=str(tmp_path / "out")))
    assert made["refused"] == {}
    assert made["graphs"]["step"]["inputs"]["spread"]["shape"] == ["batch", "symbols", 128]


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_the_small_network_of_continuous_autoregression_is_exported(tmp_path: Path) -> None:
    model = ContinuousAR(ContinuousARConfig(binding=LATENT_BINDING, width=16, depth=1, heads=2)).eval()
    nn.init.normal_(model.head.to_velocity.weight)
    [graph] = model.graphs()
    assert max(export_graph(graph, tmp_path, 4)["largest_error"].values()) < 1e-4


@pytest.fixture
def runtimes() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.mark.usefixtures("runtimes")
def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seconds must be above 0"):
        ExportConfig(model="x", output="y", seconds=0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        ExportConfig(model="x", output="y", steps=0)
    with pytest.raises(ConfigError, match="did you mean 'seconds'"):
        build_config(ExportConfig, {"model": "x", "output": "y", "second": 1.0})
    with pytest.raises(CheckpointError, match="neither a pipeline nor a tokenizer"):
        export_model(ExportConfig(model=str(tmp_path / "nowhere"), output=str(tmp_path / "out")))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        export_model(ExportConfig(model="melcodec-speech", output=str(tmp_path / "mine")))
    with pytest.raises(TypeError, match="steps"):
        export_model(ExportConfig(model="melcodec-speech", output=str(tmp_path / "out"), steps=2))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_a_step_is_right_at_other_sizes(tmp_path: Path) -> None:
    [graph] = transformer(average_velocity=True).graphs()
    facts = export_graph(graph, tmp_path, 8)
    assert facts["inputs"]["latents"] == {"dtype": "float32", "shape": ["batch", "frames", 3]}
    assert facts["lengths_checked"] == [8, 10, 24]
    run = graph_files._runtime(tmp_path / "step.onnx")
    with pytest.raises(GraphError, match="more than its 64"):
        export_graph(graph, tmp_path, 66)
    one = [value[:1] for value in graph.make_inputs(16).values()]
    torch.testing.assert_close(run(one)[0], graph.network(*one).detach(), atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
@pytest.mark.parametrize(("name", "free"), [("codicodec-tiny", True), ("melcodec-tiny", True), ("taae-tiny", False)])
def test_a_decoder_is_exported_and_the_codec_works_as_before(tmp_path: Path, name: str, free: bool) -> None:
    codec = tiny(name)
    latents = torch.randn(1, 24, codec.spec.latent_dim, generator=torch.Generator().manual_seed(1))

    def decode(codec: AudioTokenizer) -> Tensor:
        return codec.decode(latents=latents, generator=torch.Generator().manual_seed(2))

    before = decode(codec)
    codec.save_pretrained(tmp_path / "codec")
    made = export_model(ExportConfig(model=str(tmp_path / "codec"), output=str(tmp_path / "out"), seconds=0.2))
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == made
    graph = made["graphs"]["decoder"]
    assert ("frames" in graph["inputs"]["latents"]["shape"]) == free
    assert (tmp_path / "out" / "decoder.onnx").is_file()
    refuse_strangers(tmp_path / "out", OWN, "the export", mark="export.json")  # it can be written again
    assert torch.equal(decode(load_tokenizer(tmp_path / "codec")), before)
    assert torch.equal(decode(codec), before)


@pytest.mark.slow
@pytest.mark.usefixtures("runtimes")
def test_a_graph_that_is_wrong_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny("melcodec-tiny").save_pretrained(tmp_path / "codec")
    monkeypatch.setattr(graph_files, "_error", lambda graph, frames, run: 0.5)
    with pytest.raises(CheckpointError, match=r"differ from PyTorch's by 0\.5"):
        export_model(ExportConfig(model=str(tmp_path / "codec"), output=str(tmp_path / "out"), seconds=0.2))
    assert not (tmp_path / "out").exists()


def test_the_error_is_relative_and_no_number_is_the_largest() -> None:
    graph = Graph(
        name="double",
        network=nn.Identity(),
        make_inputs=lambda frames: {"x": torch.full((2, frames), 4.0)},
        free_axes={},
        outputs=("y",),
    )
    assert graph_files._error(graph, 3, lambda values: values[0] + 1.0) == 0.25
    assert graph_files._error(graph, 3, lambda values: values[0] * float("nan")) == float("inf")
