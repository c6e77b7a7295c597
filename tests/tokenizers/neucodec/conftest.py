"""The tiny codecs of both versions, one after the other."""

from __future__ import annotations

import pytest

from latentune.tokenizers.neucodec import NeuCodec


@pytest.fixture(params=["tiny_neucodec", "tiny_distill_neucodec"])
def codec(request: pytest.FixtureRequest) -> NeuCodec:
    return request.getfixturevalue(request.param)
