"""Where items end: the loss against a sum by hand, the median rule, and sampling that stops."""

import math
from typing import Any

import pytest
import torch
from fake_binding import SECOND, TOKEN_BINDING
from torch import nn

from latentune.generators.base import LatentBatch
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.generators.language.ends import Ends, end_nats
from latentune.generators.language.objective import NextTokenConfig, NextTokenObjective
from latentune.generators.language.sampling import TokenSampling
from latentune.generators.language.set_lm import TokenSetLMConfig

CHUNK_SAMPLES, CHUNK_TOKENS = 20, 4  # of the fake codec
WORDS = ConditioningConfig(width=8, conditioners={"transcript": {"kind": "characters", "layers": 1, "spread": False}})


def make_lm(**options: Any) -> TokenLM:
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 2, "heads": 2, "digit_width": 8, "max_frames": 64}
    model = TokenLM(TokenLMConfig(binding=TOKEN_BINDING, conditioning=WORDS, **{**sizes, **options})).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model


def asked(*texts: str) -> Conditions:
    return Conditions(values={"transcript": list(texts)})


def test_the_loss_is_that_of_the_end_and_of_all_frames_before_it() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 6)
    mask = torch.arange(6) < torch.tensor([[4], [6], [1]])
    p = torch.sigmoid(logits)
    by_hand = -(1 - p[0, :3]).log().sum() - p[0, 3].log()  # ends with its fourth frame
    by_hand = by_hand - (1 - p[1, :5]).log().sum()  # fills the crop: its last frame says nothing
    by_hand = by_hand - p[2, 0].log()
    torch.testing.assert_close(end_nats(logits, mask, 1), by_hand)


def test_patches_end_with_the_patch_of_the_last_frame() -> None:
    logits = torch.randn(1, 3)
    mask = torch.arange(6) < 3
    p = torch.sigmoid(logits[0])
    torch.testing.assert_close(end_nats(logits, mask[None], 2), -(1 - p[0]).log() - p[1].log())


def test_an_item_ends_at_the_median_of_its_ends() -> None:
    ends = Ends(3, 1, 1, torch.device("cpu"))
    hazard = torch.tensor([[0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 0.6, 0.0, 0.0], [0.01, 0.01, 0.01, 0.01, 0.01]])
    for patch, p in enumerate(hazard.T):
        ends.see(patch, torch.logit(p), torch.zeros(3, dtype=torch.bool))
        assert not ends.have_ended(3)
        assert ends.have_ended(1) == (patch >= 3)  # 0.8 ** 4 is below a half
    assert ends.chunks(torch.tensor([5, 5, 5])).tolist() == [4, 3, 5]


def test_an_item_ends_with_a_whole_chunk_and_not_with_what_is_given() -> None:
    sure, nothing_given = torch.tensor([9.0]), torch.tensor([False])
    ends = Ends(1, CHUNK_TOKENS, 1, torch.device("cpu"))
    for patch in range(8):
        ends.see(patch, sure, torch.tensor([patch < 5]))
    assert ends.chunks(torch.tensor([9])).tolist() == [2]
    coarse = Ends(1, 2, 3, torch.device("cpu"))
    coarse.see(0, sure, nothing_given)
    assert coarse.chunks(torch.tensor([9])).tolist() == [1]


@pytest.mark.parametrize("packed", [False, True])
def test_ends_add_to_the_loss_and_nothing_to_that_of_tokens(packed: bool) -> None:
    model = make_lm(ends=True)
    model.packed = packed
    batch = LatentBatch(
        latents=None,
        latent_mask=None,
        tokens=torch.stack([torch.randint(0, 60, (2, 8)), torch.randint(0, 6, (2, 8))], -1),
        token_mask=torch.arange(8) < torch.tensor([[8], [4]]),
        conditions=asked("hello", "hi"),
        ids=["0", "1"],
    )
    config = NextTokenConfig(cond_drop_prob=0.0)
    found = {
        ends: NextTokenObjective(config, TokenLMConfig(binding=TOKEN_BINDING, ends=ends))(
            model, batch, step=0, generator=torch.Generator().manual_seed(0)
        )
        for ends in (False, True)
    }
    loss, metrics = found[True]
    torch.testing.assert_close(loss, found[False][0] + metrics["end_nats_per_token"])
    assert metrics["end_nats_per_token"] > 0
    loss.backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in model.parameters())


@pytest.mark.parametrize("packed", [False, True])
def test_a_prefix_of_its_own_length_is_the_same_alone_and_in_a_batch(packed: bool) -> None:
    model = make_lm(ends=True)
    model.packed = packed
    tokens = torch.stack([torch.randint(0, 60, (2, 8)), torch.randint(0, 6, (2, 8))], -1)
    mask = torch.arange(8) < torch.tensor([[8], [4]])
    together = model(tokens, conditions=asked("x" * 50, "hi"), mask=mask, with_ends=True)
    alone = model(tokens[1:, :4], conditions=asked("hi"), mask=mask[1:, :4], with_ends=True)
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1, :4], one[0], rtol=1e-4, atol=1e-4)


def ending(model: TokenLM, logit: float) -> TokenLM:
    """Makes every frame the last with this logit."""
    nn.init.zeros_(model.end_head.to_logit.weight)
    nn.init.constant_(model.end_head.to_logit.bias, logit)
    return model


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_sampling_stops_where_ends_are_expected(guidance: float) -> None:
    chance = 0.15  # a chunk: 0.85 ** 5 is the first below a half
    model = ending(make_lm(ends=True), math.log(chance / (1 - chance)))
    lengths = torch.tensor([SECOND, 3 * CHUNK_SAMPLES, 7])
    texts = asked("hello", "hi", "yes")

    def sample(**options: Any) -> Any:
        sampling = TokenSampling(guidance_scale=guidance, **options)
        return model.sample(texts, lengths, sampling=sampling, generator=torch.Generator().manual_seed(0))

    made, whole = sample(), sample(stop=False)
    assert made.lengths_samples.tolist() == [5 * CHUNK_SAMPLES, 3 * CHUNK_SAMPLES, 7]
    assert made.tokens.shape[1] == 5 * CHUNK_TOKENS
    assert whole.lengths_samples.tolist() == lengths.tolist()
    assert torch.equal(made.tokens[0], whole.tokens[0, : 5 * CHUNK_TOKENS])
    assert not made.tokens[1, 3 * CHUNK_TOKENS :].any()


def test_an_item_is_sampled_the_same_alone_and_beside_a_longer_text() -> None:
    model, lengths = ending(make_lm(ends=True), -9.0), torch.tensor([60, 60])
    together = model.sample(asked("hi", "x" * 50), lengths, generator=torch.Generator().manual_seed(0))
    alone = model.sample(asked("hi"), lengths[:1], generator=torch.Generator().manual_seed(0))
    assert together.tokens is not None
    assert alone.tokens is not None
    assert torch.equal(together.tokens[:1], alone.tokens)


def test_weights_without_ends_are_as_before_and_sets_have_none() -> None:
    model = make_lm()
    assert not any(name.startswith("end") for name in model.state_dict())
    made = model.sample(asked("hi"), torch.tensor([60]), generator=torch.Generator().manual_seed(0))
    assert made.lengths_samples.tolist() == [60]
    with pytest.raises(ValueError, match="a TokenSetLM does not learn where items end"):
        TokenSetLMConfig(binding=TOKEN_BINDING, ends=True)
