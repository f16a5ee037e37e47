"""Eigenvalues of the Gaussian orthogonal ensemble with weight e^{−tr M²/2} at finite size: densities, in logarithms.

Both functions give ln[ρ(x) + ρ(−x)] + x²/2 for x > 0: folded, and with the Gaussian of the weight taken out.
"""

import math

import numpy as np
from scipy.special import erfc, erfcx, gammaln

MAX_SIZE_LARGEST = 400  # e^{−x²/2} must not underflow where the density is computed
BEYOND = 9.0  # past √(2n) by so much, two eigenvalues at once have a probability of less than e^{−80}
CHUNK = 2**20  # matrix entries held at once


def goe_density(n: int, x: np.ndarray) -> np.ndarray:
    """ln 2ρ_n(x) + x²/2, x > 0, for the density of all n eigenvalues: ∫ρ_n = n over the line.

    ρ_n = Σ_{k<n} φ_k² + φ_{n−1}(C_n − √(n/2) R_n), R_n(x) = ∫_x^∞φ_n, C_n = ½√(n/2)∫φ_n (n even) or 1/∫φ_{n−1} (odd),
    with Hermite functions φ_k. All but C_n are e^{−x²/2} (e^{−x²} for the sum) times functions whose common logarithm
    is split off on the way, so that neither large n nor large x under- or overflows. Source: Mehta, Random Matrices.
    """
    one = np.full_like(x, math.pi**-0.25)
    # e^{x²/2} times φ_{k−1}, φ_k and R_{k−1}, R_k, and e^{x²}Σφ²: all over e^{log_scale}, but the sum over its square.
    before, now = np.zeros_like(x), one
    rest_before, rest = np.zeros_like(x), one * math.sqrt(math.pi / 2) * erfcx(x / math.sqrt(2))
    total, log_scale = np.zeros_like(x), np.zeros_like(x)
    for k in range(n):
        total = total + now**2
        rest_before, rest = rest, (math.sqrt(k) * rest_before + math.sqrt(2) * now) / math.sqrt(k + 1)
        before, now = now, (math.sqrt(2) * x * now - math.sqrt(k) * before) / math.sqrt(k + 1)
        size = np.sqrt(total)
        before, now, rest_before, rest = before / size, now / size, rest_before / size, rest / size
        total, log_scale = np.ones_like(x), log_scale + np.log(size)
    constant = math.sqrt(n / 8) * _integral(n) if n % 2 == 0 else 1 / _integral(n - 1)
    # Σφ² ≤ n bounds the exponential; beyond the edge it vanishes, and what is left has no Gaussian to round.
    regular = np.exp(log_scale - x**2 / 2) * (total - math.sqrt(n / 2) * before * rest)
    return math.log(2) + log_scale + np.log(regular + constant * before)


def goe_largest_density(n: int, x: np.ndarray) -> np.ndarray:
    """ln[f(x) + f(−x)] + x²/2, x > 0, for the density f of the largest of n eigenvalues, 2 ≤ n ≤ MAX_SIZE_LARGEST.

    F(x) = Pf M(x)/Pf M(∞) and f = F·φᵀM⁻¹I with M_jk = ∫∫_{s,t<x} φ_j(s) sgn(t−s) φ_k(t), φ_j(x), I_j = ∫_{−∞}^xφ_j,
    the matrix bordered by I if n is odd (de Bruijn 1955). Far out f(x) is the density of all eigenvalues. O(n³) a node.
    """
    near = x < math.sqrt(2 * n) + BEYOND
    log_f = goe_density(n, x) - math.log(2)
    log_f[near] = _log_largest(n, x[near]) + x[near] ** 2 / 2
    mirrored = np.full_like(x, -math.inf)
    mirrored[near] = _log_largest(n, -x[near]) + x[near] ** 2 / 2
    return np.logaddexp(log_f, mirrored)


def _log_largest(n: int, x: np.ndarray) -> np.ndarray:
    """ln f(x), −∞ from where F < 1e-30 or f drowns in rounding: going left, until that is reached."""
    log_f = np.full_like(x, -math.inf)
    matrix, _, _ = _pfaffian(n, np.array([math.sqrt(2 * n) + BEYOND]))
    log_full = np.linalg.slogdet(matrix)[1] / 2
    order = np.argsort(-x)
    for rows in np.array_split(order, 1 + len(x) * n**2 // CHUNK):
        matrix, phi, primitive = _pfaffian(n, x[rows])
        log_cdf = np.linalg.slogdet(matrix)[1] / 2 - log_full
        seen = log_cdf > math.log(1e-30)
        rate = np.zeros_like(log_cdf)
        rate[seen] = (phi[seen] * np.linalg.solve(matrix[seen], primitive[seen, :, None])[..., 0]).sum(-1)
        seen = rate > 0
        log_f[rows[seen]] = log_cdf[seen] + np.log(rate[seen])
        if not seen.all():
            break
    return log_f


def _pfaffian(n: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M, φ and I of `goe_largest_density` at every x: (…, m, m), (…, m), (…, m), m = n rounded up to even.

    By φ_k′ = √(k/2)φ_{k−1} − √((k+1)/2)φ_{k+1}, integrated once for I, twice for M and against φ_j for
    G_jk = ∫_{−∞}^xφ_jφ_k, which off the diagonal is a Wronskian over 2(j−k).
    """
    phi, primitive = np.zeros((n + 2, *x.shape)), np.zeros((n, *x.shape))
    phi[0] = math.pi**-0.25 * np.exp(-(x**2) / 2)
    primitive[0] = math.pi**-0.25 * math.sqrt(math.pi / 2) * erfc(-x / math.sqrt(2))
    for k in range(n + 1):
        phi[k + 1] = (math.sqrt(2) * x * phi[k] - (math.sqrt(k) * phi[k - 1] if k else 0)) / math.sqrt(k + 1)
    for k in range(n - 1):
        primitive[k + 1] = ((math.sqrt(k) * primitive[k - 1] if k else 0) - math.sqrt(2) * phi[k]) / math.sqrt(k + 1)
    product = _products(phi, x)
    matrix = np.zeros((n, n, *x.shape))
    for column in (False, True):  # the first row, hence by antisymmetry the first column, then every row
        rows = slice(None) if column else slice(0, 1)
        for k in range(n - 1):
            total = 2 * product[rows, k] - phi[k] * primitive[rows]
            matrix[rows, k + 1] = (math.sqrt(k) * matrix[rows, k - 1] + math.sqrt(2) * total) / math.sqrt(k + 1)
        matrix[:, 0] = -matrix[0, :]
    matrix, phi, primitive = (np.moveaxis(part, -1, 0) for part in (matrix, phi[:n], primitive))
    if n % 2:
        phi, primitive = np.pad(phi, ((0, 0), (0, 1))), np.pad(primitive, ((0, 0), (0, 1)), constant_values=-1)
        matrix = np.pad(matrix, ((0, 0), (0, 1), (0, 1)))
        matrix[:, :n, n], matrix[:, n, :n] = primitive[:, :n], -primitive[:, :n]
    return matrix, phi, primitive


def _products(phi: np.ndarray, x: np.ndarray) -> np.ndarray:
    """G_jk = ∫_{−∞}^xφ_jφ_k, j, k < n, of φ (n + 2, …): one order more off the diagonal leads along the diagonal."""
    n = len(phi) - 1
    k = np.arange(n)[(...,) + (None,) * x.ndim]
    slope = -np.sqrt((k + 1) / 2) * phi[1:]
    slope[1:] += np.sqrt(k[1:] / 2) * phi[: n - 1]
    gap = 2.0 * (k[:, None] - k)
    gap[np.arange(n), np.arange(n)] = 1
    product = (phi[:n, None] * slope - phi[:n] * slope[:, None]) / gap
    product[0, 0] = erfc(-x) / 2
    for j in range(n - 2):
        total = -phi[j] * phi[j + 1]
        total += math.sqrt(j / 2) * product[j - 1, j + 1] if j else 0
        total -= math.sqrt((j + 2) / 2) * product[j, j + 2]
        product[j + 1, j + 1] = product[j, j] + total * math.sqrt(2 / (j + 1))
    return product[:-1, :-1]


def _integral(k: int) -> float:
    """∫φ_k over the line, k even."""
    return math.sqrt(2) * math.exp((gammaln((k + 1) / 2) - gammaln(k / 2 + 1)) / 2)
