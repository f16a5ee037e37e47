"""Overlaps: exact counts, unbiased moments, the kernel against the reference, and every error."""

import math
import os
import subprocess
import sys
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentlib import overlap, sphere, ultrametric
from latentlib._codes import unit_rows
from latentlib.reference import overlap as reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
ROUNDING = 2.0**-24  # float32, to nearest
LATENT_VAR = torch.tensor([4, 2, 1, 0.5, 0.25, 0.1], dtype=torch.float64)  # the worked spectrum

needs_kernel = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="no GPU and no interpreter")
all_impls = pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=needs_kernel)])


def codes(n_samples: int, n_latent: int, generator: torch.Generator, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(n_samples, n_latent, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def sine_rows() -> torch.Tensor:
    """x_i = (sin(ik + i/2)) for k = 1..3, i = 1..6: the rows of the exact tests."""
    i = torch.arange(1, 7, dtype=torch.float64)[:, None]
    return torch.sin(i * torch.arange(1, 4) + i / 2)


def spectrum_codes(variance: torch.Tensor, n_samples: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n_samples, len(variance), generator=generator, dtype=torch.float64) * variance.sqrt()


def exact_positions(z: torch.Tensor, n_bins: int, z_other: torch.Tensor | None = None) -> torch.Tensor:
    """(q + 1)·n_bins/2 of every pair in float64, from the float32 rows of norm one that both implementations see."""
    unit = unit_rows("z", z).double()
    q = unit @ (unit if z_other is None else unit_rows("z", z_other).double()).T
    pairs = q.flatten() if z_other is not None else q[torch.ones_like(q, dtype=torch.bool).triu(1)]
    return (pairs + 1) * n_bins / 2


def n_ambiguous(positions: torch.Tensor, n_bins: int, n_latent: int) -> int:
    """Pairs that float32 may put on either side of an edge.

    A sum of n products in any order is wrong by at most n·u·Σ|a_k b_k| ≤ n·u, q + 1 ≤ 2 rounds by u, the product with
    n_bins/2 by u·(q + 1)·n_bins/2 ≤ u·n_bins; second order in u and the norms' own rounding: one u more.
    """
    reach = (n_latent + 4) * ROUNDING * n_bins / 2
    return int(((positions - positions.round()).abs() <= reach).sum())


def moved(count: torch.Tensor, other: torch.Tensor) -> int:
    return int((count.cpu() - other.cpu()).abs().sum()) // 2


# The overlap


def test_overlap_is_the_cosine(generator):
    z_a = torch.tensor([[1.0, 0, 0], [2, 0, 0], [1, 2, 2]])
    z_b = torch.tensor([[3.0, 3, 0], [-5, 0, 0], [2, -2, 1]])
    assert torch.allclose(overlap.overlap(z_a, z_b), torch.tensor([0.5**0.5, -1, 0]), rtol=0, atol=ROUNDING)
    z = codes(9, 5, generator, torch.float16)
    assert overlap.overlap(z, 4 * z).dtype == torch.float16
    assert torch.equal(overlap.overlap(z, 4 * z), torch.ones_like(z[:, 0]))


# The histogram


@all_impls
@pytest.mark.parametrize("shape", [(2, 1), (63, 33), (257, 129), (1000, 129)])
def test_overlap_histogram_equals_float64_up_to_edges(shape, impl, generator):
    z = codes(*shape, generator)
    count = overlap.overlap_histogram(z, n_bins=50, impl=impl).count
    positions = exact_positions(z, 50)
    exact = torch.bincount(positions.clamp(0, 49).long(), minlength=50)
    assert count.sum() == math.comb(shape[0], 2)
    assert moved(count, exact) <= n_ambiguous(positions, 50, shape[1])


@all_impls
@pytest.mark.parametrize("n_bins", [1, 7, 32, 1500])
def test_overlap_histogram_of_two_sets_counts_all_pairs(n_bins, impl, generator):
    z, z_other = codes(130, 20, generator), codes(65, 20, generator)
    count = overlap.overlap_histogram(z, n_bins=n_bins, z_other=z_other, impl=impl).count
    positions = exact_positions(z, n_bins, z_other)
    exact = torch.bincount(positions.clamp(0, n_bins - 1).long(), minlength=n_bins)
    assert count.sum() == 130 * 65
    assert moved(count, exact) <= n_ambiguous(positions, n_bins, 20)


@all_impls
@settings(max_examples=25, deadline=None)
@given(
    n_samples=st.integers(2, 140), n_latent=st.integers(1, 20), n_bins=st.integers(1, 70),
    n_copies=st.integers(0, 5), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_overlap_histogram_counts_every_pair_once(impl, n_samples, n_latent, n_bins, n_copies, seed):
    z = codes(n_samples, n_latent, torch.Generator().manual_seed(seed))
    z = torch.cat([z, 3 * z[:1].expand(n_copies, -1)])
    histogram = overlap.overlap_histogram(z, n_bins=n_bins, impl=impl)
    assert histogram.n_pairs == math.comb(n_samples + n_copies, 2) and histogram.count.dtype == torch.int64
    assert (histogram.count >= 0).all() and histogram.count[-1] >= math.comb(n_copies + 1, 2)


@all_impls
def test_overlap_histogram_puts_the_ends_and_edges_where_they_belong(impl):
    # Axes and their opposites: q is exactly −1, 0 or 1. A bin holds its lower edge, the last bin both.
    z = torch.cat([torch.eye(3), -torch.eye(3), torch.eye(3)[:1]]).to(DEVICE)
    count = overlap.overlap_histogram(z, n_bins=4, impl=impl).count
    assert count.tolist() == [4, 0, 16, 1]  # −1: (e_k, −e_k) and the copy's; 1: the copy's; 0: the rest of 21
    assert overlap.overlap_histogram(z[:1], n_bins=4, z_other=z[:1], impl=impl).count.tolist() == [0, 0, 0, 1]


@all_impls
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_overlap_histogram_keeps_duplicates_in_the_last_bin(dtype, impl, generator):
    z = codes(1, 37, generator, dtype).expand(80, -1)  # rounding puts many of these q above 1
    count = overlap.overlap_histogram(z, n_bins=11, impl=impl).count
    assert count[-1] == math.comb(80, 2) == count.sum()
    if impl == "reference":
        assert torch.equal(overlap.overlap_histogram(z.double(), n_bins=11, impl=impl).count, count)


@all_impls
def test_overlap_histogram_is_unchanged_by_powers_of_two(impl, generator):
    z = codes(100, 24, generator)
    scale = torch.ldexp(torch.ones(100), torch.arange(100) % 41 - 20)[:, None].to(DEVICE)
    counts = [overlap.overlap_histogram(x, n_bins=1000, impl=impl).count for x in (z, z * scale)]
    assert torch.equal(*counts)


@all_impls
def test_overlap_histogram_is_unchanged_by_permutation(impl, generator):
    z = codes(200, 24, generator)
    shuffled = z[torch.randperm(200, generator=generator).to(DEVICE)]
    counts = [overlap.overlap_histogram(x, n_bins=100, impl=impl).count for x in (z, shuffled)]
    assert moved(*counts) <= n_ambiguous(exact_positions(z, 100), 100, 24)


def test_overlap_histogram_of_the_uniform_sphere_follows_the_null(generator):
    n_samples, n_latent = 3000, 16
    histogram = overlap.overlap_histogram(codes(n_samples, n_latent, generator), n_bins=40)
    expected = sphere.uniform_sphere_probability(histogram.edges, n_latent) * histogram.n_pairs
    # On the uniform sphere overlaps are independent pair by pair, so a count is binomial in its variance. A Poisson
    # bound of 5 √mean + 5 holds in each of the 40 bins with odds above 10⁴ to 1.
    assert ((histogram.count - expected).abs() <= 5 * expected.sqrt() + 5).all()
    width = histogram.edges.diff()
    assert (histogram.density * width).sum().item() == pytest.approx(1, abs=1e-14)
    assert histogram.centres[0].item() == pytest.approx(-1 + 1 / 40, abs=1e-15)


def test_overlap_histogram_reads_float64_in_float64():
    # The last of 2²⁰ bins begins at 1 − 2⁻¹⁹; 2⁻³⁰ to either side is nothing to float32, whose step there is 2⁻²⁴.
    for offset, expected in ((2.0**-30, 1), (-(2.0**-30), 0)):
        q = 1 - 2.0**-19 + offset
        z = torch.tensor([[1.0, 0.0], [q, math.sqrt(1 - q * q)]], dtype=torch.float64)
        assert overlap.overlap_histogram(z, n_bins=2**20).count[-1] == expected


# The kernel's own laws


@needs_kernel
@pytest.mark.parametrize("shape", [(1, 1), (63, 33), (130, 9)])
def test_overlap_histogram_kernel_reads_and_leaves_no_poison(shape, generator, monkeypatch):
    from latentlib.kernels import overlap as kernel

    n_samples, n_latent = shape
    unit = unit_rows("z", codes(n_samples, n_latent, generator))
    # NaN right behind the last row: an unmasked load would carry it into q. The output starts as garbage.
    memory = torch.full((unit.numel() + 64 * n_latent + 64,), math.nan, device=DEVICE)
    memory[: unit.numel()] = unit.flatten()
    poisoned = memory[: unit.numel()].view(shape)
    monkeypatch.setattr(torch, "empty", lambda *size, **kwargs: torch.full(*size, -(2**40), **kwargs))
    for other in (None, poisoned):
        count = kernel.overlap_histogram(poisoned, other, 40)
        assert torch.equal(count, kernel.overlap_histogram(unit, None if other is None else unit, 40))
        assert count.sum() == (math.comb(n_samples, 2) if other is None else n_samples**2)


@needs_kernel
def test_overlap_histogram_kernel_error_is_within_twice_torch(generator, monkeypatch):
    from latentlib.kernels import overlap as kernel

    n_bins = 2**20  # so fine that rounding of q moves pairs: how many is the error
    if INTERPRETED:
        monkeypatch.setattr(kernel, "BINS_MAX", n_bins)  # one window, not 1024 passes
    z = codes(130, 129, generator)
    exact = overlap.overlap_histogram(z.double(), n_bins=n_bins).count
    found = [overlap.overlap_histogram(z, n_bins=n_bins, impl=impl).count for impl in ("triton", "reference")]
    error, budget = (moved(count, exact) for count in found)
    assert 0 < error <= 2 * budget


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latentlib.kernels import overlap as kernel
for symmetric, n_tiles in ((True, "i32"), (False, "i32"), (True, "i64")):
    types = ["*fp32", "*fp32", "*i64", "i32", "i32", "i32", n_tiles, "i32", "fp32"]
    constants = dict(SYMMETRIC=symmetric, BINS=256, BLOCK=kernel.BLOCK, BLOCK_LATENT=kernel.BLOCK_LATENT)
    signature = dict(zip(kernel._count_pairs.arg_names, types)) | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel._count_pairs, signature=signature, constexprs=constants)
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert "fma.rn.f32" in ptx and "tf32" not in ptx
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its compiler on Linux alone")
def test_overlap_histogram_kernel_compiles_in_full_float32_without_a_gpu():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The moments


def test_overlap_moments_unit_rows_exact():
    found = overlap.overlap_moments(sine_rows())
    printed = (-0.1408504669, 0.2697003796, 0.0361059905, 0.7007831673)
    assert (found.q_mean, found.q_square, found.q_mean_square, found.chi) == pytest.approx(printed, abs=1e-10)
    errors = found.q_mean_se, found.q_square_se, found.chi_se
    assert errors == pytest.approx((0.1379577, 0.1196733, 0.1034333), abs=1e-7)
    assert (found.n_samples, found.n_latent, found.chi) == (6, 3, 3 * found.q_var)


def test_distinct_means_raw_rows_exact():
    x = sine_rows()
    means = reference.distinct_means(reference.pair_sums(x, torch.ones(6, dtype=torch.float64), by_pairs=False))
    found = (
        means.pair, means.square, means.quadruple, means.square - means.quadruple,
        means.square - 2 * means.triple + means.quadruple,
    )  # fmt: skip
    assert found == pytest.approx((-0.2654913001, 0.7024747881, 0.0845107750, 0.6179640131, 0.8250493086), abs=1e-10)


def brute_means(x: torch.Tensor) -> list[float]:
    """Every average of DistinctMeans, from its definition over distinct points."""
    q, r = (x @ x.T).tolist(), x.square().sum(1).tolist()
    points = range(len(x))
    products = [
        [q[i][j] for i, j in permutations(points, 2)],
        [q[i][j] ** 2 for i, j in permutations(points, 2)],
        [q[i][j] * q[j][k] for i, j, k in permutations(points, 3)],
        [q[i][j] * q[k][m] for i, j, k, m in permutations(points, 4)],
        r,
        [r[i] * r[j] for i, j in permutations(points, 2)],
        [r[i] * q[j][k] for i, j, k in permutations(points, 3)],
    ]
    return [math.fsum(values) / len(values) for values in products]


@pytest.mark.parametrize("by_pairs", [False, True])
def test_distinct_means_equal_the_brute_averages(by_pairs):
    x = sine_rows()
    sums = reference.pair_sums(x, torch.ones(6, dtype=torch.float64), by_pairs)
    assert [mean.item() for mean in reference.distinct_means(sums)] == pytest.approx(brute_means(x), abs=1e-14)
    without = torch.stack(reference.distinct_means(sums, jackknife=True), 1).tolist()
    for i in range(6):
        assert without[i] == pytest.approx(brute_means(torch.cat([x[:i], x[i + 1 :]])), abs=1e-14)


def test_overlap_moments_agree_with_all_pairs(generator):
    n_samples, n_latent = 2000, 24
    z = codes(n_samples, n_latent, generator).cpu() + 0.3
    unit = z.double() / z.double().norm(dim=1, keepdim=True)
    q = (unit @ unit.T).fill_diagonal_(0)
    row, total = q.sum(1), q.sum().item() / 2
    # Pairs of pairs without a common point: Σ_{i<j} q_ij (total − rows i and j + q_ij), N(N−1)(N−2)(N−3)/4 of them.
    disjoint = (q * (total - row[:, None] - row + q)).sum().item() / 2
    mean, square = total / math.comb(n_samples, 2), q.square().sum().item() / math.perm(n_samples, 2)
    chi = n_latent * (square - disjoint / (math.perm(n_samples, 4) / 4))
    for by_pairs in (False, True):
        found = overlap.overlap_moments(z, by_pairs=by_pairs)
        assert found.q_mean == pytest.approx(mean, rel=1e-6)
        assert found.chi == pytest.approx(chi, rel=1e-6)
    assert overlap.susceptibility(z) == pytest.approx(chi, rel=1e-6)


def test_overlap_moments_take_the_pairs_where_there_are_more_latents(generator):
    z = codes(12, 40, generator).cpu()
    wide, by_pairs = overlap.overlap_moments(z), overlap.overlap_moments(z, by_pairs=True)
    assert wide == by_pairs
    norm = z.double().norm(dim=1)
    slow = reference.distinct_means(reference.pair_sums(z, norm, by_pairs=False))
    assert wide.q_var == pytest.approx((slow.square - slow.quadruple).item(), rel=1e-11)


def test_susceptibility_of_the_uniform_sphere_is_one(generator):
    for n_samples, n_latent in ((200, 3), (2000, 64), (1280, 128)):
        found = overlap.overlap_moments(codes(n_samples, n_latent, generator))
        assert abs(found.chi - 1) <= 3 * found.chi_se
        assert abs(found.q_mean) <= 3 * found.q_mean_se


def test_susceptibility_is_unbiased_where_the_plug_in_is_not(generator):
    n_samples, n_latent, n_repeats = 40, 16, 400
    unbiased, plug_in = [], []
    for _ in range(n_repeats):
        z = codes(n_samples, n_latent, generator, torch.float64).cpu()
        unbiased.append(overlap.susceptibility(z))
        s = z / z.norm(dim=1, keepdim=True)
        second, mean = s.T @ s / n_samples, s.mean(0)
        plug_in.append((n_latent * (second.square().sum() - mean.square().sum() ** 2)).item())
    unbiased, plug_in = torch.tensor(unbiased), torch.tensor(plug_in)
    assert abs(unbiased.mean() - 1) <= 4 * unbiased.std() / n_repeats**0.5
    # n·E‖C̄‖² = 1 + (n − 1)/N and n·E|s̄|⁴ = n(1 + 2(N − 1)/(nN))/N², both exact on the uniform sphere.
    fourth = n_latent * (1 + 2 * (n_samples - 1) / (n_latent * n_samples)) / n_samples**2
    expected = 1 + (n_latent - 1) / n_samples - fourth
    assert abs(plug_in.mean() - expected) <= 4 * plug_in.std() / n_repeats**0.5


def test_overlap_moments_error_is_the_spread_over_repeats(generator):
    n_repeats = 200
    found = [overlap.overlap_moments(codes(150, 8, generator).cpu() + 0.3) for _ in range(n_repeats)]
    for name in ("q_mean", "chi"):
        spread = torch.tensor([getattr(f, name) for f in found]).std().item()
        error = torch.tensor([getattr(f, f"{name}_se") for f in found]).square().mean().sqrt().item()
        # The sd of 200 draws is itself known to 1/√400 = 5 %; the jackknife is biased by O(1/150). Four of those.
        assert abs(error / spread - 1) <= 4 * (2 * n_repeats) ** -0.5
        pair_error = torch.tensor([f.q_var for f in found]).mean().sqrt().item() / math.comb(150, 2) ** 0.5
        if name == "q_mean":
            assert error > 3 * pair_error  # counting pairs as independent would promise far too much


@settings(max_examples=25, deadline=None)
@given(n_samples=st.integers(5, 60), n_latent=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_overlap_moments_are_unchanged_by_rotation_scale_and_order(n_samples, n_latent, seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n_samples, n_latent, generator=generator, dtype=torch.float64) + 0.5
    rotation = torch.linalg.qr(torch.randn(n_latent, n_latent, generator=generator, dtype=torch.float64))[0]
    scale = torch.rand(n_samples, 1, generator=generator, dtype=torch.float64) + 0.5
    changed = (z @ rotation * scale)[torch.randperm(n_samples, generator=generator)]
    before, after = vars(overlap.overlap_moments(z)), vars(overlap.overlap_moments(changed))
    # Sums of N⁴ products of rounded terms over (N)₄: 1e-12 is 10⁴ roundings.
    assert before == pytest.approx(after, abs=1e-12 * n_latent)


def test_overlap_moments_hold_past_int64(generator):
    # N(N−1)(N−2)(N−3) passes 2⁶³ at N = 55 111.
    found = overlap.overlap_moments(codes(60_000, 2, generator).cpu())
    assert abs(found.chi - 1) <= 4 * found.chi_se + 4 / 60_000


# The unnormalised overlap and the participation ratio


@pytest.mark.parametrize(
    ("temperature", "chi_normalised", "chi_raw", "ratio"),
    [
        (0.05, 1.025346, 1.039484, 5.772092), (0.3, 1.560350, 1.617391, 3.709677),
        (0.6, 2.067057, 2.165680, 2.770492), (1.2, 3.057962, 3.223140, 1.861538),
    ],
)  # fmt: skip
def test_raw_overlap_moments_worked_spectrum(temperature, chi_normalised, chi_raw, ratio, generator):
    m = (1 - temperature / LATENT_VAR).clamp(min=0)
    z = spectrum_codes(m, 20_000, generator)
    raw, unit = overlap.raw_overlap_moments(z), overlap.overlap_moments(z)
    assert abs(raw.chi - chi_raw) <= 4 * raw.chi_se
    assert abs(raw.participation_ratio - ratio) <= 4 * raw.participation_ratio_se
    assert abs(raw.r_mean) <= 4 * raw.r_mean_se
    assert abs(unit.chi - chi_normalised) <= 4 * unit.chi_se
    assert raw.chi == 6 * raw.r_var and max(raw.chi_se / raw.chi, unit.chi_se / unit.chi) < 0.02


def test_raw_overlap_moments_error_is_the_spread_over_repeats(generator):
    variance = torch.tensor([1, 0.5, 0.2], dtype=torch.float64)
    found = [overlap.raw_overlap_moments(spectrum_codes(variance, 200, generator) + 0.2) for _ in range(200)]
    for name in ("r_mean", "chi", "participation_ratio"):
        spread = torch.tensor([getattr(f, name) for f in found]).std().item()
        error = torch.tensor([getattr(f, f"{name}_se") for f in found]).square().mean().sqrt().item()
        assert abs(error / spread - 1) <= 4 * 400**-0.5  # as for the normalised overlap


def test_participation_ratio_does_not_see_the_mean_or_unused_latents(generator):
    z = spectrum_codes(LATENT_VAR, 300, generator)
    moved_codes = torch.cat([z + torch.arange(6), torch.zeros(300, 4, dtype=z.dtype)], 1)
    before, after = overlap.raw_overlap_moments(z), overlap.raw_overlap_moments(moved_codes)
    assert after.participation_ratio == pytest.approx(before.participation_ratio, rel=1e-9)
    assert after.participation_ratio_se == pytest.approx(before.participation_ratio_se, rel=1e-7)


def test_participation_ratio_of_identical_rows_is_nan():
    found = overlap.raw_overlap_moments(torch.ones(7, 3))
    assert math.isnan(found.participation_ratio) and math.isnan(found.participation_ratio_se)
    assert found.r_mean == pytest.approx(1, abs=1e-14) and found.chi == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("temperature", "chi"), [(2.5, 5.984), (3.9, 5.768), (3.99, 4.252), (3.999, 1.433), (3.9999, 1.008), (4.1, 1.0)]
)
def test_raw_overlap_moments_refuse_the_noise_floor(temperature, chi, generator):
    noise = 1e-4
    variance = (1 - temperature / LATENT_VAR).clamp(min=0) + noise
    z = spectrum_codes(variance, 20_000, generator)
    trapped = overlap.raw_overlap_moments(z)
    assert abs(trapped.chi - chi) <= 4 * trapped.chi_se + 5e-4  # printed to 3 decimals
    # Twice the noise's own ⟨|z|²⟩ = 6·10⁻⁴: the signal must at least equal it.
    for estimate in (overlap.raw_overlap_moments, overlap.overlap_moments, overlap.susceptibility):
        if chi < 4:
            with pytest.raises(ValueError, match="noise floor"):
                estimate(z, floor=12 * noise)
        else:
            estimate(z, floor=12 * noise)


# Within one input


@pytest.mark.parametrize(
    ("temperature", "q_mean", "chi"), [(0.05, 0.852083, 1.754714), (0.3, 0.479167, 1.371354), (2.5, 0.0625, 1.023438)]
)
def test_within_overlap_is_the_mean_signal_fraction(temperature, q_mean, chi, generator):
    m = (1 - temperature / LATENT_VAR).clamp(min=0)
    mu = spectrum_codes(m, 40_000, generator)
    z_a, z_b = (mu + spectrum_codes(1 - m, 40_000, generator) for _ in range(2))
    found = overlap.within_overlap(z_a, z_b)
    assert abs(found.q_mean - q_mean) <= 4 * found.q_mean_se
    assert abs(found.chi - chi) <= 4 * found.chi_se and found.chi_se < 0.03


def test_within_overlap_error_is_the_jackknife():
    z_a, z_b = sine_rows(), sine_rows().flip(1) + 0.2
    q = (z_a * z_b).sum(1) / 3
    found = overlap.within_overlap(z_a, z_b)
    assert (found.q_mean, found.chi) == pytest.approx((q.mean().item(), 3 * q.var().item()), rel=1e-13)
    assert found.q_mean_se == pytest.approx(q.std().item() / 6**0.5, rel=1e-13)
    without = torch.stack([3 * torch.cat([q[:i], q[i + 1 :]]).var() for i in range(6)])
    assert found.chi_se == pytest.approx((5 / 6 * (without - without.mean()).square().sum()).sqrt().item(), rel=1e-12)


# The null


# Bad input

GOOD = torch.ones(6, 3)


def spoiled(value: float) -> torch.Tensor:
    z = torch.ones(6, 3)
    z[4, 1] = value
    return z


ONE_SET = {
    "histogram": lambda z: overlap.overlap_histogram(z, n_bins=4),
    "moments": overlap.overlap_moments,
    "raw": overlap.raw_overlap_moments,
    "susceptibility": overlap.susceptibility,
}
TWO_SETS = {
    "overlap": overlap.overlap,
    "within": overlap.within_overlap,
    "histogram": lambda z_a, z_b: overlap.overlap_histogram(z_a, n_bins=4, z_other=z_b),
}
BAD_CODES = {
    "empty": (GOOD[:0], r"want \(n_samples >= .*got \(0, 3\)"),
    "no latent": (GOOD[:, :0], r"n_latent >= 1.*got \(6, 0\)"),
    "one axis": (GOOD[0], r"want \(n_samples >= .*got \(3,\)"),
    "three axes": (GOOD[None], r"got \(1, 6, 3\)"),
    "integers": (GOOD.long(), "want a floating-point tensor, got torch.int64"),
    "a list": ([[1.0, 2.0]], "want a floating-point tensor, got list"),
    "nan": (spoiled(math.nan), "want finite values, got nan in row 4, latent 1"),
    "infinity": (spoiled(-math.inf), "want finite values, got -inf in row 4, latent 1"),
}


@pytest.mark.parametrize("bad", BAD_CODES)
@pytest.mark.parametrize("name", [*ONE_SET, *(f"{name} of two" for name in TWO_SETS)])
def test_overlap_functions_refuse_bad_codes(name, bad):
    z, message = BAD_CODES[bad]
    with pytest.raises(ValueError, match=message):
        TWO_SETS[name[: -len(" of two")]](GOOD, z) if name.endswith(" of two") else ONE_SET[name](z)


@pytest.mark.parametrize("name", ONE_SET)
def test_overlap_functions_refuse_one_point_and_a_zero_row(name):
    with pytest.raises(ValueError, match=r"want \(n_samples >= [25], .*got \(1, 3\)"):
        ONE_SET[name](GOOD[:1])
    zero = GOOD.clone()
    zero[2] = 0
    with pytest.raises(ValueError, match="z: want rows of positive finite norm, got norm 0 in row 2"):
        ONE_SET[name](zero)


@pytest.mark.parametrize("name", TWO_SETS)
def test_overlap_functions_refuse_sets_that_do_not_fit(name):
    with pytest.raises(ValueError, match="want one dtype, got torch.float32 and torch.float64"):
        TWO_SETS[name](GOOD, GOOD.double())
    with pytest.raises(ValueError, match="want one device, got cpu and meta"):
        TWO_SETS[name](GOOD, GOOD.to("meta"))
    with pytest.raises(ValueError, match="want one n_latent, got 3 and 2"):
        TWO_SETS[name](GOOD, GOOD[:, :2])
    if name != "histogram":
        with pytest.raises(ValueError, match="want paired rows, got 6 and 5"):
            TWO_SETS[name](GOOD, GOOD[:5])


def test_overlap_refuses_a_zero_row():
    zero = GOOD.clone()
    zero[5] = 0
    with pytest.raises(ValueError, match="z_b: .* in row 5"):
        overlap.overlap(GOOD, zero)
    with pytest.raises(ValueError, match="z_other: .* in row 5"):
        overlap.overlap_histogram(GOOD, n_bins=3, z_other=zero)
    with pytest.raises(ValueError, match="norm inf in row 0"):
        overlap.overlap(torch.full((1, 2), 1e200, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))


def test_overlap_histogram_refuses():
    for n_bins in (0, -3, 2.5, 2**20 + 1):
        with pytest.raises(ValueError, match="n_bins: want an integer from 1 to 1048576"):
            overlap.overlap_histogram(GOOD, n_bins=n_bins)
    with pytest.raises(ValueError, match="want float32 or half precision codes, got torch.float64"):
        overlap.overlap_histogram(GOOD.double(), n_bins=3, impl="triton")
    with pytest.raises(ValueError, match="impl: want None, 'reference' or 'triton'"):
        overlap.overlap_histogram(GOOD, n_bins=3, impl="fast")


def test_overlap_moments_want_five_points_and_codes_above_the_floor():
    with pytest.raises(ValueError, match=r"want \(n_samples >= 5, .*got \(4, 3\)"):
        overlap.overlap_moments(GOOD[:4])
    with pytest.raises(ValueError, match=r"> 3, got ⟨\|z\|²⟩ = 3"):
        overlap.overlap_moments(GOOD, floor=3.0)


def test_overlap_has_ultrametricity_of_its_module():
    assert overlap.ultrametricity is ultrametric.ultrametricity and "ultrametricity" in overlap.__all__
