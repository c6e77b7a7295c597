"""Random patterns of given chunks: what each looks like, and how often it is drawn."""

from dataclasses import fields
from typing import Any

import pytest
import torch

from latentune.generators.parts.keep import KeepPatterns, draw_keep

NAMES = [field.name for field in fields(KeepPatterns)]


def only(name: str) -> KeepPatterns:
    return KeepPatterns(**{other: float(other == name) for other in NAMES})


def runs(keep: torch.Tensor) -> list[bool]:
    """The values of a pattern without repetitions, such as [True, False] for a prefix."""
    values = keep.tolist()
    return [value for i, value in enumerate(values) if i == 0 or value != values[i - 1]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunks", [1, 2, 7, 30])
def test_a_pattern_is_what_it_says_and_always_leaves_something(name: str, chunks: int) -> None:
    keep = draw_keep(only(name), torch.full((200,), chunks), 30, torch.Generator().manual_seed(0))
    assert keep.shape == (200, 30)
    assert not keep[:, chunks:].any()
    rows = [runs(row[:chunks]) for row in keep]
    assert (~keep[:, :chunks]).any(1).all()
    if chunks == 1 or name == "none":
        assert not keep.any()
        return
    allowed: Any = {"prefix": [[True, False]], "suffix": [[False, True]]}.get(name)
    if allowed:
        assert rows == allowed * 200
        return
    most = {"gap": 1, "gaps": 3}[name]
    assert {row.count(False) for row in rows} <= set(range(1, most + 1))
    if chunks == 30:
        assert max(row.count(False) for row in rows) == most
        assert any(row[0] and row[-1] for row in rows)


def test_patterns_are_drawn_as_often_as_weighted_and_any_prefix_is_as_likely() -> None:
    weights = KeepPatterns(none=2, prefix=1, suffix=1, gap=0, gaps=0)
    keep = draw_keep(weights, torch.full((8000,), 5), 5, torch.Generator().manual_seed(0))
    kinds = [runs(row) for row in keep]
    for kind, share in (([False], 0.5), ([True, False], 0.25), ([False, True], 0.25)):
        assert abs(kinds.count(kind) / 8000 - share) < 0.02
    prefixes = keep[keep[:, 0]].sum(1)
    assert all(abs(float((prefixes == length).float().mean()) - 0.25) < 0.04 for length in range(1, 5))


def test_items_of_different_lengths_and_seeds() -> None:
    counts = torch.tensor([1, 3, 8, 2])
    draws = [draw_keep(KeepPatterns(), counts, 8, torch.Generator().manual_seed(s)) for s in (0, 0, 3)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    for row, count in zip(draws[0], counts.tolist(), strict=True):
        assert not row[count:].any()
        assert not row[:count].all()


@pytest.mark.parametrize("weights", [{"none": -1.0}, dict.fromkeys(NAMES, 0.0)])
def test_wrong_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights of keep patterns"):
        KeepPatterns(**weights)
