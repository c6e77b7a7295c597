"""RMS norms: unit power, and the dtype of the input under a gain of another."""

import torch

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
