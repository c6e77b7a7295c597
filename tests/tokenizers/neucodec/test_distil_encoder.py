"""DistillNeuCodec's acoustic encoder: windows, causality, lengths, and the official outputs.

The golden file holds official weights of stem and first three stages at a reduced size (random, weight norm not folded)
and what the official class computes for two hops of audio. Both complete encoders are compared where
LATENTUNE_REFERENCES is set.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from random_weights import randomised
from safetensors.torch import load_file
from torch import Tensor

from latentune.layers.weight_norm import fold_state_dict
from latentune.tokenizers.neucodec import local_attention
from latentune.tokenizers.neucodec.distil_semantic import (
    DistilSemanticConfig,
    DistilSemanticEncoder,
    distil_semantic_state,
)
from latentune.tokenizers.neucodec.distil_upstream import distil_names, distil_tensors
from latentune.tokenizers.neucodec.l3ac import (
    BLOCK_FRAMES,
    DistilAcousticConfig,
    DistilAcousticEncoder,
    Unit,
    snake,
    trends,
)
from latentune.tokenizers.neucodec.local_attention import DistanceBias, LocalTransformer
from latentune.tokenizers.neucodec.official import read_semantic_files

GOLDEN = Path(__file__).resolve().parents[2] / "assets/neucodec_distil_golden.safetensors"
REFERENCES = os.environ.get("LATENTUNE_REFERENCES")
TOLERANCE = 5e-5
SMALL = DistilAcousticConfig(  # the size of the references
    widths=(8, 12, 16, 24), width=48, window=12, heads=6, head_dim=12, position_width=24
)
SMALL_SEMANTIC = DistilSemanticConfig(
    width=32, heads=4, mlp_width=64, conv_width=16, position_kernel=16, position_groups=4
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def read_semantic(folder: Path) -> tuple[DistilSemanticConfig, dict[str, Tensor]]:
    values, weights = read_semantic_files(folder)
    return DistilSemanticConfig.from_hugging_face(values), distil_semantic_state(weights)


@pytest.fixture(scope="module")
def encoder() -> DistilAcousticEncoder:
    torch.manual_seed(0)
    return randomised(DistilAcousticEncoder(SMALL))


# ---------------------------------------------------------------------- attention


def reference_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, window: int) -> Tensor:
    """All scores at once in float64, those of unseen keys taken out pair by pair."""
    frames = range(q.shape[2])
    seen = torch.tensor([[j <= i and j // window >= i // window - 1 for j in frames] for i in frames])
    distance = torch.tensor([[abs(i - j) for j in frames] for i in frames])
    added = bias.double()[:, distance.clamp_max(bias.shape[1] - 1)]
    scores = q.double() @ k.double().mT / q.shape[-1] ** 0.5 + added
    return (torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1) @ v.double()).float()


@pytest.mark.parametrize("block", [5, 256])
@pytest.mark.parametrize("window", [1, 7, 12, 100])
@pytest.mark.parametrize("length", [1, 6, 12, 13, 40])
def test_a_query_sees_its_window_and_the_one_before(
    length: int, window: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_attention, "BLOCK_QUERIES", block)
    q, k, v = noise(3, 2, 3, length, 8)
    bias = noise(3, min(length, 2 * window), seed=1)
    ours = local_attention.local_attention(q, k, v, bias, window)
    torch.testing.assert_close(ours, reference_attention(q, k, v, bias, window), atol=1e-5, rtol=0)


def test_a_bias_of_too_few_distances_is_refused() -> None:
    q, k, v = noise(3, 1, 2, 30, 8)
    with pytest.raises(ValueError, match="bias of 19 distances, but keys are up to 20 apart"):
        local_attention.local_attention(q, k, v, noise(2, 19), 10)


def test_the_bias_is_learned() -> None:
    torch.manual_seed(0)
    transformer = LocalTransformer(width=16, depth=2, heads=2, head_dim=8, window=5, position_width=4)
    transformer(noise(1, 13, 16)).square().sum().backward()
    for name, parameter in transformer.distance_bias.named_parameters():
        assert parameter.grad is not None
        # what is the same for all keys changes no softmax
        assert (float(parameter.grad.abs().max()) > 1e-4) == (name != "layers.2.bias"), name


def test_the_bias_tells_distances_apart_under_autocast() -> None:
    bias = randomised(DistanceBias(8, 2))
    with torch.autocast("cpu", torch.bfloat16):
        told = bias(3000, torch.device("cpu"))
    assert told.dtype == torch.float32
    torch.testing.assert_close(told, bias(3000, torch.device("cpu")), atol=0, rtol=0)


@torch.no_grad()
def test_no_frame_sees_a_later_one_or_one_before_the_window() -> None:
    torch.manual_seed(0)
    transformer = randomised(LocalTransformer(width=16, depth=1, heads=2, head_dim=8, window=5, position_width=4))
    x = noise(1, 23, 16)
    whole = transformer(x)
    torch.testing.assert_close(transformer(x[:, :13]), whole[:, :13], atol=1e-6, rtol=0)
    changed = x.clone()
    changed[:, 7] *= -1
    different = (transformer(changed) - whole).abs().amax((0, 2)) > 1e-5
    assert different.nonzero().flatten().tolist() == list(range(7, 15))  # up to the end of the next window


# ---------------------------------------------------------------------- convolutions


@pytest.mark.parametrize("length", [1, 7, 320, 1001])
def test_trends_are_pools_of_pools(length: int) -> None:
    audio, lengths = noise(2, 1, length), (1, 5, 11, 21, 45)
    ours = trends(audio, lengths)
    assert torch.equal(ours[0], audio)
    for count, trend in zip(lengths[1:], ours[1:], strict=True):
        maximum = F.max_pool1d(audio.abs(), count, 1, count // 2)
        assert torch.equal(trend, F.avg_pool1d(maximum, count, 1, count // 2))


def test_snake_by_hand() -> None:
    assert float(snake(torch.tensor(2.0), torch.tensor(0.5))) == pytest.approx(2 + 0.841471**2 / 0.5)
    assert float(snake(torch.tensor(2.0), torch.tensor(0.0))) == 2.0


@pytest.mark.parametrize("loudness", [1.0, 1e-4, 0.0])
@torch.no_grad()
def test_the_response_norm_is_the_written_out_one(loudness: float) -> None:
    torch.manual_seed(0)
    unit = randomised(Unit(6))
    x = loudness * noise(2, 6, BLOCK_FRAMES + 77)  # odd, and more than is computed at once
    hidden = snake(unit.expand(unit.depthwise(x).mT), unit.frequency)
    norm = torch.linalg.vector_norm(hidden, dim=(1, 2), keepdim=True)
    share = norm / (norm.mean(-1, keepdim=True) + torch.finfo(torch.float32).eps)
    response = hidden + unit.response_gain * (hidden * share) + unit.response_bias
    torch.testing.assert_close(unit(x), x + unit.contract(response).mT, atol=2e-6, rtol=0)


def test_training_computes_what_inference_does() -> None:
    torch.manual_seed(0)
    unit = randomised(Unit(6))
    x = noise(1, 6, 2 * BLOCK_FRAMES + 1)
    with torch.no_grad():
        expected = unit(x)
    output = unit(x)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)
    output.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in unit.parameters())


# ---------------------------------------------------------------------- whole encoders


@torch.no_grad()
def test_one_frame_a_hop_and_items_do_not_see_each_other(encoder: DistilAcousticEncoder) -> None:
    assert SMALL.hop_samples == 320
    audio = 0.1 * noise(2, 1, 320 * 31)
    features = encoder(audio)
    assert features.shape == (2, 31, 48)
    torch.testing.assert_close(encoder(audio[1:]), features[1:], atol=2e-5, rtol=0)
    assert encoder(audio[..., :320]).shape == (2, 1, 48)


@pytest.mark.parametrize("shape", [(1, 1, 321), (1, 1, 0), (1, 2, 320), (1, 320)])
def test_audio_of_another_shape_is_refused(encoder: DistilAcousticEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes audio \[B, 1, N\], N a multiple of 320"):
        encoder(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strides": (4, 4, 4, 4)}, "strides .* one fewer"),
        ({"trend_samples": (1, 4)}, "must be odd"),
        ({"trend_samples": (5, 1)}, "must ascend"),
        ({"window": 0}, "must be at least 1"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistilAcousticConfig(**values)


def test_the_released_sizes_have_the_official_parameters() -> None:
    with torch.device("meta"):
        acoustic = DistilAcousticEncoder(DistilAcousticConfig())
    kernels = [m for m in acoustic.modules() if isinstance(m, torch.nn.Conv1d)]
    linears = [m for unit in acoustic.modules() if isinstance(unit, Unit) for m in (unit.expand, unit.contract)]
    gains = sum(len(m.weight) for m in kernels + linears)  # of weight norm
    assert sum(p.numel() for p in acoustic.parameters()) + gains == 21_620_384


# ---------------------------------------------------------------------- official weights


@torch.no_grad()
def test_the_first_stages_give_what_the_official_ones_do(encoder: DistilAcousticEncoder) -> None:
    golden = load_file(GOLDEN)
    audio, expected = golden.pop("padded_audio"), golden.pop("acoustic_block_6")
    loaded = DistilAcousticEncoder(SMALL).eval()
    state = {key.removeprefix("acoustic."): value for key, value in distil_tensors(fold_state_dict(golden)).items()}
    missing, unexpected = loaded.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith(("stages.3.", "out.", "context_")) for key in missing)
    x = loaded.stem(audio)
    for stage in loaded.stages[:3]:
        x = stage(x)
    torch.testing.assert_close(x, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("codec_encoder.encoder.blocks.0.blocks.4.1.bias", "acoustic.stem.bands.4.bias"),
        ("codec_encoder.encoder.blocks.0.conv_2.weight", "acoustic.stem.merge.weight"),
        ("codec_encoder.encoder.blocks.7.1.module.grn.gamma", "acoustic.stages.3.units.1.response_gain"),
        ("codec_encoder.encoder.blocks.6.0.weight", "acoustic.stages.2.down.weight"),
        ("codec_encoder.encoder.blocks.8.bias", "acoustic.out.bias"),
        ("codec_encoder.en_encoder.down_trans.down_layer.weight", "acoustic.context_down.weight"),
        (
            "codec_encoder.en_encoder.local_trans.layers.2.1.4.weight",
            "acoustic.context_coarse.layers.2.mlp_down.weight",
        ),
        (
            "codec_encoder.en_encoder.down_trans.trans.dynamic_pos_bias.mlp.4.bias",
            "acoustic.context_fine.distance_bias.layers.2.bias",
        ),
        ("codec_encoder.en_encoder.cache_token", None),
        ("fc_sq_prior.weight", "acoustic_proj.weight"),
        ("fc_prior.weight", "fc_prior.weight"),
        ("codec_encoder.encoder.blocks.2.1.weight", "codec_encoder.encoder.blocks.2.1.weight"),
    ],
)
def test_official_names(official: str, ours: str | None) -> None:
    assert distil_names(official) == ours


@pytest.mark.slow
@pytest.mark.skipif(REFERENCES is None, reason="LATENTUNE_REFERENCES names no folder of reference tensors")
@pytest.mark.parametrize("case", ["odd", "exact", "one_hop", "batch2", "windows"])
@torch.no_grad()
def test_the_reference_tensors_are_matched(case: str) -> None:
    """Outputs of the official class at a reduced size, all activations of the acoustic encoder on the way."""
    folder = Path(str(REFERENCES)) / "neucodec/distill_small"
    official = torch.load(folder / "pytorch_model.bin", weights_only=True)
    own = {key: value for key, value in official.items() if key.startswith(("codec_encoder.", "fc_sq_prior."))}
    state = distil_tensors(fold_state_dict(own))
    projection = [state.pop(f"acoustic_proj.{name}") for name in ("weight", "bias")]
    acoustic = DistilAcousticEncoder(SMALL).eval()
    acoustic.load_state_dict({key.removeprefix("acoustic."): value for key, value in state.items()})
    config, weights = read_semantic(folder / "semantic")
    assert config == SMALL_SEMANTIC
    semantic = DistilSemanticEncoder(config).eval()
    semantic.load_state_dict(weights)

    seen: dict[str, Tensor] = {}
    places = [acoustic.stem]
    for stage in acoustic.stages:
        places += [stage.units[-1]] + [stage.down] * (stage.down is not None)
    for index, module in enumerate([*places, acoustic.out]):
        name = f"acoustic_block_{index}"
        module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    acoustic.context_fine.register_forward_hook(lambda m, i, o: seen.update(acoustic_down_trans=o))
    acoustic.context_down.register_forward_hook(lambda m, i, o: seen.update(acoustic_down=o.mT))

    reference = load_file(folder / f"case_{case}.safetensors")
    audio = reference["padded_audio"]
    seen["acoustic_features"] = acoustic(audio)
    seen["acoustic_projected"] = F.linear(seen["acoustic_features"], *projection)
    seen["semantic_hidden"] = semantic(audio[:, 0])
    assert len(seen) == 14
    for name, ours in seen.items():
        torch.testing.assert_close(ours, reference[name], atol=TOLERANCE, rtol=0, msg=name)
