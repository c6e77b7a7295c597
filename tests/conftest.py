"""Fixtures that several parts share: a seeded generator and a tiny codec with random weights everywhere."""

from __future__ import annotations

import os

# read when huggingface_hub is imported: a test that would go to a hub fails at once, and with our message
os.environ["HF_HUB_OFFLINE"] = "1"

import logging
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undoes what a command does to logging, in a test or in a fixture, which other tests would notice."""
    _reset_logging()
    yield
    _reset_logging()


def _reset_logging() -> None:
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers[:] = [handler for handler in root.handlers if not type(handler).__module__.startswith("latentune")]
    for name in ("latentune", "latentune.job"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1234)


@pytest.fixture(scope="session")
def tiny_codec():  # type: ignore[no-untyped-def]
    """CoDiCodec at its smallest size, 48 kHz stereo, in eval mode; do not change it."""
    from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

    torch.manual_seed(0)
    codec = CoDiCodec(CoDiCodecConfig.tiny())
    for parameter in codec.parameters():
        if not parameter.any():  # what starts from zero would hide mistakes behind it
            torch.nn.init.normal_(parameter, std=0.05)
    return codec.eval()


@pytest.fixture(scope="session")
def tiny_taae():  # type: ignore[no-untyped-def]
    """TAAE at its smallest size, 16 kHz mono, in eval mode; do not change it."""
    from latentune.tokenizers.taae import TAAE, TAAEConfig

    torch.manual_seed(0)
    codec = TAAE(TAAEConfig.tiny())
    for name, parameter in codec.named_parameters():
        if name.endswith("_scale"):  # as initialised, blocks change so little that a lost context would not be seen
            torch.nn.init.normal_(parameter, 0.35, 0.1)
        elif name == "encoder.conv_out.weight":  # spreads the latents over all levels
            torch.nn.init.normal_(parameter, std=0.2)
    return codec.eval()


def tiny_neucodec_of(class_name: str):  # type: ignore[no-untyped-def]
    """A version of NeuCodec at its smallest size with random weights, in eval mode."""
    from latentune.tokenizers import neucodec

    config = getattr(neucodec, f"{class_name}Config").tiny()
    torch.manual_seed(0)
    codec = getattr(neucodec, class_name)(config)
    for name, parameter in codec.named_parameters():
        if name == "quantiser.project_in.weight":  # spreads the latents over all levels
            torch.nn.init.normal_(parameter, std=0.5)
        elif name.endswith(("log_frequency", "log_damping", "response_gain", "response_bias")):
            torch.nn.init.normal_(parameter, std=0.2)
    return codec.eval()


@pytest.fixture(scope="session")
def tiny_neucodec():  # type: ignore[no-untyped-def]
    """NeuCodec at its smallest size, 16 kHz in, 24 kHz out, in eval mode; do not change it."""
    return tiny_neucodec_of("NeuCodec")


@pytest.fixture(scope="session")
def tiny_distill_neucodec():  # type: ignore[no-untyped-def]
    """DistillNeuCodec at its smallest size, in eval mode; do not change it."""
    return tiny_neucodec_of("DistillNeuCodec")


@pytest.fixture(scope="session")
def tiny_melcodec():  # type: ignore[no-untyped-def]
    """MelCodec at its smallest size, 8 kHz mono, two codebooks, in eval mode; do not change it."""
    from latentune.tokenizers.melcodec import MelCodec, MelCodecConfig

    torch.manual_seed(0)
    codec = MelCodec(MelCodecConfig.tiny())
    codec.fit(0.2 * torch.randn(4, 8000))  # a start from data spreads the latents over all levels
    return codec.eval()
