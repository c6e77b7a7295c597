"""Streams of tokens: the same as whole items, for one and for several, also when the window moves on."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING
from sampling import sample
from torch import Tensor

from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig

CHUNK = 4  # token frames; 20 samples
CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING, width=32, depth=2, heads=2, digit_width=16, max_frames=16, conditioning=CONDITIONING
)


@pytest.fixture(scope="module")
def model() -> TokenLM:
    torch.manual_seed(1)
    made = TokenLM(CONFIG).eval()
    torch.nn.init.normal_(made.head.weight, std=0.7)
    return made


def streamed(model: TokenLM, texts: list[str], blocks: list[int], **options: Any) -> Tensor:
    stream = model.open_stream(
        Conditions.of(texts, 1.0), sampling=model.make_sampling(options), generator=torch.Generator().manual_seed(5)
    )
    return torch.cat([stream.next_block(chunks) for chunks in blocks], 1)


@pytest.mark.parametrize("texts", [["piano"], ["piano", "", "rain"]])
@pytest.mark.parametrize("options", [{}, {"guidance_scale": 2.0}, {"temperature": 0.5, "top_k": 2}])
def test_streamed_is_whole_for_one_item_and_for_several(
    model: TokenLM, texts: list[str], options: dict[str, Any]
) -> None:
    chunks = 7  # the window holds 4
    whole = sample(
        model, Conditions.of(texts, 1.0), [20 * chunks - 5] * len(texts), seed=5, **options
    ).tokens  # the codec's chunks overlap by 5 samples
    assert whole is not None
    assert torch.equal(streamed(model, texts, [1] * chunks, **options), whole[:, : CHUNK * chunks])
    assert torch.equal(streamed(model, texts, [3, 4], **options), whole[:, : CHUNK * chunks])
    assert len(texts) == 1 or not torch.equal(whole[0], whole[1])


def test_an_item_is_the_same_alone(model: TokenLM) -> None:
    together = streamed(model, ["a", "b"], [3])
    alone = model.open_stream(Conditions.of(["a"], 1.0), generator=torch.Generator().manual_seed(5)).next_block(3)
    torch.testing.assert_close(together[:1], alone)


def test_a_stream_changes_at_the_next_block(model: TokenLM) -> None:
    def blocks(change: Any) -> list[Tensor]:
        stream = model.open_stream(Conditions.of(["a", "b"], 1.0), generator=torch.Generator().manual_seed(0))
        first = stream.next_block(2)
        change(stream)
        return [first, stream.next_block(2)]

    base = blocks(lambda stream: None)
    for change in (
        lambda stream: setattr(stream, "conditions", Conditions.of(["a", "c"], 1.0)),
        lambda stream: setattr(stream, "sampling", replace(stream.sampling, temperature=3.0)),
    ):
        first, second = blocks(change)
        assert torch.equal(first, base[0])
        assert not torch.equal(second, base[1])
