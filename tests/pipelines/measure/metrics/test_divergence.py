import numpy as np
import pytest
import scipy.special
import torch

from latentune.pipelines.measure.metrics import kl_divergence, marginal_kl, paired_kl


def posteriors(num: int, classes: int, seed: int) -> np.ndarray:
    return scipy.special.softmax(np.random.default_rng(seed).normal(size=(num, classes)) * 2, axis=1)


def test_rows_agree_with_scipy_and_with_the_formula_of_audiocraft() -> None:
    p, q = posteriors(6, 10, 0), posteriors(6, 10, 1)
    np.testing.assert_allclose(kl_divergence(p, q, eps=0.0), scipy.special.rel_entr(p, q).sum(1), rtol=1e-12)
    theirs = torch.nn.functional.kl_div((torch.tensor(q) + 1e-6).log(), torch.tensor(p), reduction="none").sum(-1)
    np.testing.assert_allclose(kl_divergence(p, q), theirs, rtol=1e-12)


def test_multilabel_rows_are_sums_of_bernoulli_divergences() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.uniform(size=(4, 7)), rng.uniform(size=(4, 7))
    both = torch.distributions.Bernoulli
    expected = torch.distributions.kl_divergence(both(torch.tensor(p)), both(torch.tensor(q))).sum(-1)
    np.testing.assert_allclose(kl_divergence(p, q, eps=0.0, multilabel=True), expected, rtol=1e-9)
    assert np.isfinite(kl_divergence(np.round(p), np.round(q), multilabel=True)).all()


def test_certain_classes_stay_finite() -> None:
    one, other = np.eye(3)[:1], np.eye(3)[1:2]
    assert kl_divergence(one, other)[0] == pytest.approx(np.log(1e6))
    assert kl_divergence(one, other, eps=0.0)[0] == np.inf
    assert kl_divergence(one, one)[0] == pytest.approx(0.0, abs=3e-6)


@pytest.mark.parametrize("classes", [2, 521])
@pytest.mark.parametrize("multilabel", [False, True])
def test_no_divergence_is_below_0(classes: int, multilabel: bool) -> None:
    p = posteriors(20, classes, 0)
    near = p + 1e-7 * (posteriors(20, classes, 1) - p)
    for q in (p, near):
        assert (kl_divergence(p, q, multilabel=multilabel) >= 0.0).all()
        assert (paired_kl(p[:, None], q[:, None], multilabel=multilabel) >= 0.0).all()
        assert marginal_kl(p, q, multilabel=multilabel) >= 0.0
    assert (kl_divergence(p, p, multilabel=multilabel) == 0.0).all()
    assert (kl_divergence(p, posteriors(20, classes, 1), multilabel=multilabel) > 1e-3).all()


def test_pairs_average_their_windows() -> None:
    reference, generated = [posteriors(3, 5, 0), posteriors(1, 5, 1)], [posteriors(2, 5, 3), posteriors(4, 5, 2)]
    for place, value in enumerate(paired_kl(reference, generated)):
        means = [side[place].mean(0, keepdims=True) for side in (reference, generated)]
        assert value == pytest.approx(kl_divergence(*means)[0], rel=1e-12)
    with pytest.raises(ValueError, match="got 2 reference and 1 generated files"):
        paired_kl(reference, generated[:1])
    with pytest.raises(ValueError, match="got 2 reference and 3 generated files"):
        paired_kl(reference, [*generated, generated[0]])


def test_marginals_need_no_pairs() -> None:
    p, q = posteriors(30, 5, 0), posteriors(20, 5, 1)
    assert marginal_kl(p, q, eps=0.0) == pytest.approx(scipy.special.rel_entr(p.mean(0), q.mean(0)).sum(), rel=1e-12)
    assert marginal_kl(p, p[::-1]) == pytest.approx(0.0, abs=1e-5)
    assert np.mean(kl_divergence(p[:20], q)) > marginal_kl(p, q)


def test_what_are_no_posteriors_is_refused() -> None:
    p = posteriors(3, 4, 0)
    with pytest.raises(ValueError, match=r"in 0..1, got -1\.\.1: give probabilities"):
        kl_divergence(p, np.array([[-1.0, 1.0, 1.0, 0.0]] * 3))
    with pytest.raises(ValueError, match=r"one sums to 2.*multilabel=True"):
        kl_divergence(p, 2 * np.full((3, 4), 0.25))
    with pytest.raises(ValueError, match="one shape"):
        kl_divergence(p, p[:2])
    with pytest.raises(ValueError, match="one shape"):
        kl_divergence(p[:0], p[:0])
    with pytest.raises(ValueError, match=r"\[n >= 1, K\]"):
        marginal_kl(p, p[:0])
    with pytest.raises(ValueError, match="eps"):
        kl_divergence(p, p, eps=-1.0)
