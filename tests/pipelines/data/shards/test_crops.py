"""Crops and batches: whole chunks of the right place, with times and masks to match."""

import dataclasses

import pytest
import torch

from latentune.pipelines.data.shards import collate
from latentune.pipelines.data.shards.crops import crop, num_item_chunks, pad
from latentune.pipelines.data.shards.dataset_files import Silence
from latentune.pipelines.data.shards.read import LatentItem

SILENCE = Silence(latents=torch.full((4, 3), -7.0), tokens=torch.full((2, 2), 9))


def make_item(spec, num_chunks: int, num_samples: int | None = None, **fields) -> LatentItem:
    """Latent frame t holds t, token frame t holds t: a crop shows where it came from."""
    num_samples = num_samples or num_chunks * spec.chunk_samples
    latents, tokens = 4 * num_chunks, 2 * num_chunks
    values = {
        "id": "item",
        "latents": torch.arange(latents).float()[:, None].expand(-1, 3).contiguous(),
        "tokens": torch.arange(tokens)[:, None].expand(-1, 2).contiguous(),
        "latent_mask": torch.ones(latents, dtype=torch.bool),
        "token_mask": torch.ones(tokens, dtype=torch.bool),
        "num_samples": num_samples,
        "duration_s": num_samples / spec.sample_rate,
        "seconds_start": 10.0,
        "seconds_total": 60.0,
        "metadata": {},
    }
    return LatentItem(**{**values, **fields})


@pytest.mark.parametrize("num_chunks", [1, 2, 5])
def test_crops_are_whole_chunks_with_their_own_times(codec, num_chunks):
    spec = codec.spec
    item = make_item(spec, 9, num_samples=9 * 320 - 100)
    for first in range(9 - num_chunks + 1):
        got = crop(item, spec, first, num_chunks)
        assert got.latents[:, 0].tolist() == list(range(4 * first, 4 * (first + num_chunks)))
        assert got.tokens[:, 0].tolist() == list(range(2 * first, 2 * (first + num_chunks)))
        assert got.seconds_start == pytest.approx(10.0 + first * 320 / 8000)
        assert got.seconds_total == 60.0
        assert got.latent_mask.all()
        assert got.token_mask.all()
        assert got.num_samples == num_chunks * 320 - (100 if first + num_chunks == 9 else 0)
        assert got.duration_s == got.num_samples / 8000


def test_the_overhang_of_the_last_window_stays_with_the_last_chunk(codec):
    item = make_item(codec.spec, 3, num_samples=3 * 320 + 40)
    assert codec.spec.num_chunks(item.num_samples) == 3
    assert crop(item, codec.spec, 2, 1).num_samples == 360
    assert crop(item, codec.spec, 0, 3).num_samples == item.num_samples
    assert crop(item, codec.spec, 1, 1).num_samples == 320


def test_short_items_are_padded_with_silence_and_masked(codec):
    got = pad(make_item(codec.spec, 2), codec.spec, 5, SILENCE)
    assert got.latents[8:].eq(-7.0).all()
    assert got.tokens[4:].eq(9).all()
    assert got.latent_mask.tolist() == [True] * 8 + [False] * 12
    assert got.token_mask.tolist() == [True] * 4 + [False] * 6
    assert got.num_samples == 640


def test_one_stream_alone(codec):
    item = make_item(codec.spec, 6, latents=None, latent_mask=None)
    got = crop(item, codec.spec, 1, 2)
    assert got.latents is None
    assert len(got.tokens) == 4
    batch = collate([got], codec.spec, SILENCE)
    assert batch.latents is batch.latent_mask is None
    assert batch.tokens.shape == (1, 4, 2)


def test_a_crop_does_not_hold_on_to_the_item(codec):
    got = crop(make_item(codec.spec, 100), codec.spec, 3, 1)
    assert got.latents.untyped_storage().nbytes() == 4 * 3 * 4


def test_collate_pads_to_the_longest_and_carries_the_conditions(codec):
    items = [
        make_item(codec.spec, 1, id="a", metadata={"text": "calm piano", "label": "music"}),
        make_item(codec.spec, 3, id="b", metadata={"text": None, "tags": ["x", "y"]}, seconds_start=1.5),
    ]
    batch = collate(items, codec.spec, SILENCE)
    assert batch.latents.shape == (2, 12, 3)
    assert batch.tokens.shape == (2, 6, 2)
    assert batch.latent_mask.sum(1).tolist() == [4, 12]
    assert batch.token_mask.sum(1).tolist() == [2, 6]
    assert torch.equal(batch.latents[0, 4:8], SILENCE.latents)
    assert batch.ids == ["a", "b"]
    assert batch.conditions.values["text"] == ["calm piano", None]
    assert batch.conditions.values["label"] == ["music", None]
    assert batch.conditions.values["seconds"] == [(10.0, 60.0), (1.5, 60.0)]
    assert collate(items, codec.spec, SILENCE, columns={"tags": "tags", "mood": "text"}).conditions.values == {
        "tags": [None, ["x", "y"]],
        "mood": ["calm piano", None],
        "seconds": [(10.0, 60.0), (1.5, 60.0)],
    }


def test_bad_input(codec):
    spec, item = codec.spec, make_item(codec.spec, 3)
    with pytest.raises(ValueError, match="at least 1 item"):
        collate([], spec, SILENCE)
    with pytest.raises(ValueError, match="no crop of 1 from chunk 3 on"):
        crop(item, spec, 3, 1)
    with pytest.raises(ValueError, match="no crop of 0"):
        crop(item, spec, 0, 0)
    with pytest.raises(ValueError, match="whole chunks of 4"):
        num_item_chunks(dataclasses.replace(item, latents=item.latents[:5]), spec)
    with pytest.raises(ValueError, match="silence to pad it with has none"):
        pad(item, spec, 4, Silence(latents=None, tokens=None))
    with pytest.raises(ValueError, match="same streams"):
        collate([item, dataclasses.replace(item, latents=None)], spec, SILENCE)
