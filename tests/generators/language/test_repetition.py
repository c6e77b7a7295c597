"""Control of repetitions: what occurred in a window becomes less likely by a known factor, in every way of sampling."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING
from sampling import sample
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.generators.language.draw import DigitFilter, draw_digit
from latentune.generators.language.repetition import Repetition
from latentune.generators.language.sampling import TokenSampling
from latentune.tokenizers.base import Encoded

SPEC = TOKEN_BINDING.spec  # codebooks of the digits 5, 4, 3 and 3, 2
CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING, width=32, depth=1, heads=2, digit_width=16, max_frames=32, conditioning=CONDITIONING
)
ASKED = Conditions.of(["piano", "rain"], 1.0)
NEVER = 1e30  # a penalty that nothing survives


def made(patch_frames: int = 1) -> TokenLM:
    torch.manual_seed(3)
    model = TokenLM(replace(CONFIG, patch_frames=patch_frames)).eval()
    torch.nn.init.normal_(model.head.weight, std=2.0)
    return model


@pytest.fixture(scope="module")
def model() -> TokenLM:
    return made()


def draw(model: TokenLM, lengths: tuple[int, ...] = (150, 150), **options: Any) -> Tensor:
    tokens = sample(model, ASKED, list(lengths), **options).tokens
    assert tokens is not None
    return tokens


def repeats(tokens: Tensor, window: int) -> int:
    """How many tokens of [B, T, Q] are among those of the frames before, in their codebooks."""
    padded = torch.cat([torch.full_like(tokens[:, :1], -1).expand(-1, window, -1), tokens], 1)
    before = padded.unfold(1, window, 1)[:, :-1]  # [B, T, Q, window]
    return int((before == tokens[..., None]).any(-1).sum())


def penalty(levels: list[list[int]], past: list[list[int]], **options: Any) -> Repetition:
    asked = TokenSampling(**{"repetition_penalty": 2.0, **options})
    made = Repetition.of(asked, levels, torch.tensor(past)[None])
    assert made is not None
    return made


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 2.0}, {"temperature": 0.0}])
def test_without_a_penalty_nothing_changes(model: TokenLM, options: dict[str, Any]) -> None:
    plain = draw(model, **options)
    off = {"repetition_penalty": 1.0, "repetition_window": 7, "repetition_of": "digit"}
    assert torch.equal(draw(model, **options, **off), plain)
    assert not torch.equal(draw(model, **options, repetition_penalty=NEVER), plain)


def test_a_level_that_occurred_n_times_is_divided_n_times() -> None:
    past = [[0, 0], [1, 0], [1, 2], [1, 0], [2, 2]]
    one = penalty([[4, 3]], past, repetition_of="digit", repetition_window=4)
    wanted = torch.tensor([[0.0, 3.0, 1.0, 0.0]]) * torch.tensor(2.0).log()
    torch.testing.assert_close(one.nats([], 4), wanted)
    logits = torch.tensor([0.5, 1.0, -1.0, 0.0])
    grid = (torch.arange(20_000) + 0.5) / 20_000
    drawn = draw_digit((logits - one.nats([], 4)).expand(20_000, -1), grid, DigitFilter.of(TokenSampling(), logits))
    p = torch.softmax(logits, -1) / torch.tensor([1.0, 8.0, 2.0, 1.0])
    torch.testing.assert_close(torch.bincount(drawn) / 20_000, p / p.sum(), atol=1e-3, rtol=0)


def test_only_the_last_digit_of_a_token_that_occurred_has_a_cost() -> None:
    past = [[1, 2, 0, 1], [1, 2, 0, 0], [1, 0, 1, 1], [1, 2, 2, 1]]
    whole = penalty([[3, 3, 3], [2]], past)
    assert whole.nats([], 3) is None
    assert whole.nats([torch.tensor([1])], 3) is None
    one = torch.tensor(2.0).log()
    torch.testing.assert_close(whole.nats([torch.tensor([1]), torch.tensor([2])], 3), one * torch.tensor([[2.0, 0, 1]]))
    assert not whole.nats([torch.tensor([0]), torch.tensor([2])], 3).any()  # type: ignore[union-attr]
    drawn = [torch.tensor([digit]) for digit in (0, 0, 0)]
    torch.testing.assert_close(whole.nats(drawn, 2), one * torch.tensor([[1.0, 3.0]]))
    # the second frame of a patch counts the first one
    drawn = [torch.tensor([digit]) for digit in (1, 2, 0, 1, 1, 2)]
    torch.testing.assert_close(whole.nats(drawn, 3), one * torch.tensor([[3.0, 0, 1]]))


@pytest.mark.parametrize("patch_frames", [1, 3])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_no_token_comes_again_inside_the_window(patch_frames: int, guidance_scale: float) -> None:
    model, options = made(patch_frames), {"guidance_scale": guidance_scale, "temperature": 0.5}
    assert repeats(draw(model, **options), 1) > 5
    # each codebook has a last digit of at least two levels, so that one frame can always differ from the next
    assert repeats(draw(model, **options, repetition_penalty=NEVER, repetition_window=1), 1) == 0
    digits = draw(model, **options, repetition_penalty=NEVER, repetition_window=1, repetition_of="digit")
    assert repeats(digits, 1) == 0


@pytest.mark.parametrize("of", ["token", "digit"])
def test_items_streams_and_given_parts_count_alike(model: TokenLM, of: str) -> None:
    options: dict[str, Any] = {"repetition_penalty": 3.0, "repetition_window": 6, "repetition_of": of}
    together = draw(model, (150, 70), **options)
    generator = torch.Generator().manual_seed(0)
    for item, frames in ((0, 32), (1, 16)):
        asked = Conditions.of([("piano", "rain")[item]], 1.0)
        alone = sample(model, asked, [(150, 70)[item]], seed=generator, **options).tokens
        assert torch.equal(together[item : item + 1, :frames], alone)  # type: ignore[arg-type]
    sampling = model.make_sampling(options)
    stream = model.open_stream(ASKED, sampling=sampling, generator=torch.Generator().manual_seed(0))
    whole = draw(model, (230, 230), **options)
    assert torch.equal(torch.cat([stream.next_block(count) for count in (1, 4, 2)], 1), whole[:, :28])
    # what is given counts as if it had been drawn
    prefix = Encoded(latents=torch.zeros(2, 2, 3), tokens=whole[:, :4], lengths_samples=torch.tensor([25, 25]))
    assert torch.equal(draw(model, (230, 230), prefix=prefix, **options), whole)


def test_the_changed_options_of_a_stream_count_what_was_drawn_before(model: TokenLM) -> None:
    stream = model.open_stream(ASKED, sampling=model.make_sampling({"temperature": 0.5}))
    before = stream.next_block(2)
    stream.sampling = model.make_sampling({"temperature": 0.5, "repetition_penalty": NEVER, "repetition_window": 1})
    assert repeats(torch.cat([before[:, -1:], stream.next_block(4)], 1), 1) == 0


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_a_compiled_step_gives_the_same_and_other_values_compile_nothing(guidance_scale: float) -> None:
    model = made()
    options: dict[str, Any] = {"guidance_scale": guidance_scale, "repetition_penalty": 3.0, "repetition_window": 8}
    plain = draw(model, **options)
    torch._dynamo.reset()
    counter = CompileCounter()
    for part in model.compiled_parts:
        part.compile(backend=counter, fullgraph=True)
    assert torch.equal(draw(model, **options), plain)
    graphs = counter.frame_count
    assert graphs == 1
    draw(model, **{**options, "repetition_penalty": 1.5, "repetition_window": 20})
    assert counter.frame_count == graphs


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("repetition_penalty must be 1 or more, got 0.5", {"repetition_penalty": 0.5}),
        ("repetition_penalty must be 1 or more, got nan", {"repetition_penalty": float("nan")}),
        ("repetition_penalty must be 1 or more, got inf", {"repetition_penalty": float("inf")}),
        ("repetition_window must be at least 1", {"repetition_penalty": 2.0, "repetition_window": 0}),
        ("repetition_of", {"repetition_of": "word"}),
    ],
)
def test_wrong_values_are_refused(model: TokenLM, message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        draw(model, **options)
