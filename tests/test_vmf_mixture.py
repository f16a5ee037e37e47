"""Mixtures of von Mises–Fisher clouds: closed forms against samples, limits, and every refusal."""

import pytest
import torch

from latentlib import observables, vmf, vmf_mixture


@pytest.mark.parametrize(("kappa", "n_latent", "n_classes"), [(40.0, 16, 4), (3.0, 5, 5), (12.0, 8, 2)])
def test_mixture_overlaps_are_those_of_samples(kappa, n_latent, n_classes):
    labels = torch.arange(n_classes).repeat_interleave(800)
    s = vmf_mixture.sample_mixture(kappa, n_latent, labels, seed=1)
    found = observables.code_observables(s, labels)
    known = vmf_mixture.mixture_overlaps(kappa, n_latent, n_classes)
    for name, exact in known._asdict().items():
        value, error = found[name]
        assert abs(value - exact) < 4 * error, name


def test_mixture_overlaps_of_one_class_are_the_field_alone():
    found = vmf_mixture.mixture_overlaps(7.0, 12, 1)
    order, chi = vmf.vmf_order(7.0, 12.0), vmf.vmf_susceptibility(7.0, 12.0)
    assert found.q_mean == found.q_within_mean == pytest.approx(order**2, rel=1e-14)
    assert found.chi == pytest.approx(chi, rel=1e-12) and found.chi_within_class == pytest.approx(chi, rel=1e-14)
    assert found.chi_between_classes == 0


def test_mixture_overlaps_limits():
    """κ → 0: uniform directions. κ → ∞: K points on orthogonal axes, q = 1 with probability 1/K, else 0."""
    none, points = vmf_mixture.mixture_overlaps(1e-6, 10, 3), vmf_mixture.mixture_overlaps(1e7, 10, 4)
    assert none.q_mean == pytest.approx(0, abs=1e-12) and none.chi == pytest.approx(1)
    assert none.participation_ratio == pytest.approx(10)
    assert points.q_mean == pytest.approx(0.25, rel=1e-5) and points.chi == pytest.approx(10 * 0.25 * 0.75, rel=1e-5)
    assert points.chi_between_classes == pytest.approx(points.chi, rel=1e-4)
    assert points.participation_ratio == pytest.approx(3, rel=1e-4)  # K points have K − 1 directions


def test_sample_mixture_is_unit_vectors_about_the_axis_of_the_class():
    labels = torch.tensor([2, 0, 1, 2]).repeat(500)
    s = vmf_mixture.sample_mixture(30.0, 6, labels, seed=0)
    torch.testing.assert_close(s.norm(dim=1), torch.ones(2000, dtype=torch.float64))
    for k in range(3):
        mean, error = s[labels == k].mean(0), s[labels == k].std(0) / (labels == k).sum() ** 0.5
        known = torch.zeros(6, dtype=torch.float64)
        known[k] = vmf.vmf_order(30.0, 6.0)
        assert ((mean - known).abs() < 4 * error).all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: vmf_mixture.mixture_overlaps(0.0, 4, 2), "kappa: want it above 0, got 0"),
    (lambda: vmf_mixture.mixture_overlaps(1.0, 4, 5), "want 1 <= n_classes <= n_latent and n_latent >= 2, got 5 and 4"),
    (lambda: vmf_mixture.sample_mixture(1.0, 4, torch.tensor([0, 4]), seed=0), "got 5 and 4"),
    (lambda: vmf_mixture.sample_mixture(1.0, 4, torch.tensor([0.0]), seed=0), "labels: want whole numbers"),
    (lambda: vmf_mixture.sample_mixture(1.0, 4, torch.tensor([-1]), seed=0), "labels: want whole numbers"),
])  # fmt: skip
def test_vmf_mixture_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
