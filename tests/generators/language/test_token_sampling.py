"""Sampling tokens: the distribution, the cache, seeds, batches, guidance, prefixes and the moving window."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING
from sampling import sample
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig, step
from latentune.generators.language.digits import tokens_to_digits
from latentune.generators.language.draw import BELOW_ONE, DigitFilter, draw_digit
from latentune.generators.language.sampling import TokenSampling
from latentune.tokenizers.base import Encoded

SPEC = TOKEN_BINDING.spec
SIZES = SPEC.codebook_sizes

CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING,
    width=32,
    depth=2,
    heads=2,
    digit_width=16,
    max_frames=16,
    conditioning=CONDITIONING,
)
TEXTS, LENGTHS = ["piano", "", "rain"], [70, 30, 61]  # 4, 2 and 3 chunks


@pytest.fixture(scope="module")
def model() -> TokenLM:
    torch.manual_seed(1)
    model = TokenLM(CONFIG).eval()
    torch.nn.init.normal_(model.head.weight, std=0.7)
    return model


def draw(
    model: TokenLM, texts: list[str] = TEXTS, lengths: list[int] = LENGTHS, seed: Any = 0, **options: Any
) -> Tensor:
    result = sample(model, Conditions.of(texts, 1.0), lengths, seed=seed, **options)
    assert result.latents is None
    assert result.lengths_samples.tolist() == lengths
    return result.tokens  # type: ignore[return-value]


def prefix_of(*lengths: int) -> Encoded:
    frames, generator = SPEC.num_tokens(max(lengths)), torch.Generator().manual_seed(9)
    tokens = torch.stack([torch.randint(size, (len(lengths), frames), generator=generator) for size in SIZES], -1)
    return Encoded(
        latents=torch.zeros(len(lengths), frames // 2, 3), tokens=tokens, lengths_samples=torch.tensor(lengths)
    )


def uniform_grid(count: int) -> Tensor:
    return (torch.arange(count) + 0.5) / count


def frequencies(logits: Tensor, **options: Any) -> Tensor:
    filters = DigitFilter.of(TokenSampling(**options), logits)
    drawn = draw_digit(logits.expand(20_000, -1), uniform_grid(20_000), filters)
    return torch.bincount(drawn, minlength=len(logits)) / 20_000


LOGITS = torch.tensor([0.1, 2.0, -1.0, 1.0, -1e9])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_digits_are_drawn_as_often_as_they_are_likely(temperature: float) -> None:
    wanted = torch.softmax(LOGITS / temperature, -1)
    torch.testing.assert_close(frequencies(LOGITS, temperature=temperature), wanted, atol=1e-3, rtol=0)


def test_filters_keep_the_likeliest_and_their_proportions() -> None:
    p = torch.softmax(LOGITS, -1)
    two = torch.tensor([0, p[1], 0, p[3], 0]) / (p[1] + p[3])
    torch.testing.assert_close(frequencies(LOGITS, top_k=2), two, atol=1e-3, rtol=0)
    torch.testing.assert_close(frequencies(LOGITS, top_p=float(p[1]) + 0.01), two, atol=1e-3, rtol=0)
    torch.testing.assert_close(frequencies(LOGITS, min_p=float(p[3] / p[1]) - 0.01), two, atol=1e-3, rtol=0)
    for options in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 0.0}, {"min_p": 1.0}):
        assert frequencies(LOGITS, **options).tolist() == [0, 1, 0, 0, 0]
    torch.testing.assert_close(frequencies(LOGITS, top_k=99), p, atol=1e-3, rtol=0)


def test_a_digit_without_probability_is_never_drawn_even_at_the_edges() -> None:
    logits = torch.tensor([-1e9, 0.0, 0.0, -1e9]).expand(3, -1)
    edges = torch.tensor([0.0, 0.5, BELOW_ONE])
    assert set(draw_digit(logits, edges, DigitFilter.of(TokenSampling(), logits)).tolist()) <= {1, 2}


def test_shapes_range_and_zero_padding(model: TokenLM) -> None:
    tokens = draw(model)
    assert tokens.shape == (3, 16, 2)
    assert tokens.dtype == torch.int64
    assert tokens[1, 8:].abs().max() == 0
    assert (tokens < torch.tensor(SIZES)).all()
    assert tokens[0].unique(dim=0).shape[0] > 4


def hidden_states(model: TokenLM, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The hidden states [N, W] from which the frames are drawn, collected while sampling."""
    seen: list[Tensor] = []
    draw_digits = step.draw_digits

    def watched(head: Any, hidden: Tensor, *rest: Any) -> Tensor:
        seen.append(hidden)
        return draw_digits(head, hidden, *rest)

    monkeypatch.setattr(step, "draw_digits", watched)
    return seen


@torch.no_grad()
@pytest.mark.parametrize(("patch_frames", "adapted"), [(1, False), (1, True), (3, False)])
def test_sampling_sees_what_training_sees(patch_frames: int, adapted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps' hidden states, norms and gains included, are those of x-transformers' pass over the whole."""
    torch.manual_seed(2)
    model = TokenLM(replace(CONFIG, max_frames=300, patch_frames=patch_frames)).eval()
    if adapted:
        peft = pytest.importorskip("peft")
        model.add_adapter(peft.LoraConfig(target_modules=r"decoder\..*\.(to_q|to_out|proj)", use_dora=True))
        model.eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    seen = hidden_states(model, monkeypatch)
    asked = Conditions.of(TEXTS, 1.0)
    tokens = draw(model, TEXTS, [1430, 1430, 1430])
    assert tokens.shape[1] == 288
    digits = model.to_patches(tokens_to_digits(tokens, SPEC.levels))
    start, _ = model.start_embeddings(model.condition_encoder(asked))
    whole = model.attend(torch.cat([start, model.embed(digits[:, :-1])], 1), None)[:, start.shape[1] - 1 :]
    torch.testing.assert_close(torch.stack(seen, 1), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_conditions_added_to_every_frame_are_seen_alike_in_sampling_and_training(
    guidance_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    model = TokenLM(replace(CONFIG, max_frames=300, add_conditions=True)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    seen = hidden_states(model, monkeypatch)
    tokens = draw(model, TEXTS, [230, 230, 230], guidance_scale=guidance_scale)
    digits = tokens_to_digits(tokens, SPEC.levels)
    asked_rows = [hidden[:: 1 if guidance_scale == 1 else 2] for hidden in seen]
    wanted = model(tokens, conditions=Conditions.of(TEXTS, 1.0))
    torch.testing.assert_close(model.head(torch.stack(asked_rows, 1), digits), wanted, atol=1e-4, rtol=1e-4)
    other = model(tokens, conditions=Conditions.of(TEXTS[::-1], 1.0))
    assert (other - wanted).abs().amax((0, 2, 3)).min() > 1e-3  # at every frame


def test_ragged_conditions_are_masked_in_the_cache_too(model: TokenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = model.condition_encoder.forward
    mask = torch.tensor([[True, False]] * 3)
    monkeypatch.setattr(model.condition_encoder, "forward", lambda *args: replace(encode(*args), mask=mask))
    seen = hidden_states(model, monkeypatch)
    tokens = draw(model, lengths=[70, 70, 70])
    start, start_mask = model.start_embeddings(model.condition_encoder(Conditions.of(TEXTS, 1.0)))
    digits = tokens_to_digits(tokens, SPEC.levels)[:, :-1]
    whole = model.attend(torch.cat([start, model.embed(digits)], 1), start_mask)[:, start.shape[1] - 1 :]
    torch.testing.assert_close(torch.stack(seen, 1), whole, atol=1e-4, rtol=1e-3)


def test_the_same_seed_gives_the_same_and_another_does_not(model: TokenLM) -> None:
    assert torch.equal(draw(model), draw(model))
    assert not torch.equal(draw(model), draw(model, seed=1))


def test_greedy_does_not_depend_on_the_seed(model: TokenLM) -> None:
    greedy = draw(model, temperature=0.0)
    assert torch.equal(greedy, draw(model, top_k=1, seed=5))
    assert torch.equal(greedy, draw(model, top_p=1e-6, seed=6))
    assert not torch.equal(greedy, draw(model))


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_an_item_does_not_depend_on_the_batch(model: TokenLM, guidance_scale: float) -> None:
    together = draw(model, guidance_scale=guidance_scale)
    generator = torch.Generator().manual_seed(0)
    for item, frames in enumerate((16, 8, 12)):
        alone = draw(
            model, TEXTS[item : item + 1], LENGTHS[item : item + 1], seed=generator, guidance_scale=guidance_scale
        )
        assert torch.equal(together[item : item + 1, :frames], alone)


def test_guidance_is_off_at_one_and_null_at_zero(model: TokenLM) -> None:
    nothing = Conditions.of([""] * 3, float("nan"), seconds_start=float("nan"))
    generator = torch.Generator().manual_seed(0)
    null = model.sample(nothing, torch.tensor(LENGTHS), generator=generator).tokens
    assert torch.equal(draw(model, guidance_scale=0.0), null)
    assert torch.equal(draw(model, guidance_scale=1.0), draw(model))
    assert not torch.equal(draw(model, guidance_scale=4.0), draw(model))


def test_prefixes_are_kept_and_continued(model: TokenLM) -> None:
    prefix = prefix_of(30, 50)
    tokens = draw(model, ["", ""], [70, 70], prefix=prefix)
    assert torch.equal(tokens[0, :4], prefix.tokens[0, :4])
    assert torch.equal(tokens[1, :8], prefix.tokens[1, :8])
    assert not torch.equal(tokens[0, 4:8], prefix.tokens[0, 4:8])
    other = replace(prefix, tokens=prefix.tokens.flip(0))
    assert not torch.equal(draw(model, ["", ""], [70, 70], prefix=other)[:, 8:], tokens[:, 8:])


def test_the_window_moves_on_in_long_items_and_long_prefixes(model: TokenLM) -> None:
    long = draw(model, ["x"], [200])
    assert long.shape == (1, 40, 2)
    prefix = prefix_of(150)
    continued = draw(model, ["x"], [200], prefix=prefix)
    assert torch.equal(continued[:, :28], prefix.tokens[:, :28])
    forgotten = prefix.tokens.clone()
    forgotten[:, :16] = 0
    assert torch.equal(draw(model, ["x"], [200], prefix=replace(prefix, tokens=forgotten))[:, 28:], continued[:, 28:])


def test_a_window_that_moved_says_that_the_item_starts_later(model: TokenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = hidden_states(model, monkeypatch)
    tokens = draw(model, ["x"], [100])
    later = model.condition_encoder(Conditions.of(["x"], 1.0, seconds_start=8 / SPEC.token_rate_hz))
    start, _ = model.start_embeddings(later)
    digits = tokens_to_digits(tokens, SPEC.levels)[:, 8:19]
    whole = model.attend(torch.cat([start, model.embed(digits)], 1), None)
    torch.testing.assert_close(torch.stack(seen[16:], 1), whole[:, -4:], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("patch_frames", "add_conditions"), [(1, False), (3, False), (8, False), (1, True)])
def test_a_stream_is_the_whole_in_blocks(patch_frames: int, add_conditions: bool) -> None:
    torch.manual_seed(1)
    config = replace(CONFIG, max_frames=24, patch_frames=patch_frames, add_conditions=add_conditions)
    model = TokenLM(config).eval()
    torch.nn.init.normal_(model.head.weight, std=0.7)
    asked = Conditions.of(["x"], 1.0)
    whole = model.sample(asked, torch.tensor([240]), generator=torch.Generator().manual_seed(0)).tokens
    stream = model.open_stream(asked, generator=torch.Generator().manual_seed(0))
    blocks = [stream.next_block(count) for count in (1, 1, 3, 2, 1, 4)]
    assert torch.equal(torch.cat(blocks, 1), whole)


@pytest.mark.parametrize("patch_frames", [3, 8])
def test_patches_keep_a_prefix_that_ends_inside_one(patch_frames: int) -> None:
    torch.manual_seed(1)
    model = TokenLM(replace(CONFIG, max_frames=24, patch_frames=patch_frames)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.7)
    prefix = prefix_of(30, 50)
    tokens = draw(model, ["", ""], [70, 70], prefix=prefix)
    assert tokens.shape == (2, 16, 2)
    assert torch.equal(tokens[0, :4], prefix.tokens[0, :4])
    assert torch.equal(tokens[1, :8], prefix.tokens[1, :8])
    together = draw(model, TEXTS, [70, 30, 61])
    assert torch.equal(together[:1], draw(model, TEXTS[:1], [70]))


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_a_compiled_step_is_one_graph_for_all_positions_and_options(guidance_scale: float) -> None:
    torch.manual_seed(1)
    model = TokenLM(replace(CONFIG, max_frames=400)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.7)
    plain = draw(model, lengths=[1450, 30, 61], guidance_scale=guidance_scale)
    torch._dynamo.reset()
    counter = CompileCounter()
    for part in model.compiled_parts:
        part.compile(backend=counter, fullgraph=True)
    assert torch.equal(draw(model, lengths=[1450, 30, 61], guidance_scale=guidance_scale), plain)
    graphs = counter.frame_count
    assert 1 <= graphs <= 2  # the second reads any number of blocks of the cache
    draw(model, ["other"] * 3, lengths=[1450, 30, 61], guidance_scale=guidance_scale, temperature=0.5)
    assert counter.frame_count == graphs


def test_a_compiled_step_of_one_item_is_the_same_graph_behind_a_past_of_any_length() -> None:
    torch.manual_seed(1)
    model = TokenLM(replace(CONFIG, max_frames=400)).eval()
    torch._dynamo.reset()
    counter, graphs = CompileCounter(), list[int]()
    model.step.compile(backend=counter, fullgraph=True)
    for count in (25, 50, 75, 100):
        draw(model, ["x"], [1450], prefix=prefix_of(count))
        graphs.append(counter.frame_count)
    assert graphs[-1] == graphs[0] <= 2, graphs


def test_the_callback_counts_to_the_end(model: TokenLM) -> None:
    seen: list[tuple[int, int]] = []
    draw(model, ["x"], [70], prefix=prefix_of(30), callback=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 12) for i in range(12)]


def test_wrong_requests_are_refused(model: TokenLM) -> None:
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "temperature must be 0 or more", {"temperature": -1.0}),
        (ValueError, "temperature must be 0 or more", {"temperature": float("nan")}),
        (ValueError, "top_k must be at least 1", {"top_k": 0}),
        (ValueError, "top_p must lie in", {"top_p": 0.0}),
        (ValueError, "audio of 0 samples", {"lengths": [70, 0, 10]}),
        (TypeError, "did you mean 'temperature'", {"temprature": 1.0}),
        (ValueError, "tokens must lie in", {"prefix": replace(prefix_of(30), tokens=torch.full((1, 4, 2), 60))}),
        (ValueError, "another tokenizer", {"prefix": replace(prefix_of(30), tokens=torch.zeros(1, 4, 1).long())}),
    ]
    for error, message, options in cases:
        lengths = [70, 50, 61] if "prefix" in options else LENGTHS
        with pytest.raises(error, match=message):
            draw(model, **{"lengths": lengths, **options})
    with pytest.raises(ValueError, match="unknown label 'rok'"):
        model.sample(Conditions.of([""], 1.0, ["rok"]), torch.tensor([10]))
