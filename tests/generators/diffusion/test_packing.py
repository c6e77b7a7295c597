"""Items of different lengths computed end to end, without padding."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fake_binding import LATENT_BINDING

from latentune.core.config import build_config
from latentune.core.errors import ConfigError
from latentune.core.settings import load_settings
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.layers.attention import Documents, KeyPadding, attend
from latentune.pipelines.training.config import train_config

LENGTHS = (4, 8, 2)


def model(**config: Any) -> DiffusionTransformer:
    """A tiny transformer whose output depends on all of its layers."""
    torch.manual_seed(0)
    values = {**load_settings("generators/dit-tiny")["config"], "binding": LATENT_BINDING, **config}
    made: Any = DiffusionTransformer(build_config(DiffusionTransformerConfig, values))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape) * 0.05)
    return made


def velocity(network: Any, t: torch.Tensor, packed: bool) -> torch.Tensor:
    network.packed = packed
    noisy = torch.randn(3, 8, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(8) < torch.tensor(LENGTHS)[:, None]
    made = network(noisy, t, conditions=Conditions.of(["a", "", "b c"], 1.0), mask=mask)
    return made[mask]


@pytest.mark.parametrize("per_frame", [False, True])
def test_packed_items_have_the_velocity_and_the_gradient_of_padded_ones(per_frame: bool) -> None:
    network: Any = model()
    t = torch.tensor([0.2, 0.5, 0.9])
    t = torch.rand(3, 8, generator=torch.Generator().manual_seed(2)) if per_frame else t
    gradients = []
    for packed in (False, True):
        network.zero_grad()
        made = velocity(network, t, packed)
        made.square().sum().backward()
        gradients.append((made.detach(), {name: p.grad for name, p in network.named_parameters()}))
    torch.testing.assert_close(gradients[1][0], gradients[0][0])
    for name, gradient in gradients[0][1].items():
        torch.testing.assert_close(gradients[1][1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize("key_lengths", [None, (3, 0, 70)])
def test_a_document_sees_its_own_keys_alone(backend: Any, key_lengths: tuple[int, ...] | None) -> None:
    lengths = (5, 150, 9)
    documents = Documents(lengths, key_lengths)
    random = torch.Generator().manual_seed(0)
    q = torch.randn(1, 2, sum(lengths), 8, generator=random)
    k, v = (torch.randn(1, 2, sum(key_lengths or lengths), 8, generator=random) for _ in range(2))
    expected = [
        F.scaled_dot_product_attention(q[:, :, rows], k[:, :, keys], v[:, :, keys])
        if keys.stop > keys.start
        else torch.zeros_like(q[:, :, rows])
        for rows, keys in documents.items
    ]
    torch.testing.assert_close(attend(q, k, v, documents, backend=backend), torch.cat(expected, 2))
    queries = torch.arange(sum(lengths))
    for bound in (0, 1):
        whole = documents.bounds(queries)[bound]
        assert whole.tolist() == [documents.bounds(int(query))[bound] for query in queries]


def test_documents_that_do_not_fit_are_refused() -> None:
    q = torch.randn(1, 1, 4, 8)
    with pytest.raises(ValueError, match="documents of 5 queries and 5 keys"):
        attend(q, q, q, Documents((2, 3)))
    with pytest.raises(ValueError, match="without padding"):
        attend(q, q, q, KeyPadding(torch.ones(1, 4, dtype=torch.bool), Documents((2, 2))))
    with pytest.raises(ValueError, match="lengths of at least 1"):
        Documents((2, 0))
    with pytest.raises(ValueError, match="each with its keys"):
        Documents((2, 2), (1,))


def test_only_full_attention_is_packed_and_nothing_is_compiled() -> None:
    assert model().can_pack
    assert not model(attention="chunk_causal").can_pack
    keys = ["data.source=none", "packed=true", "compile=true"]
    with pytest.raises(ConfigError, match="packed cannot be combined with compile"):
        train_config(load_settings("train/dit-tiny", keys))
