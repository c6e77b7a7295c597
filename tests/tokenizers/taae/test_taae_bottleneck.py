"""TAAE's bottleneck: tokens equal to the official ones, every preset and partition, and the stand-ins for rounding."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentune.core.config import build_config, config_to_dict
from latentune.core.errors import ConfigError
from latentune.layers.fsq_symmetric import Stage
from latentune.tokenizers.base import TokenizerSpec
from latentune.tokenizers.taae.bottleneck import (
    KEEP,
    NOISE,
    PRESETS,
    QUANTISE,
    Bottleneck,
    BottleneckConfig,
    allowed_presets,
)
from latentune.tokenizers.taae.hybrid import HybridConfig, draw_hybrid

NAMES = ("native", *PRESETS)
RESIDUAL = ("2x15625_700bps", "4x729_1000bps")


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    return load_file(Path(__file__).resolve().parents[2] / "assets" / "taae_fsq_reference.safetensors")


def make(latent_dim: int = 6, **config: object) -> Bottleneck:
    return Bottleneck(BottleneckConfig(**config), latent_dim)  # type: ignore[arg-type]


def encoder_output(frames: int = 3000, dims: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, dims, generator=torch.Generator().manual_seed(seed)) * 1.3


# ---------------------------------------------------------------------- the official tokens


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("inputs", "prefix"), [("pre_tanh", ""), ("clip/z", "clip/")])
def test_tokens_are_the_official_ones(reference, name: str, inputs: str, prefix: str) -> None:  # type: ignore[no-untyped-def]
    bottleneck = make(preset=name)
    tokens = bottleneck.z_to_tokens(reference[inputs])
    assert torch.equal(tokens, reference[f"{prefix}{name}/tokens"].long())
    if f"{prefix}{name}/values" in reference:
        official = reference[f"{prefix}{name}/values"]
        torch.testing.assert_close(bottleneck.tokens_to_values(tokens), official, atol=1e-6, rtol=0)
        # what the released code leaves unclipped is not different where tokens come from an encoder
        unclipped = make(preset=name, clip=False).tokens_to_values(tokens)
        assert torch.equal(unclipped, bottleneck.tokens_to_values(tokens))


@pytest.mark.parametrize("size", [3, 5, 6, 9, 17])
def test_native_tokens_of_other_levels_are_the_official_ones(reference, size: int) -> None:  # type: ignore[no-untyped-def]
    tokens = make(levels=(size,) * 6).z_to_tokens(reference["pre_tanh"])
    assert torch.equal(tokens, reference[f"L{size}/tokens"].long())


def test_exact_ties_go_where_the_official_code_sends_them(reference) -> None:  # type: ignore[no-untyped-def]
    bottleneck = make(levels=(5,) * 6)
    tokens = bottleneck.values_to_tokens(reference["ties_L5/in"])
    assert torch.equal(tokens, reference["ties_L5/tokens"].long())
    assert torch.equal(bottleneck.tokens_to_values(tokens).double(), reference["ties_L5/values"])
    assert not torch.equal(make(levels=(5,) * 6, rounding="half_up").values_to_tokens(reference["ties_L5/in"]), tokens)


def test_presets_take_tanh_in_float64_and_native_tokens_in_float32() -> None:
    """A z whose tanh lies just above a boundary in float64, and on it in float32, where the even digit takes it."""
    levels = (5,)
    z = torch.tensor([math.atanh(0.25)], dtype=torch.float32)
    for _ in range(4):  # the first float32 whose exact tanh is above 1/4
        if math.tanh(z.item()) > 0.25:
            break
        z = torch.nextafter(z, torch.tensor([1.0]))
    assert math.tanh(z.item()) > 0.25
    assert torch.tanh(z).item() == 0.25
    assert make(1, levels=levels).z_to_tokens(z).tolist() == [2]
    assert make(1, levels=(17,), stages=(Stage(levels=levels),)).z_to_tokens(z).tolist() == [3]


# ---------------------------------------------------------------------- round trips


@pytest.mark.parametrize("partition", [(), (3, 3), (1, 2, 3)])
@pytest.mark.parametrize("name", ["native", "1x46656_400bps"])
def test_single_stage_tokens_come_back(name: str, partition: tuple[int, ...], generator: torch.Generator) -> None:
    bottleneck = make(preset=name, partition=partition)
    sizes = [math.prod(levels) for levels in bottleneck.levels]
    tokens = torch.stack([torch.randint(size, (2, 500), generator=generator) for size in sizes], -1)
    tokens[0, 0], tokens[0, 1] = torch.tensor(sizes) - 1, 0
    assert torch.equal(bottleneck.values_to_tokens(bottleneck.tokens_to_values(tokens)), tokens)


@pytest.mark.parametrize("partition", [(), (2, 4)])
@pytest.mark.parametrize("name", RESIDUAL)
def test_residual_tokens_come_back_as_the_same_values(name: str, partition: tuple[int, ...]) -> None:
    bottleneck = make(preset=name, partition=partition)
    tokens = bottleneck.z_to_tokens(encoder_output())
    values = bottleneck.tokens_to_values(tokens)
    again = bottleneck.values_to_tokens(values)
    assert torch.equal(bottleneck.tokens_to_values(again), values)
    assert torch.equal(bottleneck.values_to_tokens(bottleneck.tokens_to_values(again)), again)  # and stay as they are
    middle = (values.unsqueeze(-1) - torch.tensor([-0.75, -0.25, 0.25, 0.75])).abs() == 0
    if name == "2x15625_700bps":  # frames with no value in the middle of two levels of five have one spelling alone
        single = ~middle.any(-1).any(-1)
        assert 100 < int(single.sum()) < len(single)
        assert torch.equal(again[single], tokens[single])
        assert not torch.equal(again, tokens)


def test_residual_presets_reconstruct_what_native_tokens_do() -> None:
    z = encoder_output()
    native = make().tokens_to_values(make().z_to_tokens(z))
    for name in RESIDUAL:
        bottleneck = make(preset=name)
        assert torch.equal(bottleneck.tokens_to_values(bottleneck.z_to_tokens(z)), native)


def test_a_partition_renumbers_the_same_digits() -> None:
    z = encoder_output(200)
    for name in NAMES:
        whole, parts = make(preset=name), make(preset=name, partition=(2, 4))
        values = whole.tokens_to_values(whole.z_to_tokens(z))
        tokens = parts.z_to_tokens(z)
        assert torch.equal(parts.tokens_to_values(tokens), values)
        size = whole.levels[0][0]
        assert torch.equal(tokens[:, 0] + size**2 * tokens[:, 1], whole.z_to_tokens(z)[:, 0])  # stage by stage


def test_levels_change_after_training_but_not_the_latents() -> None:
    z = encoder_output()
    errors = []
    for size in (3, 5, 9, 33):
        bottleneck = make(stages=(Stage(levels=(size,) * 6),))
        assert bottleneck.levels == ((size,) * 6,)
        assert bottleneck.config.levels == (17,) * 6  # what the network was trained with
        values = bottleneck.tokens_to_values(bottleneck.z_to_tokens(z))
        errors.append(float((values - torch.tanh(z)).abs().max()))
    assert all(error <= 1 / (size - 1) + 1e-6 for error, size in zip(errors, (3, 5, 9, 33), strict=True))
    back = make(stages=(Stage(levels=(5,) * 6),)).with_preset("native")
    assert torch.equal(back.z_to_tokens(z), make().z_to_tokens(z))


def test_stages_of_your_own() -> None:
    stages = (Stage(levels=(9,) * 6), Stage(levels=(3,) * 6, scale=1 / 8))
    z = encoder_output()
    custom = make(stages=stages)
    assert [len(book) for book in custom.levels] == [6, 6]
    native = make()
    expected = native.tokens_to_values(native.z_to_tokens(z))
    assert torch.equal(custom.tokens_to_values(custom.z_to_tokens(z)), expected)


def test_a_config_survives_json() -> None:
    config = BottleneckConfig(stages=(Stage(levels=(9,) * 6), Stage(levels=(3,) * 6, scale=0.125)), partition=(3, 3))
    assert build_config(BottleneckConfig, config_to_dict(config)) == config


# ---------------------------------------------------------------------- bit rates


@pytest.mark.parametrize(
    ("name", "quoted_bps", "sizes"),
    [
        ("native", 625, (17**6,)),
        ("1x46656_400bps", 400, (46656,)),
        ("2x15625_700bps", 700, (15625,) * 2),
        ("4x729_1000bps", 1000, (729,) * 4),
    ],
)
def test_quoted_bit_rates(name: str, quoted_bps: int, sizes: tuple[int, ...]) -> None:
    spec = TokenizerSpec(
        name="taae",
        sample_rate=16000,
        channels=1,
        hop_samples=640,
        latent_dim=6,
        levels=make(preset=name).levels,
        token_hop_samples=640,
    )
    assert spec.codebook_sizes == sizes
    assert spec.packed_bitrate_bps == quoted_bps
    assert spec.bitrate_bps == pytest.approx(25 * sum(map(math.log2, sizes)))


# ---------------------------------------------------------------------- no quantiser


def test_no_quantiser_has_no_tokens() -> None:
    bottleneck = make(8, kind="none")
    assert bottleneck.levels == ()
    z = encoder_output(10, 8)
    assert bottleneck.z_to_tokens(z).shape == (10, 0)
    with pytest.raises(ValueError, match="decode latents instead"):
        bottleneck.tokens_to_values(torch.zeros(10, 0, dtype=torch.int64))
    mode, noise, levels = draw_hybrid(HybridConfig(), bottleneck, 1, 10, torch.Generator(), z)
    assert mode.tolist() == [KEEP]
    assert torch.equal(bottleneck.train(z[None], mode, noise, levels), torch.tanh(z)[None])


# ---------------------------------------------------------------------- training


def test_each_item_is_trained_in_its_own_mode() -> None:
    bottleneck = make(2, levels=(17, 17))
    z = encoder_output(12, 2).reshape(3, 4, 2).requires_grad_()
    mode = torch.tensor([QUANTISE, NOISE, KEEP])
    noise = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(1)) - 0.5
    levels = torch.tensor([[5, 9], [5, 9], [5, 9]])
    values = bottleneck.train(z, mode, noise, levels)
    plain = torch.tanh(z.detach())
    grid = torch.tensor([2.0, 4.0])  # levels of 5 and 9 lie at multiples of 1/2 and 1/4
    torch.testing.assert_close(values[0], (plain[0] * grid).round() / grid)
    torch.testing.assert_close(values[1], plain[1] + noise[1] * torch.tensor([0.5, 0.25]))
    assert torch.equal(values[2], plain[2])
    values.sum().backward()
    torch.testing.assert_close(z.grad, 1 - plain**2)  # as if tanh were all there is, in every mode
    assert torch.equal(bottleneck.train(z, mode, noise, levels[0]), values)  # one set of levels for the batch


def test_training_rounds_as_tokens_do() -> None:
    z = encoder_output(50)[None]
    bottleneck = make()
    values = bottleneck.train(z, torch.tensor([QUANTISE]), torch.zeros_like(z), torch.full((6,), 17))
    torch.testing.assert_close(values, bottleneck.tokens_to_values(bottleneck.z_to_tokens(z)), atol=1e-6, rtol=0)


def shares(config: HybridConfig, count: int = 20000) -> list[float]:
    mode, *_ = draw_hybrid(config, make(), count, 1, torch.Generator().manual_seed(0), torch.empty(0))
    return [float((mode == kind).float().mean()) for kind in (QUANTISE, NOISE, KEEP)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HybridConfig(), [0.5, 0.5, 0]),
        (HybridConfig(noise_probability=0.2), [0.8, 0.2, 0]),
        (HybridConfig(scheme="released"), [0.0475, 0.95, 0.0025]),
        (HybridConfig(scheme="released", noise_dropout=0.5), [0.25, 0.5, 0.25]),
    ],
)
def test_how_often_each_mode_is_drawn(config: HybridConfig, expected: list[float]) -> None:
    assert shares(config) == pytest.approx(expected, abs=0.012)


def test_what_is_drawn_depends_on_the_generator_alone() -> None:
    def draw(seed: int) -> tuple[torch.Tensor, ...]:
        return draw_hybrid(HybridConfig(), make(), 4, 7, torch.Generator().manual_seed(seed), torch.empty(0))

    for a, b in zip(draw(3), draw(3), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(draw(3)[1], draw(4)[1])
    mode, noise, _ = draw(3)
    assert (mode.shape, mode.dtype) == ((4,), torch.int64)
    assert noise.shape == (4, 7, 6)
    assert -0.5 <= float(noise.min()) < -0.4
    assert 0.4 < float(noise.max()) < 0.5
    assert {int(draw(seed)[2][0]) for seed in range(40)} == {5, 9, 17}
    released = draw_hybrid(HybridConfig(scheme="released"), make(), 1, 1, torch.Generator(), torch.empty(0))
    assert released[2].tolist() == [17] * 6


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"levels": (5,) * 6, "preset": "4x729_1000bps"}, "allowed are native, 1x46656_400bps$"),
        ({"levels": (17,) * 8, "preset": "4x729_1000bps"}, "allowed are native$"),
        ({"preset": "3x1_1bps"}, "allowed are native, 1x46656_400bps, 2x15625_700bps, 4x729_1000bps$"),
        ({"levels": ()}, "at least 2"),
        ({"levels": (17, 1)}, "at least 2"),
        ({"partition": (3, 4)}, "sum to the 6 dimensions"),
        ({"partition": (6, 0)}, "positive"),
        ({"stages": (Stage(levels=(5, 5)),)}, "6 dimensions"),
        ({"stages": (Stage(levels=(5,) * 6),), "preset": "1x46656_400bps"}, "not both"),
        ({"kind": "vq"}, "kind must be 'fsq' or 'none', got 'vq'"),
        ({"rounding": "down"}, "rounding must be"),
        ({"kind": "none", "preset": "1x46656_400bps"}, "omit preset"),
    ],
)
def test_a_config_that_cannot_be(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BottleneckConfig(**config)  # type: ignore[arg-type]


def test_presets_follow_from_the_levels() -> None:
    assert allowed_presets((17,) * 6) == list(NAMES)
    assert allowed_presets((9,) * 6) == ["native", "1x46656_400bps"]
    with pytest.raises(ValueError, match="allowed are native, 1x46656_400bps"):
        make(levels=(9,) * 6).with_preset("2x15625_700bps")


def test_a_wrong_kind_or_key_in_a_file_is_refused() -> None:
    for values in ({"kind": "vq"}, {"rounding": "down"}, {"level": [17]}, {"stages": [{"levels": [1]}]}):
        with pytest.raises(ConfigError):
            build_config(BottleneckConfig, values)


def test_input_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="6 levels, the network 8 dimensions"):
        make(8)
    bottleneck = make(preset="2x15625_700bps")
    with pytest.raises(ValueError, match=r"tokens must be \[\.\.\., 2\], got \(1, 4\)"):
        bottleneck.tokens_to_values(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"0\.\.15624, got 0\.\.15625"):
        bottleneck.tokens_to_values(torch.tensor([[0, 0], [0, 15625]]))
    with pytest.raises(TypeError, match="integers"):
        bottleneck.tokens_to_values(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"values must be \[\.\.\., 6\]"):
        bottleneck.values_to_tokens(torch.zeros(1, 5))


@pytest.mark.parametrize(
    "change", [{"scheme": "none"}, {"level_choices": ()}, {"level_choices": (1,)}, {"noise_probability": 1.5}]
)
def test_a_mix_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(HybridConfig(), **change)  # type: ignore[arg-type]
