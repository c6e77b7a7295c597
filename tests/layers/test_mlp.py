"""The gated MLP: what it computes, with and without gradient, and the names of its weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentune.layers.mlp import Activation, GatedMLP, gated_product


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    return torch.randn(2, 5, 6, generator=generator)


@pytest.mark.parametrize("gate_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_formula_with_and_without_gradient(x: Tensor, bias: bool, gate_first: bool) -> None:
    mlp = GatedMLP(6, 7, bias=bias, gate_first=gate_first)
    first, second = F.linear(x, mlp.up.weight, mlp.up.bias).chunk(2, -1)
    product = F.silu(first) * second if gate_first else first * F.silu(second)
    expected = F.linear(product, mlp.down.weight, mlp.down.bias)
    torch.testing.assert_close(mlp(x), expected)
    with torch.no_grad():
        assert torch.equal(mlp(x), mlp(x.clone()))
        torch.testing.assert_close(mlp(x), expected)
    assert (mlp.up.bias is not None) == bias


@pytest.mark.parametrize(("activation", "function"), [("silu", F.silu), ("gelu", F.gelu)])
def test_both_activations(x: Tensor, activation: Activation, function) -> None:  # type: ignore[no-untyped-def]
    expected = function(x[..., :3]) * x[..., 3:]
    torch.testing.assert_close(gated_product(x.clone(), activation), expected)
    with torch.no_grad():
        torch.testing.assert_close(gated_product(x.clone(), activation), expected)


def test_gradients_reach_the_input(x: Tensor) -> None:
    x.requires_grad_()
    GatedMLP(6, 7)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0


def test_saved_weights_decide_the_names() -> None:
    assert list(GatedMLP(6, 7).state_dict()) == ["inner.weight", "out.weight"]
    assert list(GatedMLP(6, 7, names=("to_hidden", "to_out")).state_dict()) == ["to_hidden.weight", "to_out.weight"]
