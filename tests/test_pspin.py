"""Spherical p-spin: the sum over tuples, its covariance, derivatives, the kernel against the reference, every error."""

import math
import os
import subprocess
import sys
from itertools import product

import pytest
import torch

from latentlib import kac_rice, pspin
from latentlib.pspin import PSpin, draw_pspin, mixture_at
from latentlib.reference import pspin as reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
MIXED = {1: 0.5, 2: 1.0, 3: 2.0, 4: 0.7, 5: 0.3}
KERNEL_MIXTURES = [{}, {1: 1.0}, {2: 1.0}, {3: 1.0}, {1: 0.5, 2: 1.0, 3: 2.0}]

needs_kernel = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="no GPU and no interpreter")


def spins(*shape: int, generator: torch.Generator, dtype=torch.float64) -> torch.Tensor:
    """Uniform on the sphere |s|² = n_spins."""
    s = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (s * math.sqrt(shape[-1]) / s.norm(dim=-1, keepdim=True)).to(dtype)


def tuple_sum(coupling: torch.Tensor, s: torch.Tensor) -> float:
    """Σ over all ordered tuples, one by one."""
    n, p = len(s), coupling.ndim
    return sum((coupling[i] * math.prod(s[k] for k in i)).item() for i in product(range(n), repeat=p))


# The energy


def test_draw_pspin_is_the_sum_over_tuples(generator):
    system = draw_pspin(MIXED, 4, field=0.3, field_std=0.4, seed=7)
    s = spins(4, generator=generator)
    g = torch.Generator().manual_seed(7)  # the documented order: p ascending, then the field
    expected = 0.0
    for p, weight in MIXED.items():
        draw = torch.randn([4] * p, generator=g, dtype=torch.float64)
        expected += math.sqrt(weight) * 4 ** (-(p - 1) / 2) * tuple_sum(draw, s)
    field = 0.3 + 0.4 * torch.randn(4, generator=g, dtype=torch.float64)
    expected -= (field @ s).item()
    assert system.energy(s).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mixture", [{1: 0.8}, {2: 1.0}, {3: 1.0}, {1: 0.2, 3: 0.5, 4: 0.7}])
def test_draw_pspin_covariance_is_n_times_the_mixture(mixture, generator):
    n_spins, n_systems = 5, 1500
    s = spins(3, n_spins, generator=generator)
    energy = torch.stack([draw_pspin(mixture, n_spins, seed=seed).energy(s) for seed in range(n_systems)])
    covariance = n_spins * mixture_at(mixture, s @ s.T / n_spins)
    # Gaussian of mean 0: Var of one product H_a H_b is C_aa C_bb + C_ab².
    error = ((covariance.diag()[:, None] * covariance.diag() + covariance.square()) / n_systems).sqrt()
    assert ((energy.T @ energy / n_systems - covariance).abs() < 4 * error).all()


def test_draw_pspin_field_has_its_mean_and_variance():
    system = draw_pspin({}, 4000, field=0.3, field_std=0.5, seed=1)
    # Standard errors of the mean and of the variance of 4000 normal numbers.
    assert system.field.mean().item() == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(4000))
    assert system.field.var().item() == pytest.approx(0.25, abs=4 * 0.25 * math.sqrt(2 / 4000))
    vector = torch.arange(3.0)
    assert torch.equal(draw_pspin({3: 1.0}, 3, field=vector, seed=0).field, vector.double())
    assert torch.equal(draw_pspin({3: 1.0}, 3, field=2, seed=0).field, torch.full((3,), 2.0, dtype=torch.float64))


def test_draw_pspin_same_seed_same_bits_in_every_dtype():
    first, again = (draw_pspin(MIXED, 6, field_std=1.0, seed=3) for _ in range(2))
    single, other = draw_pspin(MIXED, 6, field_std=1.0, seed=3, dtype=torch.float32), draw_pspin(MIXED, 6, seed=4)
    for p in MIXED:
        assert torch.equal(first.couplings[p], again.couplings[p])
        assert torch.equal(first.couplings[p].float(), single.couplings[p])
        assert not torch.equal(first.couplings[p], other.couplings[p])
    assert torch.equal(first.field, again.field) and torch.equal(first.field.float(), single.field)


def test_draw_pspin_limits_are_linear_or_a_point():
    linear = draw_pspin({1: 1.0, 3: 0.0}, 5, field=0.2, seed=0)
    s = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert list(linear.couplings) == [1]
    assert torch.equal(linear.hessian(s), torch.zeros(2, 3, 5, 5, dtype=torch.float64))
    assert torch.equal(linear.gradient(s), (linear.couplings[1] - 0.2).expand_as(s))
    point = draw_pspin({2: 1.0, 3: 1.0}, 1, field=0.5, seed=0)
    up = torch.ones(1, dtype=torch.float64)
    quadratic, cubic = point.couplings[2].item(), point.couplings[3].item()
    assert point.energy(up).item() == pytest.approx(quadratic + cubic - 0.5, abs=1e-15)
    assert point.energy(-up).item() == pytest.approx(quadratic - cubic + 0.5, abs=1e-15)


# Its derivatives


def test_gradient_and_hessian_are_derivatives_of_the_energy(generator):
    system = draw_pspin(MIXED, 7, field=0.3, field_std=0.2, seed=2)
    s = torch.randn(2, 4, 7, dtype=torch.float64, generator=generator)  # off the sphere as well
    energy, gradient = system.energy_and_gradient(s)
    assert energy.shape == (2, 4) and torch.equal(energy, system.energy(s))
    rows = s.reshape(-1, 7)
    by_autograd = torch.func.vmap(torch.func.grad(system.energy))(rows)
    hessian = torch.func.vmap(torch.func.hessian(system.energy))(rows)
    # Rounding of 7⁴ terms of order one.
    assert torch.allclose(gradient.reshape(-1, 7), by_autograd, rtol=1e-12, atol=1e-12)
    assert torch.allclose(system.hessian(s).reshape(-1, 7, 7), hessian, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_spins", [1, 24, 25, 26, 60])
def test_energy_and_gradient_pairs_equal_the_whole_product(n_spins, generator):
    # The strips of the p = 3 shortcut against the plain contraction, below, at and past their width.
    system = draw_pspin({3: 1.0}, n_spins, seed=4)
    s = spins(300, n_spins, generator=generator)
    whole = 3 * torch.einsum("ijk,bj,bk->bi", system.couplings[3], s, s)
    assert torch.allclose(system.gradient(s), whole, rtol=0, atol=1e-13 * n_spins)
    assert torch.allclose(system.energy(s), (whole * s).sum(1) / 3, rtol=0, atol=1e-13 * n_spins)


def test_contract_in_blocks_equals_one_block(generator, monkeypatch):
    system = draw_pspin({4: 1.0}, 6, seed=4)
    s = spins(20, 6, generator=generator)
    whole = system.hessian(s)
    monkeypatch.setattr(reference, "ENTRIES", 3 * 6**3)
    assert torch.allclose(system.hessian(s), whole, rtol=1e-13, atol=1e-13)


def test_energy_is_unchanged_by_rotating_couplings_field_and_spins(generator):
    system = draw_pspin({2: 1.0, 3: 1.0}, 9, field_std=1.0, seed=5)
    turn = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64, generator=generator)).Q
    pair = turn @ system.couplings[2] @ turn.T
    triple = torch.einsum("abc,ia,jb,kc->ijk", system.couplings[3], turn, turn, turn)
    turned = PSpin(system.mixture, {2: (pair + pair.T) / 2, 3: pspin._symmetrized(triple)}, turn @ system.field)
    s = spins(5, 9, generator=generator)
    assert torch.allclose(turned.energy(s @ turn.T), system.energy(s), rtol=0, atol=1e-12)
    assert torch.allclose(turned.gradient(s @ turn.T), system.gradient(s) @ turn.T, rtol=0, atol=1e-12)


def test_p_two_is_critical_at_eigenvectors():
    system = draw_pspin({2: 0.5}, 12, seed=6)
    value, vector = torch.linalg.eigh(system.couplings[2])
    s = math.sqrt(12) * vector.T
    assert torch.allclose(system.gradient(s), 2 * value[:, None] * s, rtol=0, atol=1e-12)
    assert torch.allclose(system.energy(s), 12 * value, rtol=0, atol=1e-12)


# The kernel


def errors(system: PSpin, s: torch.Tensor, impl: str) -> torch.Tensor:
    """Largest errors of energy and gradient against float64, each in units of its largest value."""
    exact = system.to(torch.float64).energy_and_gradient(s.double())
    found = system.energy_and_gradient(s, impl=impl)
    pairs = zip(found, exact, strict=True)
    return torch.stack([(got - want).abs().amax() / want.abs().amax().clamp(min=1) for got, want in pairs])


@needs_kernel
@pytest.mark.parametrize("mixture", KERNEL_MIXTURES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (63, 33), (33, 65)])
def test_energy_and_gradient_kernel_errs_at_most_twice_float32(mixture, shape, generator):
    system = draw_pspin(mixture, shape[1], field=0.3, field_std=0.2, seed=1, dtype=torch.float32).to(DEVICE)
    s = spins(*shape, generator=generator, dtype=torch.float32).to(DEVICE)
    # Where the reference happens to round well: a few units in the last place of the largest value.
    assert (errors(system, s, "triton") <= 2 * errors(system, s, "reference") + 2.0**-22).all()


@needs_kernel
def test_energy_and_gradient_kernel_reads_and_leaves_no_poison(generator, monkeypatch):
    from latentlib.kernels import pspin as kernel

    system = draw_pspin({1: 1.0, 2: 1.0, 3: 1.0}, 19, seed=1, dtype=torch.float32).to(DEVICE)
    s = spins(37, 19, generator=generator, dtype=torch.float32).to(DEVICE)

    def in_poison(x: torch.Tensor) -> torch.Tensor:
        memory = torch.full((x.numel() + 4096,), math.nan, device=x.device)
        memory[: x.numel()] = x.flatten()
        return memory[: x.numel()].view(x.shape)

    monkeypatch.setattr(torch, "empty", lambda *size, **kwargs: torch.full(*size, math.nan, **kwargs))
    couplings = {p: in_poison(system.couplings[p]) for p in (2, 3)}
    energy, gradient = kernel.energy_and_gradient(in_poison(s), in_poison(system.couplings[1]), couplings)
    expected = reference.energy_and_gradient(s, system.couplings[1], {p: system.couplings[p] for p in (2, 3)})
    assert torch.allclose(energy, expected[0], rtol=1e-5, atol=1e-5)
    assert torch.allclose(gradient, expected[1], rtol=1e-5, atol=1e-5)


@needs_kernel
def test_energy_and_gradient_kernel_knows_the_parity_of_p(generator):
    # Products of three spins change sign exactly with s, those of two not at all.
    s = spins(10, 17, generator=generator, dtype=torch.float32).to(DEVICE)
    for p, sign in ((2, 1), (3, -1)):
        system = draw_pspin({p: 1.0}, 17, seed=1, dtype=torch.float32).to(DEVICE)
        energy, gradient = system.energy_and_gradient(s, impl="triton")
        mirrored = system.energy_and_gradient(-s, impl="triton")
        assert torch.equal(mirrored[0], sign * energy) and torch.equal(mirrored[1], -sign * gradient)


@needs_kernel
def test_energy_and_gradient_of_no_spins_is_empty():
    system = draw_pspin({3: 1.0}, 4, seed=0, dtype=torch.float32).to(DEVICE)
    for impl in ("reference", "triton"):
        energy, gradient = system.energy_and_gradient(torch.empty(0, 4, device=DEVICE), impl=impl)
        assert energy.shape == (0,) and gradient.shape == (0, 4)


@needs_kernel
def test_energy_and_gradient_kernel_refuses_what_it_cannot_do():
    s = torch.ones(2, 3, device=DEVICE)
    for mixture, spins_, found in (
        ({3: 1.0}, s.double(), "float64"),
        ({4: 1.0}, s, r"p in \[4\]"),
        ({3: 1.0}, s.clone().requires_grad_(), "requires_grad"),
    ):
        system = draw_pspin(mixture, 3, seed=0, dtype=spins_.dtype).to(DEVICE)
        with pytest.raises(ValueError, match=f"want torch.float32, p <= 3 and no autograd, got .*{found}"):
            system.energy_and_gradient(spins_, impl="triton")
        assert system.gradient(spins_).shape == (2, 3)  # impl=None takes the reference
    with torch.no_grad():
        assert system.gradient(spins_, impl="triton").shape == (2, 3)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latentlib.kernels import pspin as kernel
run = kernel._energy_and_gradient
constants = dict(PAIR=True, TRIPLE=True, BLOCK_SAMPLES=kernel.BLOCK_SAMPLES)
constants |= dict(BLOCK_SPINS=kernel.BLOCK_SPINS, BLOCK_PAIR=kernel.BLOCK_PAIR)
signature = dict(zip(run.arg_names, ["*fp32"] * 6 + ["i32"] * 2)) | dict.fromkeys(constants, "constexpr")
source = ASTSource(fn=run, signature=signature, constexprs=constants)
ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
assert "fma.rn.f32" in ptx and "tf32" not in ptx
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its compiler on Linux alone")
def test_energy_and_gradient_kernel_compiles_in_full_float32_without_a_gpu():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The mixture, and the closed forms under the names of the model


def test_mixture_at_is_the_polynomial_and_its_derivatives():
    q = torch.tensor([-0.5, 0.0, 0.3, 1.0], dtype=torch.float64)
    assert torch.allclose(mixture_at({2: 0.5, 4: 2.0}, q), 0.5 * q**2 + 2 * q**4, rtol=1e-15)
    assert torch.allclose(mixture_at({2: 0.5, 4: 2.0}, q, 1), q + 8 * q**3, rtol=1e-15)
    assert torch.allclose(mixture_at({2: 0.5, 4: 2.0}, q, 2), 1 + 24 * q**2, rtol=1e-15)
    assert mixture_at({3: 1.0}, 1, 3) == 6.0 and mixture_at({3: 1.0}, 0.3, 4) == 0.0 == mixture_at({}, 0.3)
    assert mixture_at({1: 2.0}, 0.0, 1) == 2.0 and isinstance(mixture_at({3: 1.0}, 0.1), float)


def test_closed_forms_have_their_home_in_kac_rice():
    for name in ("ground_state_energy", "threshold_energy", "complexity", "critical_field", "n_critical_points"):
        assert getattr(pspin, name) is getattr(kac_rice, name) and name in pspin.__all__


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixture": {0: 1.0}}, "whole orders p >= 1, got 0"),
        ({"mixture": {2.5: 1.0}}, "whole orders p >= 1, got 2.5"),
        ({"mixture": {3: -1.0}}, "c_p >= 0, got -1.0 for p = 3"),
        ({"mixture": {3: math.nan}}, "c_p >= 0, got nan"),
        ({"mixture": {9: 1.0}}, r"want n_spins\*\*p <= 2\*\*27 couplings, got 10\*\*9"),
        ({"n_spins": 0}, "n_spins: want a whole number >= 1, got 0"),
        ({"n_spins": 2.0}, "n_spins: want a whole number >= 1, got 2.0"),
        ({"field": torch.ones(9)}, r"field: .*\(10,\), got \(9,\)"),
        ({"field": math.inf}, "field: .*got inf"),
        ({"field": torch.full((10,), math.nan)}, "field: want a finite"),
        ({"field_std": -1.0}, "field_std: want a finite number >= 0, got -1.0"),
        ({"dtype": torch.float16}, "float32 or float64, got .*float16"),
    ],
)
def test_draw_pspin_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        draw_pspin(**{"mixture": {3: 1.0}, "n_spins": 10, "seed": 0} | change)


def test_mixture_at_refuses():
    with pytest.raises(TypeError, match="mixture: want a mapping"):
        mixture_at([1.0], 0.5)
    with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
        mixture_at({3: 1.0}, "0.5")
    with pytest.raises(ValueError, match="order: want a whole number >= 0, got -1"):
        mixture_at({3: 1.0}, 0.5, -1)


def test_pspin_refuses_parts_that_do_not_fit():
    field, pair, vector = torch.zeros(3), torch.eye(3), torch.arange(3.0)
    first_two = vector[:, None, None] * vector[:, None] * torch.ones(3)  # symmetric in these indices alone
    with pytest.raises(ValueError, match=r"couplings\[2\]: want \(3, 3\) torch.float32 on cpu, got \(3, 2\)"):
        PSpin({2: 1.0}, {2: pair[:, :2]}, field)
    with pytest.raises(ValueError, match=r"couplings\[2\]: want .*float32.*, got .*float64"):
        PSpin({2: 1.0}, {2: pair.double()}, field)
    with pytest.raises(ValueError, match=r"couplings\[2\]: want a symmetric tensor, indices 0 and 1 differ by 1"):
        PSpin({2: 1.0}, {2: pair + torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]])}, field)
    with pytest.raises(ValueError, match=r"couplings\[3\]: want a symmetric tensor, indices 1 and 2"):
        PSpin({3: 1.0}, {3: first_two}, field)
    with pytest.raises(ValueError, match="field: want"):
        PSpin({}, {}, torch.zeros(0))


def test_energy_refuses_other_spins():
    system = draw_pspin({3: 1.0}, 3, seed=0)
    for s in (torch.ones(4).double(), torch.ones(2, 3), torch.tensor(1.0).double()):
        for method in (system.energy, system.gradient, system.hessian):
            with pytest.raises(ValueError, match=r"s: want \(…, 3\), torch.float64, cpu, got"):
                method(s)
