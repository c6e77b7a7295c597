"""Weights that training starts from."""

import pytest
import torch
from torch import nn

from latentune.tokenizers.neucodec import DistillNeuCodec, NeuCodec
from latentune.tokenizers.parts.init import keep_variance_


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_the_deviation_is_multiplied_by_the_gain(gain: float) -> None:
    torch.manual_seed(0)
    for layer, shape in ((nn.Conv1d(64, 64, 7), (8, 64, 500)), (nn.Linear(512, 512, bias=False), (1000, 512))):
        keep_variance_(layer, gain)
        assert float(layer(torch.randn(shape)).detach().std()) == pytest.approx(gain, rel=0.1)


@pytest.mark.parametrize(("cls", "preset"), [(NeuCodec, "neucodec-mini"), (DistillNeuCodec, "neucodec-distill-mini")])
def test_a_new_codec_hears_differences(cls: type[NeuCodec], preset: str) -> None:
    """The quantizer's input differs between sounds; with PyTorch's own weights it hardly does."""
    torch.manual_seed(0)
    codec = cls(cls.config_class.preset(preset)).eval()
    sounds = torch.randn(2, 1, 16000) * torch.tensor([0.02, 0.2])[:, None, None]
    with torch.no_grad():
        z = codec.quantiser.project_in(codec.fuse(sounds))
    assert float((z[0] - z[1]).std()) > 0.5
