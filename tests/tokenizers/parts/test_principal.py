"""Principal components are white, in the order of their variance."""

from __future__ import annotations

import torch

from latentune.tokenizers.parts.principal import whitening_projection


def test_a_projection_is_white_and_holds_the_most_variance(generator: torch.Generator) -> None:
    sources = torch.randn(4000, 3, generator=generator) * torch.tensor([5.0, 3.0, 2.0])
    mixing = torch.linalg.qr(torch.randn(10, 10, generator=generator))[0][:3]
    features = sources @ mixing + 7.0 + 0.1 * torch.randn(4000, 10, generator=generator)
    z = features @ whitening_projection(features, 3, 0.8).float()
    torch.testing.assert_close(z.std(0), torch.full((3,), 0.8), rtol=0.01, atol=0)
    correlations = torch.corrcoef(torch.cat((z, sources), dim=1).T)
    assert (correlations[:3, :3] - torch.eye(3)).abs().max() < 0.01
    assert correlations[:3, 3:].diagonal().abs().min() > 0.99  # in the order of their variance


def test_features_that_do_not_vary_have_no_component_without_end() -> None:
    projection = whitening_projection(torch.ones(50, 4), 2, 1.0)
    assert torch.isfinite(projection).all()
