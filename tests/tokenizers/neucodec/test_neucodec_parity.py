"""NeuCodec computes what other implementations compute.

The golden file holds what the official classes computed with weights that are stored in it: small parts of the codec,
whole. The complete models of reduced size are compared where LATENTUNE_REFERENCES is set, and with the model of
transformers where the installed version has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentune.tokenizers.neucodec import DistillNeuCodec, DistillNeuCodecConfig, NeuCodec, NeuCodecConfig
from latentune.tokenizers.neucodec.acoustic import AcousticConfig
from latentune.tokenizers.neucodec.config import CodecConfig
from latentune.tokenizers.neucodec.decoder import DecoderConfig
from latentune.tokenizers.neucodec.filterbank import log_mel, normalised_frames
from latentune.tokenizers.neucodec.l3ac import DistilAcousticConfig

GOLDEN = Path(__file__).resolve().parents[2] / "assets/neucodec_golden.safetensors"
REFERENCES = os.environ.get("LATENTUNE_REFERENCES")
FEATURES, AUDIO = 5e-5, 2e-6
SHARED: dict[str, Any] = {
    "adapter_width": 48,
    "semantic_width": 24,
    "fused_width": 96,
    "synthesis": DecoderConfig(width=64, depth=2, num_heads=4),
}
SIZES: dict[str, tuple[type[NeuCodec], CodecConfig]] = {  # of the references
    "neucodec_small": (NeuCodec, NeuCodecConfig(acoustic=AcousticConfig(width=4, out_width=40), **SHARED)),
    "distill_small": (
        DistillNeuCodec,
        DistillNeuCodecConfig(
            acoustic=DistilAcousticConfig(
                widths=(8, 12, 16, 24), width=48, window=12, heads=6, head_dim=12, position_width=24
            ),
            acoustic_width=40,
            **SHARED,
        ),
    ),
}


def load_part(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str) -> Any:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return module.eval()


@torch.no_grad()
def test_parts_give_what_the_official_ones_give() -> None:
    from latentune.tokenizers.neucodec.adapter import Adapter
    from latentune.tokenizers.neucodec.head import overlap_add, polar_spectrum
    from latentune.tokenizers.neucodec.quantiser import Quantiser, QuantiserConfig

    golden = load_file(GOLDEN)
    adapter = load_part(Adapter(32, 48, 24), golden, "weights/semantic_adapter.")
    features = adapter(golden["semantic_hidden"])
    torch.testing.assert_close(features.mT, golden["semantic_features"], atol=FEATURES, rtol=0)
    quantiser = load_part(Quantiser(QuantiserConfig(), 96), golden, "weights/quantiser.")
    values = quantiser.values(golden["fused"])
    tokens = (quantiser.values_to_digits(values) * 4 ** torch.arange(8)).sum(-1)
    assert torch.equal(tokens, golden["token_ids"].long())
    torch.testing.assert_close(quantiser.straight_through(values) - 0.25, golden["fsq_values"], atol=1e-6, rtol=0)
    embedding = quantiser.embed(quantiser.straight_through(values))
    torch.testing.assert_close(embedding, golden["fsq_embedding"], atol=FEATURES, rtol=0)
    # the first six frames of a longer signal make the first four hops of its audio; some magnitudes are clipped
    assert (golden["dec_head"][..., :961].exp() > 100).any()
    audio = overlap_add(polar_spectrum(golden["dec_head"]), 1920, 480)[..., : 4 * 480]
    torch.testing.assert_close(audio, golden["decoded_audio"], atol=AUDIO, rtol=0)


@torch.no_grad()
def test_the_first_stage_and_the_front_end_give_what_the_official_ones_give() -> None:
    from latentune.tokenizers.neucodec.acoustic import Stage

    golden = load_file(GOLDEN)
    stage = load_part(Stage(4, 2, 7, (1, 3, 9)), golden, "weights/acoustic_encoder.stages.0.")
    torch.testing.assert_close(stage(golden["acoustic_block_0"]), golden["acoustic_block_1"], atol=FEATURES, rtol=0)
    frames = normalised_frames(log_mel(golden["padded_audio"][:, 0]))
    torch.testing.assert_close(frames, golden["semantic_input"], atol=FEATURES, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(REFERENCES is None, reason="LATENTUNE_REFERENCES names no folder of reference tensors")
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_the_reference_tensors_are_matched(size: str) -> None:
    """Complete models of reduced size, every activation on the way, ids exactly."""
    folder = Path(str(REFERENCES)) / "neucodec" / size
    cls, config = SIZES[size]
    codec = cls.from_official(folder, config=config)
    hooks = {"dec_embed": codec.decoder.stem, "dec_prior": codec.decoder.pre, "dec_post": codec.decoder.post,
             "dec_final_norm": codec.decoder.norm, "dec_head": codec.decoder.head.out,
             "decoder_input": codec.decoder.project_in, "acoustic_features": codec.acoustic_encoder}  # fmt: skip
    hooks |= {f"dec_block_{i}": block for i, block in enumerate(codec.decoder.blocks)}
    if cls is NeuCodec:
        hooks["acoustic_block_0"] = codec.acoustic_encoder.stem
        hooks |= {f"acoustic_block_{i}": stage for i, stage in enumerate(codec.acoustic_encoder.stages, 1)}
    seen: dict[str, Tensor] = {}
    for name, part in hooks.items():
        part.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    cases = sorted(folder.glob("case_*.safetensors"))
    assert len(cases) >= 4
    for case in cases:
        expected = load_file(case)
        padded = expected["padded_audio"][:, 0]
        num_frames = expected["fused"].shape[1]
        hidden = codec.semantic_frames(padded)
        fused = codec.fused_frames(hidden, padded)[:, :num_frames]
        seen |= {"semantic_hidden": hidden, "semantic_features": codec.semantic_adapter(hidden).mT, "fused": fused}
        seen["prefsq_latent"] = codec.quantiser.project_in(fused)
        seen["decoded_audio"] = codec.decoder(expected["fsq_embedding"])
        if cls is NeuCodec:
            seen["semantic_input"] = normalised_frames(log_mel(padded))
        for name, tensor in seen.items():
            # three log magnitudes lie beyond the clamp and are large there
            tolerance = AUDIO if name == "decoded_audio" else FEATURES
            assert (tensor - expected[name]).abs().max() <= tolerance, f"{case.stem}: {name}"
        encoded = codec.encode(expected["input_audio"], 16000, official_length=True)
        assert torch.equal(encoded.tokens[..., 0], expected["token_ids"][:, 0].long())
        decoded = codec.decode(tokens=encoded.tokens)
        torch.testing.assert_close(decoded, expected["decoded_audio"].clamp(-1, 1), atol=AUDIO, rtol=0)


# ---------------------------------------------------------------------- transformers' own NeuCodec


def transformers_names(name: str) -> str:
    """The key of one of our tensors in transformers' `NeuCodecModel`."""
    for ours, theirs in (
        ("semantic_encoder.model.", "semantic_encoder."),
        ("semantic_adapter.conv_in", "semantic_adapter.conv1"),
        ("semantic_adapter.conv_mid1", "semantic_adapter.conv2"),
        ("semantic_adapter.conv_mid2", "semantic_adapter.conv3"),
        ("semantic_adapter.conv_out", "semantic_adapter.conv4"),
        ("acoustic_encoder.stem.", "acoustic_encoder.conv1."),
        ("acoustic_encoder.out_act.", "acoustic_encoder.snake1.act."),
        ("acoustic_encoder.out.", "acoustic_encoder.conv2."),
        ("acoustic_encoder.stages.", "acoustic_encoder.block."),
        ("fusion.", "fc_encoder."),
        ("quantiser.", "quantizer."),
        ("decoder.project_in.", "acoustic_decoder.fc."),
        ("decoder.stem.", "acoustic_decoder.embed."),
        ("decoder.pre.", "acoustic_decoder.prior_net."),
        ("decoder.post.", "acoustic_decoder.post_net."),
        ("decoder.blocks.", "acoustic_decoder.layers."),
        ("decoder.norm.", "acoustic_decoder.norm."),
        ("decoder.head.out.", "acoustic_decoder.head.linear."),
    ):
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    for ours, theirs in (
        ("units.0.", "res_unit1."),
        ("units.1.", "res_unit2."),
        ("units.2.", "res_unit3."),
        (".down_act.", ".snake1.act."),
        (".down.", ".conv1."),
        (".act1.", ".snake1.act."),
        (".act2.", ".snake2.act."),
        ("log_frequency", "alpha"),
        ("log_damping", "beta"),
        (".attn_norm.", ".input_layernorm."),
        (".mlp_norm.", ".post_attention_layernorm."),
        (".attn_out.", ".self_attn.o_proj."),
        (".mlp_up.", ".mlp.fc1."),
        (".mlp_down.", ".mlp.fc2."),
    ):
        name = name.replace(ours, theirs)
    return name


@torch.no_grad()
def test_the_complete_model_is_transformers_own(tiny_neucodec: NeuCodec) -> None:
    """Tokens and audio of a small random model, from the waveform on."""
    transformers = pytest.importorskip("transformers", minversion="5.17")
    tiny = vars(NeuCodecConfig.tiny())
    # transformers ties widths to each other: fused = semantic + decoder, acoustic = decoder
    config = NeuCodecConfig(**{**tiny, "acoustic": AcousticConfig(width=2, out_width=64), "fused_width": 80})
    torch.manual_seed(3)
    codec = NeuCodec(config).eval()
    torch.nn.init.normal_(codec.quantiser.project_in.weight, std=0.5)
    for name, parameter in codec.named_parameters():
        if name.endswith(("log_frequency", "log_damping")):
            torch.nn.init.normal_(parameter, std=0.2)
    theirs = transformers.NeuCodecModel(
        transformers.NeuCodecConfig(
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
            encoder_hidden_size=2,
            quantization_dim=80,
            semantic_model_config=codec.semantic_encoder.model.config.to_dict(),
        )
    ).eval()
    state = {transformers_names(name): tensor for name, tensor in codec.state_dict().items()}
    for key in [key for key in state if key.endswith(".qkv.weight")]:
        parts = zip("qkv", state.pop(key).chunk(3), strict=True)
        state |= {key.replace(".qkv.", f".self_attn.{part}_proj."): tensor for part, tensor in parts}
    result = theirs.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith(("masked_spec_embed", ".filter")) for key in result.missing_keys), result.missing_keys
    audio = 0.2 * torch.randn(1, 1, 16123, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(audio, (0, 320 - 16123 % 320))
    expected = theirs.encode(input_values=padded, input_features=normalised_frames(log_mel(padded[:, 0])))
    encoded = codec.encode(audio, 16000, official_length=True)
    assert torch.equal(encoded.tokens[..., 0], expected.audio_codes[:, 0].long())
    made = theirs.decode(audio_codes=expected.audio_codes)
    made = getattr(made, "audio_values", made[0])
    ours = codec.decode(tokens=encoded.tokens)
    torch.testing.assert_close(ours, made.reshape(ours.shape).clamp(-1, 1), atol=AUDIO, rtol=0)
