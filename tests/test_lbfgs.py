"""Batched L-BFGS: known minima, independence of the problems, the certificate."""

import torch
from latentlib import lbfgs


def identity(x, gradient, rows):
    return gradient


def rosenbrock(x, rows):
    first, second = x[:, 0], x[:, 1]
    value = (1 - first) ** 2 + 100 * (second - first**2) ** 2
    slope = torch.stack([-2 * (1 - first) - 400 * first * (second - first**2), 200 * (second - first**2)], 1)
    return value, slope


def test_minimize_finds_rosenbrock_minimum_from_every_start(generator):
    start = 2 * torch.randn(50, 2, generator=generator, dtype=torch.float64)
    found = lbfgs.minimize(rosenbrock, identity, start, torch.full((50,), 1e-10, dtype=torch.float64))
    assert found.converged.all()
    # The smallest Hessian eigenvalue at (1, 1) is 0.4: |x − x*| ≤ |gradient|/0.4, doubled for the cubic terms.
    assert (found.x - 1).norm(dim=1).max() <= 2 * 1e-10 / 0.4


def test_minimize_keeps_problems_independent(generator):
    start = 2 * torch.randn(20, 2, generator=generator, dtype=torch.float64)
    tolerance = torch.logspace(-4, -10, 20, dtype=torch.float64)
    together = lbfgs.minimize(rosenbrock, identity, start, tolerance)
    alone = [lbfgs.minimize(rosenbrock, identity, start[i : i + 1], tolerance[i : i + 1]) for i in range(20)]
    assert torch.equal(together.x, torch.cat([one.x for one in alone]))
    assert torch.equal(together.n_iterations, torch.cat([one.n_iterations for one in alone]))


def test_minimize_with_inverse_hessian_needs_one_step_after_the_first(generator):
    scale = torch.logspace(-6, 6, 13, dtype=torch.float64)
    start = torch.randn(4, 13, generator=generator, dtype=torch.float64)

    def quadratic(x, rows):
        return (scale * x.square()).sum(1) / 2, scale * x

    def newton(x, gradient, rows):
        return gradient / scale

    found = lbfgs.minimize(quadratic, newton, start, torch.full((4,), 1e-9, dtype=torch.float64))
    assert found.converged.all() and found.n_iterations.max() <= 3


def test_minimize_says_what_did_not_converge(generator):
    start = 5 + torch.randn(3, 2, generator=generator, dtype=torch.float64)
    tolerance = torch.tensor([1e-10, 1e12, 1e-10], dtype=torch.float64)
    found = lbfgs.minimize(rosenbrock, identity, start, tolerance, max_iterations=2)
    assert found.converged.tolist() == [False, True, False]
    assert found.n_iterations.tolist() == [2, 0, 2]
    assert (found.residual > tolerance).tolist() == [True, False, True]


def test_minimize_takes_no_step_longer_than_max_step(generator):
    start = 2 * torch.randn(5, 2, generator=generator, dtype=torch.float64)

    def first_trial(max_step):
        visited = []
        lbfgs.minimize(lambda x, rows: (visited.append(x), rosenbrock(x, rows))[1], identity, start, torch.ones(5), max_step=max_step)
        return (visited[1] - start).norm(dim=1)

    # The first trial takes half the direction, whose length is capped.
    assert torch.allclose(first_trial(0.25), torch.full((5,), 0.125, dtype=torch.float64))
    assert (first_trial(float("inf")) > 1).all()
