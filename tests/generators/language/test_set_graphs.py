"""The graphs of a language model over sets give the logits of training, also where chunks are made out of order."""

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING

from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenSetLM, TokenSetLMConfig
from latentune.generators.language.digits import tokens_to_digits

SPEC = TOKEN_BINDING.spec  # chunks of 4 token frames
CONFIG = TokenSetLMConfig(
    binding=TOKEN_BINDING, width=32, depth=2, heads=2, digit_width=16, max_frames=24, conditioning=CONDITIONING
)


@torch.no_grad()
@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]])
def test_the_graphs_give_the_logits_of_training(order: list[int]) -> None:
    torch.manual_seed(1)
    model = TokenSetLM(CONFIG).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    embed, step, digits_of = (graph.network for graph in model.graphs())
    random = torch.Generator().manual_seed(2)
    tokens = torch.stack([torch.randint(size, (2, 12), generator=random) for size in SPEC.codebook_sizes], -1)
    masked = torch.rand(2, 12, generator=random) < 0.5
    conditions = model.condition_encoder(Conditions.of(["a", "b"], 1.0))
    keep = (torch.arange(3) == 1).expand(2, -1) if order[0] == 1 else None  # what is given comes first
    wanted = model(tokens, conditions=conditions, masked=masked, keep=keep)
    start, mask = model.start_embeddings(conditions)
    assert mask is None
    first, size = start.shape[1], SPEC.chunk_tokens
    cache = [torch.randn(2, 2, 2, first + 12, 16, generator=random) for _ in range(2)]  # what is not seen is any number
    seen = torch.zeros(2, first + 12)
    _, *cache = step(start, torch.arange(first), torch.arange(first).expand(2, -1), seen, *cache)
    seen[:, :first] = 1.0
    digits = tokens_to_digits(tokens, SPEC.levels)
    for rank, chunk in enumerate(order):
        part = slice(chunk * size, (chunk + 1) * size)
        slots = torch.arange(first + rank * size, first + (rank + 1) * size)
        positions = torch.arange(first + part.start, first + part.stop).expand(2, -1)
        hidden, _, _ = step(embed(digits[:, part], masked[:, part]), slots, positions, seen, *cache)
        logits = digits_of(hidden.flatten(0, 1), digits[:, part].flatten(0, 1)).unflatten(0, (2, size))
        torch.testing.assert_close(logits, wanted[:, part], atol=1e-4, rtol=1e-4)
        whole = embed(digits[:, part], torch.zeros(2, size, dtype=torch.bool))
        _, *cache = step(whole, slots, positions, seen, *cache)
        seen[:, slots] = 1.0
