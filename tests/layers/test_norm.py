"""RMS norms: unit power, and the dtype of the input under a gain of another."""

import torch
import torch.nn.functional as F

from latentune.layers.norm import RMSNorm, rms_norm


def test_the_result_has_unit_power_times_the_gain(generator: torch.Generator) -> None:
    x, gain = torch.randn(4, 64, generator=generator) * 30, torch.full((64,), 3.0)
    torch.testing.assert_close(rms_norm(x, gain, 1e-6).square().mean(-1), torch.full((4,), 9.0))


def test_the_gain_takes_the_dtype_of_the_input(generator: torch.Generator) -> None:
    x, norm = torch.randn(4, 8, generator=generator), RMSNorm(8)
    out = norm(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), norm(x), atol=0.02, rtol=0)


def test_the_eps_keeps_silence_from_being_amplified() -> None:
    assert RMSNorm(8, eps=1.0)(torch.full((1, 8), 0.01)).max() < 0.011


def test_what_is_trained_on_the_cpu_has_the_values_and_gradients_of_torch(generator: torch.Generator) -> None:
    x = torch.randn(2, 5, 3, 16, generator=generator).transpose(1, 2).requires_grad_()
    gain = torch.randn(16, generator=generator).requires_grad_()
    upstream = torch.randn(2, 3, 5, 16, generator=generator)
    ours, theirs = rms_norm(x, gain, 1e-3), F.rms_norm(x, (16,), gain, 1e-3)
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x, gain, 1e-3), ours)
    found = torch.autograd.grad(ours, (x, gain), upstream, create_graph=True)
    expected = torch.autograd.grad(theirs, (x, gain), upstream, create_graph=True)
    torch.testing.assert_close(found, expected)
    # penalties on gradients go through them once more
    for ours_again, theirs_again in zip(
        torch.autograd.grad(found[0].square().sum(), (x, gain)),
        torch.autograd.grad(expected[0].square().sum(), (x, gain)),
        strict=True,
    ):
        torch.testing.assert_close(ours_again, theirs_again, atol=1e-4, rtol=1e-4)
