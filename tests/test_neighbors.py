"""Nearest neighbors: those of float64 and no others, the kernel and the reference, scores, accuracy, every error."""

import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentlib import bench, neighbors
from latentlib.reference import neighbors as reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
ROUNDING = 2.0**-24  # float32, to nearest

needs_kernel = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="no GPU and no interpreter")
all_impls = pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=needs_kernel)])


def codes(n_samples: int, n_latent: int, generator: torch.Generator, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(n_samples, n_latent, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def clusters(n_samples: int, generator: torch.Generator) -> torch.Tensor:
    """Codes within 1e-4 of eight poles of radius 11, 24 latents: squares of distances are lost in float32 products."""
    pole = 11 * torch.eye(24)[torch.arange(n_samples) % 8]
    return (pole + 1e-4 * torch.randn(n_samples, 24, generator=generator)).to(DEVICE)


def brute(query, bank, k: int, exclude_self: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition: all differences in float64, sorted by (distance, index)."""
    distance = (query[:, None].double() - bank[None].double()).norm(dim=2)
    if exclude_self:
        distance.fill_diagonal_(math.inf)
    distance, index = distance.sort(dim=1, stable=True)
    return distance[:, :k], index[:, :k]


def assert_exact(query, bank, k, *, exclude_self=False, impl=None):
    found = neighbors.nearest_neighbors(query, bank, k, exclude_self=exclude_self, impl=impl)
    distance, index = brute(query, bank, k, exclude_self)
    assert torch.equal(found.index, index)
    # Sums of n squares in two orders, their root, and the last rounding to float32.
    roundoff = 2.0**-53 if query.dtype == torch.float64 else ROUNDING
    tolerance = roundoff + (query.shape[1] + 4) * 2.0**-53
    assert torch.allclose(found.distance.double(), distance, rtol=tolerance, atol=0)
    return found


# The neighbors


@all_impls
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (63, 33, 5, 32), (70, 300, 129, 3), (5, 2100, 2, 32)])
def test_nearest_neighbors_equal_float64(shape, impl, generator):
    n_queries, n_bank, n_latent, k = shape
    query, bank = codes(n_queries, n_latent, generator), 0.5 + codes(n_bank, n_latent, generator)
    found = assert_exact(query, bank, k, impl=impl)
    assert found.distance.dtype == torch.float32 and found.index.dtype == torch.int64
    assert (found.distance.diff(dim=1) >= 0).all()


@pytest.mark.parametrize(("k", "exclude_self"), [(1, False), (3, True), (40, True), (199, True), (200, False)])
def test_nearest_neighbors_of_many_tiles_equal_float64(k, exclude_self, generator, monkeypatch):
    # Tiles of 32 queries and 64 points: 4 tiles of the bank, the last of 8 points, padded to a group.
    monkeypatch.setattr(reference, "ROWS_CPU", 32)
    monkeypatch.setattr(reference, "COLUMNS", 64)
    monkeypatch.setattr(reference, "GROUP", 4)
    z = codes(200, 7, generator).cpu()
    assert_exact(z, z, k, exclude_self=exclude_self, impl="reference")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nearest_neighbors_take_every_precision(dtype, generator):
    query, bank = codes(40, 9, generator, dtype), codes(90, 9, generator, dtype)
    found = assert_exact(query, bank, 4)
    assert found.distance.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@all_impls
@settings(max_examples=15, deadline=None)
@given(
    n_bank=st.integers(2, 150), n_latent=st.integers(1, 4), k=st.integers(1, 32), n_values=st.integers(1, 4),
    exclude_self=st.booleans(), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_nearest_neighbors_break_ties_by_index(impl, n_bank, n_latent, k, n_values, exclude_self, seed):
    # Points of a small lattice: many coincide, far more lie at equal distances, n_values = 1 makes all of them one.
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randint(n_values, (n_bank, n_latent), generator=generator).float().to(DEVICE)
    query = bank if exclude_self else bank[: n_bank // 2 + 1] + 1
    assert_exact(query, bank, min(k, n_bank - exclude_self), exclude_self=exclude_self, impl=impl)


@all_impls
def test_nearest_neighbors_of_a_collapsed_bank_are_its_first(impl, generator):
    # All codes one, with coordinates that float32 sums must round: 200 ties past every spare candidate.
    bank = codes(1, 6, generator).expand(200, 6)
    found = neighbors.nearest_neighbors(bank[:9], bank, 5, exclude_self=False, impl=impl)
    assert (found.index == torch.arange(5, device=DEVICE)).all() and (found.distance == 0).all()
    others = neighbors.nearest_neighbors(bank, bank, 2, exclude_self=True, impl=impl).index.tolist()
    assert others == [[1, 2], [0, 2]] + 198 * [[0, 1]]


@all_impls
def test_nearest_neighbors_do_not_see_the_rounding_of_products(impl, generator):
    z = clusters(150, generator)
    square = z.square().sum(1)
    products = square[:, None] + square - 2 * z @ z.T
    by_products = products.fill_diagonal_(math.inf).topk(3, largest=False).indices
    assert (by_products != brute(z, z, 3, True)[1]).any(1).float().mean() > 0.5  # float32 products do not know them
    assert_exact(z, z, 3, exclude_self=True, impl=impl)


@pytest.mark.parametrize("n_bank", [9, 10, 11, 13])
def test_nearest_neighbors_among_few_more_points_than_candidates(n_bank, generator):
    # One cluster, and one point across the origin that moves the centre: at k = 1 and 9 candidates from products.
    query, bank = clusters(8 * 40, generator)[::8], clusters(8 * n_bank, generator)[::8]
    bank[3] *= -1
    assert_exact(query, bank, 1, impl="reference")


def test_nearest_neighbors_search_again_only_where_they_must(generator, monkeypatch):
    searches = []

    def recorded(function, name):
        def call(query, *args):
            searches.append((name, len(query)))
            return function(query, *args)

        return call

    single = recorded(reference.smallest_scores, "single")
    monkeypatch.setattr(reference, "smallest_scores", single)
    monkeypatch.setattr(neighbors, "smallest_scores", recorded(neighbors.smallest_scores, "double"))
    monkeypatch.setattr(neighbors, "smallest_distances", recorded(neighbors.smallest_distances, "all"))
    plain = codes(500, 32, generator)
    neighbors.nearest_neighbors(plain[:50], plain, 3, impl="reference")
    assert searches == [("single", 50)]
    searches.clear()
    neighbors.nearest_neighbors(clusters(150, generator), clusters(150, generator), 3, impl="reference")
    assert [name for name, _ in searches] == ["single", "double"] and searches[1][1] > 75
    searches.clear()
    # 100 copies of one point: more ties than both searches have spare places, for the queries nearest to it alone.
    bank = torch.cat([plain[:1].expand(100, -1), plain[1:]])
    assert_exact(plain[:50], bank, 3, impl="reference")
    assert [name for name, _ in searches] == ["single", "double", "all"] and 1 <= searches[2][1] == searches[1][1] < 50


def test_nearest_neighbors_notice_products_of_less_precision(generator, monkeypatch):
    # Scores of points cut to halves: as from products in TF32 or bfloat16, but worse, to lose neighbors among so few.
    exact = reference.smallest_scores
    cut = lambda q, b, *rest: exact((2 * q).round() / 2, (2 * b).round() / 2, *rest)  # noqa: E731
    query, bank = codes(60, 4, generator), codes(3000, 4, generator)
    candidates = cut(query, bank, bank.double().mean(0), 4.0, None, 1 + neighbors.SPARE, torch.float32)[1]
    assert not (candidates == brute(query, bank, 1)[1]).any(1).all()
    monkeypatch.setattr(reference, "smallest_scores", cut)
    assert_exact(query, bank, 1, impl="reference")


@all_impls
@pytest.mark.parametrize(("dtype", "exponent"), [(torch.float32, 100), (torch.float32, -120), (torch.float64, 900)])
def test_nearest_neighbors_scale_with_the_codes(dtype, exponent, impl, generator):
    query, bank = codes(30, 5, generator, dtype), codes(80, 5, generator, dtype)
    factor = 2.0**exponent
    before, after = (neighbors.nearest_neighbors(c * query, c * bank, 3, impl=impl) for c in (1.0, factor))
    assert torch.equal(before.index, after.index)
    assert torch.equal(before.distance * factor, after.distance)


@settings(max_examples=15, deadline=None)
@given(n_latent=st.integers(1, 10), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 2**31))
def test_nearest_neighbors_are_unchanged_by_rotation_and_shift(n_latent, shift, seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(60, n_latent, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(n_latent, n_latent, generator=generator, dtype=torch.float64))[0]
    before = neighbors.nearest_neighbors(z[:20], z[20:], 4)
    after = neighbors.nearest_neighbors(z[:20] @ rotation + shift, z[20:] @ rotation + shift, 4)
    # A coordinate is known to 2⁻⁵³ of |z| + |shift|, and so is a distance, √n times over, for both of its ends.
    tolerance = 2.0**-50 * n_latent * (z.abs().max().item() * n_latent + abs(shift))
    assert torch.allclose(before.distance, after.distance, rtol=0, atol=tolerance)


def test_nearest_neighbors_carry_no_gradient(generator):
    z = codes(20, 3, generator).requires_grad_()
    found = neighbors.nearest_neighbors(z, z, 2, exclude_self=True)
    assert not found.distance.requires_grad
    distance = (z[:, None] - z[found.index]).norm(dim=2)  # as the docstring says
    assert torch.allclose(distance, found.distance, rtol=8 * ROUNDING, atol=0) and distance.requires_grad


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nearest_neighbors_never_hold_all_pairs():
    # 2 000 × 60 000 float32 distances are 480 MB; panel, tiles, queries and inputs under 40, half as much for malloc.
    assert float(bench._peak_mb(bench.Case("large", "neighbors", (2_000, 60_000, 8)), "reference")) < 60


# The kernel's own laws


def scores_of(module, query, bank, n_best, own=None):
    centre = bank.double().mean(0)
    score, index = module.smallest_scores(query, bank, centre, 4.0, own, n_best, torch.float32)
    score, order = score.sort(1)
    return score, index.gather(1, order)


@needs_kernel
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (63, 33, 9, 20), (65, 2100, 17, 40)])
def test_smallest_scores_kernel_reads_and_leaves_no_poison(shape, generator, monkeypatch):
    from latentlib.kernels import neighbors as kernel

    n_queries, n_bank, n_latent, n_best = shape
    query, bank = codes(n_queries, n_latent, generator), codes(n_bank, n_latent, generator)
    expected = scores_of(kernel, query, bank, n_best)

    def poisoned(points: torch.Tensor) -> torch.Tensor:
        """NaN right behind the last row: an unmasked load would carry it into a product."""
        memory = torch.full((points.numel() + 64 * n_latent + 64,), math.nan, device=DEVICE)
        memory[: points.numel()] = points.flatten()
        return memory[: points.numel()].view(points.shape)

    # The launcher's own copies get poison behind them, its outputs start as garbage.
    contiguous, empty = torch.Tensor.contiguous, torch.empty
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda z: poisoned(contiguous(z)))
    garbage = lambda size, dtype, device: empty(size, dtype=dtype, device=device).fill_(-(2**40))  # noqa: E731
    monkeypatch.setattr(torch, "empty", garbage)
    found = scores_of(kernel, query, bank, n_best)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert (found[1] >= 0).all() and (found[1] < n_bank).all() and found[0].isfinite().all()


@needs_kernel
def test_smallest_scores_kernel_error_is_within_twice_torch(generator):
    from latentlib.kernels import neighbors as kernel

    query, bank = codes(65, 129, generator), codes(1500, 129, generator)
    centred = [(z.double() - bank.double().mean(0)) / 4 for z in (query, bank)]
    exact = centred[1].square().sum(1) / 2 - centred[0] @ centred[1].T
    errors = []
    for module in (kernel, reference):
        score, index = scores_of(module, query, bank, 11)
        errors.append((score - exact.gather(1, index)).abs().max().item())
    assert 0 < errors[0] <= 2 * errors[1]


@needs_kernel
def test_smallest_scores_kernel_skips_the_query_itself(generator):
    from latentlib.kernels import neighbors as kernel

    z = codes(130, 4, generator)
    own = torch.arange(130, device=DEVICE).flip(0)  # any point can be a query's own
    found = [scores_of(module, z.flip(0), z, 40, own) for module in (kernel, reference)]
    assert not any((index == own[:, None]).any() for _, index in found)
    # Scores of 4 products under 2 in all: n + 4 roundings each in either.
    assert torch.allclose(found[0][0], found[1][0], rtol=0, atol=2 * 2 * 8 * ROUNDING)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latentlib.kernels import neighbors as kernel
for exclude, slots in ((True, 64), (False, 16)):
    types = ["*fp32", "*fp32", "*fp32", "*i64", "*fp32", "*i64", "i32", "i32", "i32", "i32"]
    constants = dict(EXCLUDE=exclude, SLOTS=slots, BLOCK=kernel.SEARCH_BLOCK, BLOCK_LATENT=kernel.SEARCH_LATENT)
    signature = dict(zip(kernel._smallest_scores.arg_names, types)) | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel._smallest_scores, signature=signature, constexprs=constants)
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert "fma.rn.f32" in ptx and "tf32" not in ptx
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its compiler on Linux alone")
def test_smallest_scores_kernel_compiles_in_full_float32_without_a_gpu():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The score


def test_knn_score_is_each_source_s_definition(generator):
    query, bank = codes(30, 6, generator), codes(80, 6, generator)
    unit_query, unit_bank = (z.double() / z.double().norm(dim=1, keepdim=True) for z in (query, bank))
    distance = torch.cdist(query.double(), bank.double()).sort().values
    unit = torch.cdist(unit_query, unit_bank).sort().values
    for options, expected in (
        (dict(k=50, normalize=True, squared=True), unit[:, 49].square()),  # OpenOOD
        (dict(k=1), distance[:, 0]),  # pytorch-ood
        (dict(k=3, reduce="mean"), distance[:, :3].mean(1)),  # the conditional compressed VAE
        (dict(k=5, reduce="mean", squared=True), distance[:, :5].square().mean(1)),
    ):
        score = neighbors.knn_score(query, bank, **options).double()
        # Unit rows are rounded to float32, by ROUNDING a coordinate: each end moves a distance by up to ROUNDING of 1.
        atol = 8 * ROUNDING if options.get("normalize") else 0
        assert torch.allclose(score, expected, rtol=8 * ROUNDING, atol=atol)


def test_knn_score_of_normalized_rows_does_not_see_their_length(generator):
    query, bank = codes(30, 6, generator), codes(80, 6, generator)
    scale = torch.ldexp(torch.ones(80), torch.arange(80) % 21 - 10)[:, None].to(DEVICE)
    scores = [neighbors.knn_score(query, points, k=4, normalize=True) for points in (bank, scale * bank)]
    assert torch.equal(*scores)
    assert not torch.equal(*(neighbors.knn_score(query, points, k=4) for points in (bank, scale * bank)))


def test_knn_score_without_itself_is_positive(generator):
    z = codes(50, 3, generator)
    assert (neighbors.knn_score(z, z, k=1) == 0).all()
    alone = neighbors.knn_score(z, z, k=1, exclude_self=True)
    assert (alone > 0).all() and torch.equal(alone, neighbors.knn_score(z, z, k=2))


# The accuracy


def test_knn_accuracy_counts_votes_and_breaks_ties_by_the_nearest():
    bank = torch.tensor([[1.0], [2], [3], [4], [5]])
    bank_labels = torch.tensor([7, 3, 3, 7, 5])
    z = torch.zeros(1, 1)
    # 7; 7, 3: a tie, the nearest is 7; 7, 3, 3; a tie again, then 7, 3, 3, 7, 5 likewise.
    for k, label in ((1, 7), (2, 7), (3, 3), (4, 7), (5, 7)):
        for asked in (3, 5, 7):
            accuracy = neighbors.knn_accuracy(z, torch.tensor([asked]), bank, bank_labels, k)
            assert accuracy == (1.0 if asked == label else 0.0), (k, asked)


def test_knn_accuracy_is_chance_for_labels_without_meaning_and_one_for_islands(generator):
    n_classes, n_queries = 4, 2000
    z, bank = codes(n_queries, 3, generator), codes(500, 3, generator)
    labels, bank_labels = (torch.randint(n_classes, (n,), generator=generator).to(DEVICE) for n in (n_queries, 500))
    accuracy = neighbors.knn_accuracy(z, labels, bank, bank_labels, 5)
    # The labels asked for are independent of all else: hits are binomial. Four standard errors.
    assert abs(accuracy - 1 / n_classes) <= 4 * (3 / 16 / n_queries) ** 0.5
    islands, bank_islands = z + 50 * labels[:, None], bank + 50 * bank_labels[:, None]
    assert neighbors.knn_accuracy(islands, labels, bank_islands, bank_labels, 5) == 1
    assert neighbors.knn_accuracy(islands, labels, islands, labels, 5, exclude_self=True) == 1


def test_knn_accuracy_leaves_the_point_itself_out():
    z = torch.arange(6.0)[:, None]
    labels = torch.arange(6) % 2  # every nearest other point is of the other class
    assert neighbors.knn_accuracy(z, labels, z, labels, 1) == 1
    assert neighbors.knn_accuracy(z, labels, z, labels, 1, exclude_self=True) == 0


# Bad input

GOOD = torch.ones(6, 3)
LABELS = torch.arange(6) % 2


def spoiled(value: float) -> torch.Tensor:
    z = torch.ones(6, 3)
    z[4, 1] = value
    return z


CALLS = {
    "nearest_neighbors": lambda query, bank, k=1, **options: neighbors.nearest_neighbors(query, bank, k, **options),
    "knn_score": lambda query, bank, k=1, **options: neighbors.knn_score(query, bank, k=k, **options),
    "knn_accuracy": lambda z, bank, k=1, **options: neighbors.knn_accuracy(z, LABELS, bank, LABELS, k, **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_neighbors_functions_refuse_bad_codes(name):
    call = CALLS[name]
    for bad, message in (
        (GOOD[:0], r"bank: want \(n_samples >= 1.*got \(0, 3\)"),
        (GOOD[0], r"bank: want \(n_samples >= 1.*got \(3,\)"),
        (GOOD[:, :2], "want one n_latent, got 3 and 2"),
        (GOOD.double(), "want one dtype, got torch.float32 and torch.float64"),
        (GOOD.long(), "bank: want a floating-point tensor, got torch.int64"),
        (GOOD.to("meta"), "want one device, got cpu and meta"),
        (spoiled(math.nan), "bank: want finite values, got nan in row 4, latent 1"),
        (spoiled(math.inf), "bank: want finite values, got inf in row 4, latent 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call(GOOD, bad)
    with pytest.raises(ValueError, match="want finite values, got nan in row 4, latent 1"):
        call(spoiled(math.nan), GOOD)


@pytest.mark.parametrize("name", CALLS)
def test_neighbors_functions_refuse_a_bad_k(name):
    call = CALLS[name]
    for k in (0, -1, 7):
        with pytest.raises(ValueError, match=f"k: want 1 to 6 neighbors of 6 points, got {k}"):
            call(GOOD, GOOD, k)
    with pytest.raises(ValueError, match="k: want 1 to 5 neighbors of 6 points, each query without itself, got 6"):
        call(GOOD, GOOD, 6, exclude_self=True)
    for k in (2.0, True, "3"):
        with pytest.raises(TypeError, match="k: want an integer, got "):
            call(GOOD, GOOD, k)
    with pytest.raises(ValueError, match="impl: want None, 'reference' or 'triton', got 'cuda'"):
        call(GOOD, GOOD, impl="cuda")


def test_nearest_neighbors_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="exclude_self: want the bank to be the queries, got 5 queries and 6 points"):
        neighbors.nearest_neighbors(GOOD[:5], GOOD, 1, exclude_self=True)
    with pytest.raises(ValueError, match="impl='triton' for neighbors: want k <= 32, got 33"):
        neighbors.nearest_neighbors(GOOD, GOOD.repeat(9, 1), 33, impl="triton")
    with pytest.raises(ValueError, match=r"within 2\*\*1000 of the centre of the bank, got 1e\+305"):
        neighbors.nearest_neighbors(torch.full((2, 1), 1e305, dtype=torch.float64), torch.zeros(2, 1).double(), 1)
    assert neighbors.nearest_neighbors(GOOD, GOOD.repeat(9, 1), 33).index.shape == (6, 33)


def test_knn_score_refuses_an_unknown_reduction_and_a_row_without_direction():
    with pytest.raises(ValueError, match="reduce: want 'kth' or 'mean', got 'median'"):
        neighbors.knn_score(GOOD, GOOD, k=1, reduce="median")
    with pytest.raises(ValueError, match="bank: want rows of positive finite norm, got norm 0 in row 0"):
        neighbors.knn_score(GOOD, 0 * GOOD, k=1, normalize=True)


def test_knn_accuracy_refuses_bad_labels():
    for bad, message in (
        (LABELS.double(), "labels: want a tensor of whole numbers, got torch.float64"),
        (LABELS[:5], r"labels: want one a point, \(6,\), got \(5,\)"),
        ([0, 1], "labels: want a tensor of whole numbers, got list"),
    ):
        for labels, bank_labels in ((bad, LABELS), (LABELS, bad)):
            with pytest.raises(ValueError, match=message):
                neighbors.knn_accuracy(GOOD, labels, GOOD, bank_labels, 1)
