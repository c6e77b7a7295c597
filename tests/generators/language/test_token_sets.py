"""The language model over sets: what sees what, sampling = training, the order of passes, given chunks, learning."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING, fake_spec
from sampling import sample
from torch import Tensor

from latentune.generators.base import LatentBatch
from latentune.generators.conditions import Conditions
from latentune.generators.given import Given
from latentune.generators.language import TokenSetLM, TokenSetLMConfig
from latentune.generators.language.digits import tokens_to_digits
from latentune.generators.language.objective import frame_nats
from latentune.generators.language.set_context import SetContext
from latentune.generators.language.set_lm import chunk_ranks
from latentune.generators.language.set_objective import MaskedSetConfig, MaskedSetObjective
from latentune.generators.language.set_sampling import SetSampling, fill_chunk
from latentune.generators.load import load_generator
from latentune.tokenizers.base import Encoded

SPEC = TOKEN_BINDING.spec  # chunks of 4 token frames
CONFIG = TokenSetLMConfig(
    binding=TOKEN_BINDING, width=32, depth=2, heads=2, digit_width=16, max_frames=24, conditioning=CONDITIONING
)
ASKED = Conditions.of(["a", "b"], 1.0)


@pytest.fixture
def model() -> TokenSetLM:
    torch.manual_seed(1)
    made = TokenSetLM(CONFIG).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made


def draw_tokens(batch: int = 2, frames: int = 16) -> Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.stack([torch.randint(size, (batch, frames), generator=random) for size in SPEC.codebook_sizes], -1)


def encoded(tokens: Tensor) -> Encoded:
    lengths = torch.full((len(tokens),), tokens.shape[1] * 5)
    return Encoded(latents=torch.zeros(len(tokens), tokens.shape[1] // 2, 3), tokens=tokens, lengths_samples=lengths)


def other(tokens: Tensor, frame: int) -> Tensor:
    changed = tokens.clone()
    changed[:, frame] = (tokens[:, frame] + 1) % torch.tensor(SPEC.codebook_sizes)
    return changed


@torch.no_grad()
def first_digits(model: TokenSetLM, tokens: Tensor, masked: Tensor, **options: Any) -> Tensor:
    """The logits of the first digit, which depend on no digit of their own token."""
    return model(tokens, conditions=ASKED, masked=masked, **options)[:, :, 0]


def test_a_masked_token_sees_earlier_chunks_and_what_is_not_masked_of_its_own(model: TokenSetLM) -> None:
    tokens, masked = draw_tokens(), torch.zeros(2, 16, dtype=torch.bool)
    masked[:, [4, 5, 9]] = True
    base = first_digits(model, tokens, masked)
    seen = {}
    for frame in range(16):
        moved = (first_digits(model, other(tokens, frame), masked) - base).abs().amax((0, 2))
        seen[frame] = {at for at in range(16) if moved[at] > 1e-4}
    for at in (4, 5):
        assert [frame for frame in seen if at in seen[frame]] == [0, 1, 2, 3, 6, 7]
    assert [frame for frame in seen if 9 in seen[frame]] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]


def test_all_see_the_chunks_that_are_given(model: TokenSetLM) -> None:
    keep = torch.tensor([[False, False, True, False], [True, False, False, True]])
    assert chunk_ranks(keep).tolist() == [[1, 2, 0, 3], [0, 2, 3, 1]]
    tokens, masked = draw_tokens(), torch.ones(2, 16, dtype=torch.bool)
    base = first_digits(model, tokens, masked, keep=keep)
    moved = (first_digits(model, other(tokens, 9), masked, keep=keep) - base).abs().amax(2) > 1e-4  # in chunk 2
    assert moved.unflatten(1, (4, 4)).all(2).tolist() == [[True, True, False, True], [False] * 4]
    moved = (first_digits(model, other(tokens, 13), masked, keep=keep) - base).abs().amax(2) > 1e-4  # in chunk 3
    assert moved.unflatten(1, (4, 4)).all(2).tolist() == [[False] * 4, [False, True, True, False]]


def test_padding_has_no_effect_whatever_it_holds(model: TokenSetLM) -> None:
    tokens, mask = draw_tokens(), torch.arange(16) < torch.tensor([[16], [8]])
    masked = torch.rand(2, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    broken = tokens.masked_fill(~mask[..., None], 9999)
    logits = first_digits(model, broken, masked, mask=mask)
    alone = model(tokens[1:, :8], conditions=ASKED.rows([1]), masked=masked[1:, :8])[:, :, 0]
    torch.testing.assert_close(logits[1:, :8], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_sampling_sees_what_training_sees(
    model: TokenSetLM, guidance_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likelihood that sampling finds for its tokens is that of the training pass, given chunks included."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    draw = SetContext.draw

    def watched(self: SetContext, known: Tensor, chunk: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        digits, sure = draw(self, known, chunk, uniform)
        seen.append((known, chunk, sure if guidance_scale == 1.0 else digits))
        return digits, sure

    monkeypatch.setattr(SetContext, "draw", watched)
    keep = torch.tensor([[False, False, True, False]])
    given = Given(encoded=encoded(draw_tokens(1)), keep=keep)
    options: dict[str, Any] = {"num_passes": 3, "guidance_scale": guidance_scale}
    tokens = sample(model, ASKED, [75, 75], given=given, **options).tokens
    assert tokens is not None
    assert torch.equal(tokens[:, 8:12], draw_tokens(1)[:, 8:12].expand(2, -1, -1))
    assert len(seen) == 9  # three chunks in three passes each
    if guidance_scale == 1.0:
        for known, chunk, sure in seen[2::3]:  # the last pass over a chunk
            masked = torch.zeros(2, 4, 4, dtype=torch.bool)
            masked[torch.arange(2), chunk] = (known < 0).any(-1)
            logits = model(tokens, conditions=ASKED, masked=masked.flatten(1), keep=keep.expand(2, -1))
            nats = frame_nats(logits, tokens_to_digits(tokens, SPEC.levels)).unflatten(1, (4, 4))
            found = nats[torch.arange(2), chunk]
            open_places = (known < 0).any(-1)
            torch.testing.assert_close(-sure[open_places], found[open_places], atol=1e-4, rtol=1e-4)


class Table:
    """A context with exact arithmetic: the conditionals of a joint table of 3 tokens of one digit of 2 levels."""

    def __init__(self) -> None:
        self.p = torch.rand(2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.p /= self.p.sum()
        self.passes = 0

    def conditional(self, known: list[int], at: int) -> Tensor:
        part = self.p[tuple(slice(None) if k < 0 else slice(k, k + 1) for k in known)]
        q = part.sum([axis for axis in range(3) if axis != at])
        return q / q.sum()

    def draw(self, known: Tensor, chunk: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        self.passes += 1
        digits, sure = known.clone(), torch.zeros(known.shape[:2])
        for item, at in itertools.product(range(len(known)), range(3)):
            row = known[item, :, 0].tolist()
            if row[at] < 0:
                q = self.conditional(row, at)
                digits[item, at, 0] = int(uniform[item, at, 0] >= q[0])
                sure[item, at] = q[digits[item, at, 0]].log()
        return digits, sure


def filled(items: int, **options: Any) -> tuple[Tensor, Tensor, Table]:
    table, random = Table(), torch.Generator().manual_seed(1)
    uniform = torch.rand(items, 3, 1, generator=random)
    nothing = torch.full((items, 3, 1), -1)
    made = fill_chunk(
        table,  # type: ignore[arg-type]
        torch.zeros(items, dtype=torch.int64),
        nothing,
        uniform,
        torch.rand(items, 3, generator=random),
        SetSampling(**options),
    )
    return made[..., 0], uniform, table


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_by_one_in_order_is_the_autoregressive_result(schedule: Any) -> None:
    made, uniform, table = filled(200, num_passes=3, order="in_order", schedule=schedule)
    assert table.passes == 3
    for item in range(200):
        row = [-1, -1, -1]
        for at in range(3):
            row[at] = int(uniform[item, at, 0] >= table.conditional(row, at)[0])
        assert made[item].tolist() == row


@pytest.mark.parametrize("order", ["random", "in_order"])
def test_one_by_one_draws_from_the_joint_distribution(order: Any) -> None:
    made, _, table = filled(4000, num_passes=3, order=order)
    counts = torch.zeros(2, 2, 2, dtype=torch.float64)
    counts.index_put_(tuple(made.T), torch.ones(4000, dtype=torch.float64), accumulate=True)
    assert (counts / 4000 - table.p).abs().max() < 0.03
    assert filled(10, num_passes=1)[2].passes == 1
    assert filled(10, num_passes=50)[2].passes == 3


@pytest.mark.parametrize("order", ["confidence", "random", "in_order"])
def test_an_item_does_not_depend_on_the_batch_and_lengths_differ(model: TokenSetLM, order: str) -> None:
    together = sample(model, ASKED, [75, 30], num_passes=2, order=order, choice_temperature=1.0).tokens
    assert together is not None
    assert together.shape == (2, 16, 2)
    assert not together[1, 8:].any()
    alone = sample(model, ASKED.rows([0]), [75], num_passes=2, order=order, choice_temperature=1.0).tokens
    assert torch.equal(together[:1], alone)  # type: ignore[arg-type]
    again = sample(model, ASKED, [75, 30], num_passes=2, order=order, seed=1).tokens
    assert not torch.equal(together, again)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"num_passes": 2}, {"num_passes": 3, "order": "random", "guidance_scale": 2.0}])
def test_streamed_is_whole_and_goes_on_beyond_the_context(model: TokenSetLM, options: dict[str, Any]) -> None:
    def stream(blocks: list[int]) -> Tensor:
        opened = model.open_stream(
            ASKED, sampling=model.make_sampling(options), generator=torch.Generator().manual_seed(0)
        )
        assert opened.block_samples == 20
        return torch.cat([opened.next_block(chunks) for chunks in blocks], 1)

    whole = sample(model, ASKED, [115, 115], **options).tokens  # six chunks, as many as the context holds
    assert whole is not None
    assert torch.equal(stream([1] * 6), whole)
    longer = stream([4, 3, 7])
    assert torch.equal(longer[:, : whole.shape[1]], whole)
    assert longer.shape == (2, 56, 2)
    assert longer[:, 24:].unique(dim=1).shape[1] > 8
    assert (longer < torch.tensor(SPEC.codebook_sizes)).all()


def test_a_stream_of_sets_changes_at_the_next_block(model: TokenSetLM) -> None:
    def blocks(conditions: Conditions, temperature: float = 1.0) -> list[Tensor]:
        stream = model.open_stream(ASKED, generator=torch.Generator().manual_seed(0))
        first = stream.next_block(2)
        stream.conditions = conditions
        stream.sampling = replace(stream.sampling, temperature=temperature)
        return [first, stream.next_block(1)]

    base, prompted, colder = blocks(ASKED), blocks(Conditions.of(["a", "c"], 1.0)), blocks(ASKED, 0.0)
    assert torch.equal(base[0], prompted[0])
    assert torch.equal(base[1][0], prompted[1][0])
    assert not torch.equal(base[1][1], prompted[1][1])
    assert not torch.equal(base[1], colder[1])
    stream = model.open_stream(ASKED)
    stream.conditions = ASKED.replaced(mood=["calm", "calm"])
    with pytest.raises(ValueError, match="made without mood"):
        stream.next_block()


def test_a_compiled_pass_has_one_shape_and_gives_the_same(model: TokenSetLM, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample(model, ASKED, [115, 50], num_passes=2).tokens
    shapes: set[tuple[torch.Size, ...]] = set()
    forward = model.set_pass.forward

    def watched(weights: Any, cache: Any, x: Tensor, slots: Tensor, turns: Tensor, bias: Tensor) -> Tensor:
        shapes.add((x.shape, slots.shape, turns.shape, bias.shape))
        return forward(weights, cache, x, slots, turns, bias)

    monkeypatch.setattr(model.set_pass, "forward", watched)
    model.set_pass.compile(backend="eager")
    assert model.compiled_parts == [model.set_pass]
    assert torch.equal(sample(model, ASKED, [115, 50], num_passes=2).tokens, whole)  # type: ignore[arg-type]
    assert len(shapes) == 1


def test_a_recording_is_varied_inside_its_chunks(model: TokenSetLM) -> None:
    tokens = draw_tokens(2)
    keep = torch.ones(1, 4, dtype=torch.bool)
    same = [
        (sample(model, ASKED, [75, 75], given=Given(encoded=encoded(tokens), keep=keep, noise_level=level)).tokens
         == tokens).all(-1).float().mean().item()
        for level in (0.05, 0.5, 1.0)
    ]  # fmt: skip
    assert same[0] > 0.8
    assert same[0] > same[1] > same[2]


def test_a_tiny_batch_is_learned_by_heart_and_sampled_in_fewer_passes() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, binding=replace(TOKEN_BINDING, spec=fake_spec((5, 4))))
    model = TokenSetLM(config)
    tokens = torch.randint(20, (1, 8, 1), generator=torch.Generator().manual_seed(4))
    batch = LatentBatch(
        latents=None, latent_mask=None, tokens=tokens, token_mask=None, conditions=ASKED.rows([0]), ids=["a"]
    )
    objective, random = MaskedSetObjective(MaskedSetConfig(), config), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(200):
        loss, _ = objective(model, batch, step=step, generator=random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 0:
            assert all(weight.grad is not None for weight in model.parameters())
    assert loss < 0.5
    assert torch.equal(sample(model.eval(), ASKED.rows([0]), [35], num_passes=2, temperature=0.0).tokens, tokens)


def test_saved_and_loaded(model: TokenSetLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = load_generator(tmp_path)
    assert isinstance(loaded, TokenSetLM)
    assert torch.equal(sample(loaded, ASKED, [75, 30]).tokens, sample(model, ASKED, [75, 30]).tokens)  # type: ignore[arg-type]


def test_what_cannot_be_had_is_refused(model: TokenSetLM) -> None:
    with pytest.raises(ValueError, match="7 chunks of 4 tokens do not fit the context of 24"):
        sample(model, ASKED, [135, 30])
    with pytest.raises(ValueError, match="num_passes must be at least 1"):
        sample(model, ASKED, [75, 30], num_passes=0)
    with pytest.raises(ValueError, match="choice_temperature must be 0 or more"):
        sample(model, ASKED, [75, 30], choice_temperature=-1.0)
    with pytest.raises(ValueError, match="chunks of several tokens"):
        replace(CONFIG, patch_frames=2)
    with pytest.raises(ValueError, match="in_order_prob is a probability"):
        MaskedSetConfig(in_order_prob=2.0)
    with pytest.raises(ValueError, match="3 items, but 2 conditions"):
        model(draw_tokens(3), conditions=ASKED, masked=torch.zeros(3, 16, dtype=torch.bool))
