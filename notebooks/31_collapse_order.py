# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-31)=
# # Skewed and curved data collapse by a jump, symmetric data by a kink
#
# **Question.** A latent is given up when information becomes too dear. Does its rate then jump to zero, or does it
# reach zero with a kink? Two sources say one each. Which data decide?
#
# **Answer.** Both occur, and third and fourth moments of the data say where. The collapsed state loses its
# stability at the largest variance of the data, whatever they are. With a linear decoder, or on symmetric data of
# light tails, the rate arrives at zero there: a kink. Where the soft mode is skewed or heavy-tailed, or another mode
# curves over it, a flexible decoder keeps its latent beyond that price, then drops it, and takes it up again only at
# a lower one: a jump with a loop. Trained networks do as the theory says. The kink has the same size whatever the
# number of samples or latents, so that it is no phase transition in the sense of {ref}`ch-10`.
#
# **Takes** forty seconds on one thread of a laptop and less than a gigabyte of memory; the committed sweep takes as
# many minutes.

# %%
import matplotlib.pyplot as plt, numpy as np, torch
from IPython.display import Markdown, display
from latentlib import (claim, collapse, collapse_order, collapse_stability, datasets, ensemble, ensemble_reading,
    evidence, finite_law, functional, interval, landau, price_scan, record, repetitions, sharpening, soft_modes,
    style)

# %% tags=["parameters"]
dataset: str = "digits"  # real data that are scanned, a name of datasets.catalogue() or a file
standardized: bool = False  # whether their features are scaled to variance 1 each: where units differ
more_datasets: list = []  # others whose moments are read, "name" or "name standardized" each
n_random: int = 6  # finite laws drawn at random, 3 … 1000
n_starts: int = 4  # random starts of the free posterior on each of eight laws and two prices, 1 … 1000
n_samples: int = 2000  # samples of every family, 500 … 1000000
n_mixture: int = 4000  # samples of the source's mixture, 500 … 256000
hidden: list = [16, 16]  # tanh layers of the families' encoders, mirrored by the decoders, 8 … 1024
mixture_hidden: list = [32, 32]  # tanh layers for mixture and data, mirrored; the source has [256, 128], ReLU
n_members: int = 1  # networks of their own weights, noise and batches; intervals want 3 or a sweep, 1 … 20
batch_size: int = 256  # samples of a training step, of smaller data all; small ones collapse latents early, 32 …
learning_rate: float = 5e-3  # of Adam, falling to 0 at every price by a cosine, 1e-5 … 1e-2
shake: float = 0.3  # share of a fresh initial draw added to all weights before every price, 0 … 1
n_steps: int = 60  # steps at a price of a scan, twice as many at its first and of a cold start, 50 … 1000000
n_readings: int = 16000  # decoded codes behind every loss of a network, 1000 … 10000000
family_ratios: list = [0.8, 0.9, 1.0, 1.02, 1.04, 1.12, 1.16]  # prices T/λ₁ of the families, 0.8 among them
mixture_ratios: list = [0.5, 0.8, 0.95, 0.97, 0.98, 0.99, 1.01]  # of the mixture, three in 0.95 … 0.99
data_ratios: list = [0.5, 0.8, 0.94, 0.98, 1.02, 1.06]  # of the real data, rising
sweep_table: str = "31_collapse_order"  # committed sweep over seeds, of these real data; "" for none
seed: int = 0  # of every random number in this chapter

# %% [markdown]
# Prices here are $T = \beta\sigma_{dec}^2$, in units of the largest variance $\lambda_1$ of the data. The loss is
# that of {ref}`ch-00`,
#
# $$
# F = \frac{1}{2T}\,\mathbb{E}\lvert x - f(z)\rvert^2 + \mathrm{KL} ,
# $$ (eq-31-loss)
#
# in nats a sample. The *collapsed state* has $\mu = 0$, $\sigma = 1$ for every $x$, and $F_0 = \sigma_{tot}^2/2T$.
# At each price a state is judged by $F$, not by its KL.

# %%
style.use()
real, own = {"dtype": torch.float64}, repetitions.Repetitions([{} for _ in range(n_members)])
runs, members = repetitions.of_table(sweep_table) if sweep_table else own, [seed + 7919 * i for i in range(n_members)]
three, curve, spins, even = finite_law.three_point, finite_law.parabola, finite_law.bernoulli, finite_law.uniform


def tell(*lines):
    display(Markdown("\n".join(lines)))


def keep(**values):  # (n_members, …) each: a row for every network
    for name, of in values.items():
        [row.update({name: value.flatten().tolist()}) for row, value in zip(own.rows, torch.as_tensor(of, **real))]


def top_share(points, weights=None):  # λ₁/σ_tot², of a law or of the sample itself
    weights = torch.full((len(points),), 1 / len(points), **real) if weights is None else weights
    moments = soft_modes.mode_moments(points, weights=weights)
    return (moments.eigenvalue[0] / moments.total_var).item()


def followed(law, ratios, **options):  # the branch of optima through prices in units of λ₁
    return functional.functional_branch(*law, torch.as_tensor(ratios, **real) * top_share(*law), **options)


def nats(branch):  # F − F₀
    return branch.loss_gap / (2 * branch.prices)


def wilson(hits, n):  # a share of n cases and its 95 % interval
    middle, wide = (hits + 1.9207) / (n + 3.8415), 1.96 / (n + 3.8415) * (hits * (n - hits) / n + 0.9604) ** 0.5
    return hits / n, (max(0.0, min(middle - wide, hits / n)), min(1.0, max(middle + wide, hits / n)))


# %% [markdown]
# ## Where the answer is known
#
# **A linear decoder.** Every mode is alone, and its optimum is exact on any data {cite}`lucas,pruning`,
#
# $$
# m = \left(1 - \frac{T}{\lambda}\right)_+, \qquad \mathrm{KL} = \tfrac12\left(\ln\frac{\lambda}{T}\right)_+ .
# $$ (eq-31-linear)
#
# The KL is continuous at $T = \lambda$. Its slope jumps there, from $-1/(2\lambda)$ to 0. The solver of {ref}`ch-00`
# finds this from random weights.
#
# **A free decoder, near threshold.** Let $\psi$ be the soft mode, scaled to variance 1, with skewness $S$ and
# kurtosis $K$. A code answers $\psi$ by its mean, $v = \mathbb{E}[\psi\mu]$, or by its width, $w =
# \mathbb{E}[\psi\sigma^2]$. With all else at its best and $\varepsilon = 1 - \lambda_1/T$,
#
# $$
# \begin{gathered}
# F - F_0 = \varepsilon\left(\tfrac{v^2}{2} + \tfrac{w^2}{4}\right) - \tfrac{S}{6}\left(w^3 + 3v^2w\right) + a v^4 +
# b v^2 w^2 + c w^4 , \\ a = \tfrac14\left(1 - S^2 - G\right), \quad b = \Delta - \tfrac14 S^2, \quad c =
# \tfrac14\Delta + \tfrac1{16}S^2, \\
# \Delta = \tfrac12(5 - K) - G - \tfrac34\Gamma .
# \end{gathered}
# $$ (eq-31-landau)
#
# The other modes $x_j$ enter by how they curve over $\psi$: with $\gamma_j = \mathbb{E}[x_j\psi^2]$, $G =
# \sum_j\gamma_j^2/(\lambda_1 - \lambda_j)$ and $\Gamma = \sum_j\gamma_j^2/\lambda_1$. A cubic term makes a jump,
# and so does a negative quartic one. Both channels go soft at one price, $T = \lambda_1$.

# %%
spectrum, ratios = torch.tensor([1.0, 0.7, 0.5, 0.3], **real), torch.arange(0.9, 1.1001, 0.01, **real)
linear = collapse.equilibrium(torch.diag(spectrum), ratios / spectrum.sum(), 4, seed=seed)
linear_error, known = (linear.rate.sum(1) - landau.one_mode_rate(ratios)).abs().max().item(), []
for kurtosis in (3.0, 4.7):  # known: (what, by the free posterior, from the expansion, size of the next order)
    branch, series = followed(three(kurtosis), [0.998]), landau.landau_coefficients(0.0, kurtosis)
    least = landau.landau_minimum(1 - 1 / 0.998, series)
    pairs = (("$F - F_0$", nats(branch).item(), least.energy), ("KL", branch.rate.item(), least.rate))
    known += [(f"{what}, $K = {kurtosis}$", *of, 4 * least.rate / series.width) for what, *of in pairs]
skewed = spins(0.5 - 0.02 / 1.0016**0.5)  # S = .08, K = 1 + S²
at, series = functional.transition(*skewed, first=0.98, resolution=2e-5), landau.landau_coefficients(0.08, 1.0064)
shift = 1 - at.price_down / at.price_maxwell, landau.landau_maxwell(series)[0]
known += [("$\\varepsilon$ at the jump, $S = 0.08$", *shift, 0.08)]


# %%
eight = "Bernoulli .2|Bernoulli .4|K = 3|K = 6|uniform|curve .5|curve .7|curve of K = 3, .28".split("|")


def lowest(law, price):  # lowest eigenvalue of the Hessian of F at the collapsed state, by automatic differentiation
    n, scale = len(law.weights), law.weights.repeat(2).rsqrt()
    value = lambda state: functional.functional_loss(*law, state[:n], 2 * state[n:], price) / (2 * price)
    hessian = torch.autograd.functional.hessian(value, torch.zeros(2 * n, **real))
    return torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[0].item()


def crossing(law, price=1.2):  # a fixed point of T → T(1 − e) is a zero of the eigenvalue e
    for _ in range(6):
        price = price * (1 - lowest(law, price))
    return price


# %%
# NBVAL_CHECK_OUTPUT
laws = {"uniform": (even(),), "Bernoulli .5": (spins(0.5),)} | {f"K = {k:g}": (three(k),) for k in (2, 3, 4, 4.7, 6)}
laws |= {f"Bernoulli .{i}": (spins(i / 10),) for i in (4, 3, 2)}
laws |= {f"Bernoulli .{i}, one width": (spins(i / 10), True) for i in (4, 3, 2)}
laws |= {f"curve .{i}": (curve(i / 10),) for i in (3, 5, 7)} | {"curve .7, one width": (curve(0.7), True)}
laws |= {f"curve of K = 3, {c}": (curve(float(c), three(3.0)),) for c in (".15", ".22", ".28", ".40")}
shown = {name: laws[name][0] for name in ("uniform", "Bernoulli .2", "curve .7")}
crossings = torch.tensor([crossing(laws[name][0]) / top_share(*laws[name][0]) - 1 for name in eight], **real)
tell("| $T = 0.998\\,\\lambda_1$ | free posterior | expansion |\n|---|---|---|", *(
    f"| {what} | {value:.4g} | {wanted:.4g} |" for what, value, wanted, _ in known),
    f"\nLinear solver and {{eq}}`eq-31-linear`: {max(linear_error, 1e-8):.0e} nats apart at most. On eight laws the "
    f"lowest curvature at collapse is zero at $\\lambda_1$ to {max(crossings.abs().max().item(), 1e-9):.0e}.")

# %% tags=["hide-input"]
fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 4.8), sharex=True)
top.plot(ratios, landau.one_mode_rate(ratios), color=style.COLOR["pca"], label="$\\frac{1}{2}\\ln(\\lambda_1/T)$")
top.plot(ratios, linear.rate.sum(1), style.MARKER["rate"], color=style.COLOR["rate"], label="linear, solver")
for name, kind in (("Bernoulli .2", "collapse"), ("uniform", "angles"), ("curve .7", "attractor")):
    low = [lowest(laws[name][0], ratio * top_share(*laws[name][0])) for ratio in ratios[::4].tolist()]
    bottom.plot(ratios[::4], low, style.MARKER[kind], color=style.COLOR[kind], mfc="none", label=name)
bottom.plot(ratios, torch.minimum(1 - 1 / ratios, 2 - 2 / ratios), color=style.COLOR["pca"], lw=1)
top.set(ylabel="KL, nats"), bottom.set(ylabel="lowest curvature at collapse", xlabel="price $T/\\lambda_1$")
top.legend(), bottom.legend()
style.show(fig, target="fig-31-known", alt="KL with a kink at the largest variance; curvatures cross zero there.",
           caption="Top: a linear decoder. Bottom: three laws, free posterior; the line is $1 - \\lambda_1/T$, twice "
                   "that below.")

# %% [markdown]
# All laws of {numref}`fig-31-known` lose the collapsed state at one price, and a linear decoder shows all there is
# to see at it: a kink. What a flexible decoder does next is the question.
#
# ## The diagram: which law jumps
#
# The oracle has no network. Data are a finite law, every point has a free mean and a free width, and the decoder is
# the best there is. A branch of optima is followed upward in price from below the threshold to its end $T_{up}$. On
# its way it may rise above the collapsed loss, at $T_{Maxwell}$. Collapse is **first order** if a branch lives at
# prices above $\lambda_1$. It is **variance-coded** if the optimum just below has a rate in its widths more than in
# its means, else **continuous**. `predict_order` sees the moments alone.

# %%
# NBVAL_CHECK_OUTPUT
words, onset = ("continuous", "variance-coded", "first order", "undecided"), 0.99997  # price just below threshold


def of_order(law, one_width=False):  # measured: the transition, KL at .97, order
    at, more = functional.transition(*law, homoscedastic=one_width, first=0.98), {"homoscedastic": one_width}
    first = min((followed(law, [onset], start=of, **more) for of in ("mean", "width")), key=lambda way: way.loss_gap)
    kind = words[2] if at.price_up > at.price_down * (1 + 1e-6) else words[int(first.signal_fraction < first.rate)]
    return at, followed(law, [0.9, 0.97], **more).rate[1].item(), kind  # where means code, m is twice the rate


def guess(law, one_width=False):
    return collapse_order.predict_order(law.points, weights=law.weights, homoscedastic=one_width)[0]


def why(of):  # in words, fit for a table
    return of.inequality.replace("|S|", "$\\lvert S\\rvert$")


found, guessed = ({name: of(*law) for name, law in laws.items()} for of in (of_order, guess))
tell("| law | $T_{up}$ | $T_{Maxwell}$ | KL at the end | KL at .97 | predicted | measured |\n|---" + "|---" * 6 + "|",
     "| any, linear decoder | 1 | 1 | 0 | {:.4f} | continuous | continuous |".format(landau.one_mode_rate(0.97)),
     *(f"| {name} | {at.price_up / at.price_down:.4f} | {at.price_maxwell / at.price_down:.4f} | {at.rate_up:.3f} | "
       f"{rate:.4f} | {guessed[name].order} | {order} |" for name, (at, rate, order) in found.items()),
     "\n$T_{down} = \\lambda_1$ for all. Branches are followed to a thousandth of the price.")

# %% tags=["hide-input"]
fig, axis = plt.subplots(figsize=(5.6, 5.0))
ends = torch.tensor([[at.price_maxwell / at.price_down, at.price_up / at.price_down] for at, *_ in found.values()])
rows, colors = range(len(found)), {"continuous": "angles", "variance-coded": "overlap", "first order": "collapse"}
for i, (_, _, order) in enumerate(found.values()):
    axis.plot([1, ends[i, 1]], [i, i], color=style.COLOR[colors[order]], lw=4, alpha=0.5)
    axis.plot(ends[i, 1], i, style.MARKER[colors[order]], color=style.COLOR[colors[order]])
axis.plot(ends[:, 0], rows, "|", ms=12, color=style.COLOR["pca"]), axis.axvline(1, color="k", lw=1)
axis.set(yticks=rows, yticklabels=list(found), xlabel="price $T/\\lambda_1$", ylim=(len(found), -1))
marks = [axis.plot([], [], style.MARKER[kind], color=style.COLOR[kind])[0] for kind in colors.values()]
axis.legend(marks, colors, loc="lower right")
style.show(fig, target="fig-31-diagram", alt="Ends of branches by law: beyond the threshold for skewed, curved laws.",
           caption="Where both states are minima, from $\\lambda_1$ to $T_{up}$; bar: their losses cross.")

# %% [markdown]
# In {numref}`fig-31-diagram` skewed laws and strongly curved ones keep the latent at prices where the collapsed
# state is a minimum too. An encoder with one width for all $x$ has no width channel, no cubic term, and needs more
# skewness to jump. The same question on laws that no one chose: symmetric ones, curves over symmetric ones, and
# skewed ones, with random points and weights.

# %%
def scaled(points, weights):  # mean 0, variance 1
    weights = weights / weights.sum()
    points = points - weights @ points
    return finite_law.FiniteLaw(points / (weights @ points**2) ** 0.5, weights)


def random_law(i, start=seed):
    draws = torch.Generator().manual_seed(start + 104729 * i + 1)
    points, weights = torch.randn(4, 1, generator=draws, **real), torch.rand(4, generator=draws, **real) ** 2 + 0.2
    law = scaled(points, weights) if i % 3 == 2 else scaled(torch.cat([points, -points]), weights.repeat(2))
    return curve(0.05 + 0.8 * torch.rand((), generator=draws).item(), law) if i % 3 == 1 else law


of_random, guess_random = ({f"law {i}": of(random_law(i)) for i in range(n_random)} for of in (of_order, guess))
of_runs = {row.get("seed", seed): int(row.get("n_random", n_random)) for row in runs.rows}
every = [random_law(i, start) for start, n in of_runs.items() for i in range(n)]

# %% tags=["hide-input"]
# NBVAL_CHECK_OUTPUT
both = [[(a[of].order, b[of][2]) for of in b] for a, b in ((guessed, found), (guess_random, of_random))]
table = [[[sum(of == (row, column) for of in some) for column in words] for row in words] for some in both]
keep(confusion=[table] * n_members)
pooled = (of := runs.values("confusion", 2, 4, 4)[: len(of_runs)])[0, 0] + of[:, 1].sum(0)  # fixed laws once
hits, n_laws, commonest = (int(of) for of in (pooled.trace(), pooled.sum(), pooled.sum(0).max()))
near = [law for law in every if guess(law).order == words[2] and guess(law).maxwell_shift < 1e-3]
weak = {guess(law).maxwell_shift: functional.transition(*law, first=0.98, resolution=2e-5) for law in near}
tell(f"| {hits} of {n_laws} as predicted (down, measured across) | " + " | ".join(words[:3]) + " |", "|---" * 4 + "|", *(
     f"| {row} | " + " | ".join(f"{of:.0f}" for of in line[:3]) + " |" for row, line in zip(words, pooled)),
     f"\nJumps foreseen within a thousandth of $\\lambda_1$: {len(weak)}, the nearest within {min(weak, default=0):.0e}. "
     f"Followed to 2e-5, {sum(of.price_up > of.price_down * (1 + 1e-6) for of in weak.values())} of them jump.")

# %% [markdown]
# The expansion speaks of infinitesimal jumps too, the measurement does not: a law of small skewness may count as
# continuous until it is followed finer.
#
# Does the form of the linear case at least hold on the side where a latent is active? Four families of one
# covariance, $\operatorname{diag}(1, c)$, are compared: Gaussian, symmetric ($K = 4$), skewed, and curved.
# The gain of an infinitesimal code, distortion saved over twice the rate, is the price at which it starts to pay.

# %%
def beside(law, n):  # the law times an independent second mode of variance .7
    other, mass = (torch.tensor(of) for of in np.polynomial.hermite_e.hermegauss(n))
    points = torch.cartesian_prod(law.points[:, 0], 0.7**0.5 * other)
    return finite_law.FiniteLaw(points, (law.weights[:, None] * mass / mass.sum()).flatten())


nodes, masses = (torch.tensor(of) for of in np.polynomial.hermite_e.hermegauss(10))
plain = {"Gaussian": scaled(nodes[:, None], masses), "symmetric": three(4.0), "skewed": spins(0.2)}
plain["curved"] = curve(0.7)
families = {name: law if name == "curved" else beside(law, 4) for name, law in plain.items()}


def gain(law, rank, size=0.01):  # distortion saved by a small code along a mode, over twice its rate
    mu = size * torch.linalg.eigh(functional.collapsed_hessian(*law, 1.0).mean)[1][:, rank] / law.weights.sqrt()
    rate = (mu.square() @ law.weights).item() / 2
    return (1 - functional.functional_loss(*law, mu, 0 * mu, 1.0).item() + 2 * rate) / (2 * rate)


# %% tags=["hide-input"]
worst, of_four = (of.abs().max().item() for of in (crossings, torch.tensor(
    [crossing(law) / top_share(*law) - 1 for law in families.values()], **real)))
survives = max(found[of][0].price_up / found[of][0].price_down - 1 for of in eight)
first, second = ([gain(law, rank) / top_share(*law) for law in families.values()] for rank in (0, 1))
last = max(found[of][0].rate_up for of in ("K = 3", "K = 4", "Bernoulli .2", "curve .7"))
ends = {"utility over collapse": evidence.Part(sum(first) / 4, (min(first), max(first)), "1 ± 0.01", max(second)),
        "KL at the end of the branch": evidence.Part(last, (last, last), "< 0.01", 0.0)}
exact = {"interval_method": "the largest of all", "own_protocol": True, "data": "finite laws, free posterior"}
claim("transition-threshold", worst, (worst, worst), "< 1e-6", null=survives, **exact, repetitions=8,
      sizes={"n_laws": 8}, note="|zero of the lowest curvature / λ_max − 1|; null: where the branch ends")
claim("pruning-III.3-local", of_four, (of_four, of_four), "< 1e-6", null=survives, **exact, repetitions=4, parts=ends,
      sizes={"n_laws": 4}, note="four families; nulls: where a branch ends, second mode, linear decoder")

# %% [markdown]
# **The threshold is the largest variance, and only of local stability.** At it the collapsed state stops being a
# minimum, on every law. Where a branch of another state ends is a second question with another answer. What would
# change our mind: a law whose collapsed state is unstable above its largest variance, or stable below.
#
# **The coefficients agree, the form does not.** One number sets infinitesimal utility and collapse, as claimed. It
# says nothing of a branch at a finite distance: that of skewed or curved data ends with a rate in hand. What would
# change our mind: branches of all four families that reach zero.
#
# Next the exponent. Over the last five per cent before the end, $\mathrm{KL} \propto (1 - T/T_c)^b$: $b = 1$ is a
# kink, $b = \tfrac12$ the tricritical point $G = 1$, and a jump has no such law.

# %%
last_ratios, path = [0.95, 0.96, 0.97, 0.98, 0.99], torch.arange(0.84, 1.1801, 0.02, **real)


def exponent(rate, at):  # slope of ln KL against ln(1 − T/T_c); rates below 1e-3 nats count as 1e-3
    return sharpening.log_slope(1 - torch.as_tensor(at, **real), rate.clamp_min(1e-3).log())


def exponents(some, ends):  # over the last five per cent before the end
    ways = [followed(law, [end * ratio for ratio in last_ratios]) for law, end in zip(some, ends)]
    return exponent(torch.stack([way.rate for way in ways]), last_ratios)


flat, skew = ("uniform", "Bernoulli .5", "K = 2", "K = 3", "K = 4"), [f"Bernoulli .{i}" for i in (2, 3, 4)]
flat_powers = exponents([laws[name][0] for name in flat], [1.0] * 5)
skew_powers = exponents([laws[name][0] for name in skew], [found[name][0].price_up for name in skew])
tricritical = exponents([curve(665 / 1193)], [1.0]).item()  # c = 1/K: G = 1
upward = {name: followed(law, path) for name, law in shown.items()}
downward = {name: followed(law, path.flip(0), start="collapsed") for name, law in shown.items()}

# %% [markdown]
# ## Loops, and where two losses cross
#
# Three laws are followed upward from an active state and downward from the collapsed one. A first-order collapse
# has a price range with two minima: which of them a scan sees depends on where it came from, and the loss, not the
# KL, says which is the better.

# %%
def code_at(branch, name, ratio):  # mean and width of every point, the branch continued from its nearest price
    i = (branch.prices / top_share(*shown[name]) - ratio).abs().argmin()
    at = followed(shown[name], [ratio], start=(branch.mu[i], branch.log_var[i]))
    return at.mu[0], (at.log_var[0] / 2).exp()


def draw_way(axes, name, ratio, branch, side, look):
    prices, x = branch.prices / top_share(*shown[name]), shown[name].points[:, 0]
    axes[0].plot(prices, branch.rate, ms=3, label="up" if side < 0 else "down", **look)
    axes[1].errorbar(x + side, *code_at(branch, name, ratio), **(look | {"ls": ""}), ms=3, lw=0.8)
    axes[0].axvline(ratio, color="k", lw=1, ls=":"), axes[0].set(title=name), axes[1].set(ylim=(-3, 3), title="codes")


# %% tags=["hide-input"]
def draw(ratio):
    fig, axes = plt.subplots(3, 2, figsize=(5.6, 6.6))
    [draw_way(of, name, ratio, *way(name)) for of, name in zip(axes, shown) for way in two_ways]
    axes[1, 0].set_ylabel("KL, nats"), axes[1, 1].set_ylabel("code $z$"), axes[0, 0].legend()
    axes[2, 0].set_xlabel("price $T/\\lambda_1$"), axes[2, 1].set_xlabel("data $x_1$")
    return fig


two_ways = (lambda name: (upward[name], -0.04, {"color": style.COLOR["collapse"], "marker": "o"}),
            lambda name: (downward[name], 0.04, {"color": style.COLOR["overlap"], "marker": "s", "ls": "--"}))
alt, steps = "KL up and down of three laws; means and widths of their codes.", [0.86, 0.94, 1.02, 1.12]
style.slider(map(draw, steps), [f"{ratio:.2f}" for ratio in steps], "price T/λ₁", target="fig-31-loops", alt=alt,
             caption="Left: KL up and down. Right: posterior mean of every point, with one standard deviation.")
style.live(draw, ratio=(0.84, 1.18, 0.02), alt=alt)

# %% tags=["hide-input"]
fig, axis = plt.subplots(figsize=(5.6, 3.2))
for name, kind in zip(shown, ("angles", "rate", "attractor")):
    axis.plot(path, 1e3 * nats(upward[name]), "-", marker=style.MARKER[kind], color=style.COLOR[kind], label=name)
axis.axhline(0, color="k", lw=1), axis.set(xlabel="price $T/\\lambda_1$", ylabel="$F - F_0$, mnat")
axis.set(xlim=(0.96, 1.18), ylim=(-8, 1)), axis.legend()
style.show(fig, target="fig-31-crossing", alt="Loss of branches upward, less the collapsed: the skewed law rises above 0.",
           caption="Loss of the branch followed upward, less that of the collapsed state.")
areas = {name: functional.loop_area(path, upward[name].rate, downward[name].rate.flip(0)).item() for name in shown}
tell("| law | loop area, nats | losses cross at |\n|---|---|---|", *(
    f"| {name} | {abs(area):.4f} | {found[name][0].price_maxwell / top_share(*shown[name]):.3f} |"
    for name, area in areas.items()))

# %% [markdown]
# In {numref}`fig-31-crossing` the active branch of the skewed law crosses the collapsed loss and lives on above it,
# a state that only its history explains. At the end of that branch the codes of {numref}`fig-31-loops` hardly
# differ in their means: the widths alone carry what is left, and an order parameter made of means does not see
# them.
#
# ## Trained networks
#
# Do networks do the same? Four families with the same sample covariance, to rounding. One encoder, one latent, no
# weight decay, fresh noise at every step: a fixed set of noise nodes is memorized by the decoder and fakes loops.
# The scan is warm-started, upward and downward. A linear decoder behind the same encoder is the control.
#
# A scan must be at rest, or its loop is that of the descent. A collapsed state is left at a rate $\propto 1 -
# T/\lambda_1$, so that prices just below $\lambda_1$ are left out. And a deep decoder that has collapsed is at a
# saddle of high order: a share of a fresh initial draw is therefore added to all weights before every price. Minima
# survive that. Where two ways still end in different rates below $\lambda_1$, they were not at rest.
#
# With a committed sweep all numbers of networks are over its seeds and at its longer training. Without one they are a
# short run of this page, which is not at rest and decides nothing.

# %%
def drawn(name):  # samples of a family, turned and scaled to exactly its covariance
    law, draws = families[name], torch.Generator().manual_seed(seed + 31)
    x = law.points[torch.multinomial(law.weights, n_samples, True, generator=draws)]
    x = torch.randn(n_samples, 2, generator=draws, **real) if name == "Gaussian" else x
    root = torch.linalg.inv(torch.linalg.cholesky(datasets.covariance(x)))
    return (x - x.mean(0)) @ root.T * torch.tensor([1.0, 0.7], **real).sqrt()


def read(of, x):
    return ensemble_reading.read_ensemble(of, x, n_draws=1 + n_readings // len(x), seed=seed)


def recipe(x, **options):
    return {"n_latent": 1, "hidden": hidden, "seeds": members, "batch_size": min(batch_size, len(x)),
            "learning_rate": learning_rate, "progress": False} | options


# %%
def over(reading):  # F − F₀ in nats, F₀ that of the collapsed state
    return (reading.loss - 1) / (2 * reading.prices)


def scanned(name, x, ratios, **options):  # upward and downward
    settings = recipe(x, n_steps=n_steps, n_first=2 * n_steps, shake=shake) | options
    scan = price_scan.scan_ensemble(x.float(), torch.tensor(ratios, **real) * top_share(x), **settings)
    keep_scan(name, *(read(of, x) for of in scan), torch.tensor(ratios, **real))


def keep_scan(name, up, down, ratios):  # active: a latent of more than 1e-3 nats, the source's criterion
    rates, last = [of.rate.sum(-1) for of in (up, down)], (up.rate.amax(-1) > 1e-3) * torch.arange(1, len(ratios) + 1)
    last, best = last.amax(1).clamp_min(1) - 1, torch.minimum(over(up), over(down))
    jump = torch.cat([rates[0], rates[0][:, -1:]], 1).diff().neg().gather(1, last[:, None])
    keep(**{f"up_{name}": rates[0], f"down_{name}": rates[1], f"jump_{name}": jump, f"last_{name}": last})
    keep(**{f"gap_{name}": over(up) - over(down), f"best_{name}": best})


# %% tags=["remove-output"]
samples, cold_at = {name: drawn(name) for name in families}, sorted(
    {int(np.abs(np.array(family_ratios) - ratio).argmin()) for ratio in (0.9, 1.04, 1.12)})
for name, x in samples.items():  # and, at three prices, from random weights
    scanned(name, x, family_ratios)
    prices = torch.tensor([family_ratios[i] for i in cold_at], **real) * top_share(x)
    cold = read(ensemble.fit_ensemble(x.float(), prices, **recipe(x, n_steps=2 * n_steps)), x)
    best = own.values(f"best_{name}", len(family_ratios))[:, cold_at]
    keep(**{f"cold_{name}": torch.stack([over(cold) - best, cold.rate.sum(-1)], 1)})
scanned("linear", samples["skewed"], family_ratios, decoder_hidden=())
grids = [family_ratios, mixture_ratios, data_ratios, [family_ratios[i] for i in cold_at]]
keep(lengths=[[*map(len, grids), n_samples, n_steps, n_mixture]] * n_members, grid=[sum(grids, [])] * n_members)

# %%
*lengths, size, budget, mixture_size = (int(of) for of in runs.values("lengths", 7)[0])
grids = runs.values("grid", sum(lengths))[0].split(lengths)


def kept(kind, name, at):  # (n_repetitions, n_prices) of a scan over grids[at]
    return runs.values(f"{kind}_{name}", len(grids[at]))


def rest(name, at):  # largest |KL_up − KL_down| below λ₁, in mnat: 0 where both ways are at rest in one state
    return 1e3 * (kept("up", name, at) - kept("down", name, at))[:, grids[at] < 1 - 1e-9].abs().amax(1)


def draw_scan(axis, name, at):  # means over repetitions, with intervals, up and down
    for way, kind, mark in (("up", "collapse", "o-"), ("down", "overlap", "s--")):
        mean, low, high = runs.spread(kept(way, name, at))
        look = {"fmt": mark, "color": style.COLOR[kind], "ms": 4, "capsize": 2}
        axis.errorbar(grids[at], mean, [mean - low, high - mean], label=f"network, {way}", **look)


# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(5.6, 5.2), sharex=True, sharey=True)
for axis, (name, law) in zip(axes.flat, plain.items()):
    draw_scan(axis, name, 0), axis.set(title=name)
    free = followed(law, grids[0]).rate if name in ("skewed", "curved") else grids[0] + torch.nan
    axis.plot(grids[0], free, ":", color=style.COLOR["pca"], label="free posterior, up")
    axis.plot(grids[0], landau.one_mode_rate(grids[0]), color=style.COLOR["null"], lw=1, label="linear law")
[axes[i, 0].set_ylabel("KL, nats") and axes[1, i].set_xlabel("price $T/\\lambda_1$") for i in (0, 1)]
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
style.show(fig, target="fig-31-networks", alt="KL of networks up and down a scan on four families of one covariance.",
           caption="Four families of one covariance: means over repetitions and their intervals.")

# %% tags=["hide-input"]
def excess(name):  # KL upward over the linear law, less 1, at 0.8 λ₁
    return kept("up", name, 0)[:, (grids[0] - 0.8).abs().argmin()] / landau.one_mode_rate(0.8) - 1


def loop(name, at, start=1.0):  # area between the ways, in mnat, where the collapsed state is a minimum, T ≥ λ₁
    i = (grids[at] < start - 1e-9).sum()
    return 1e3 * torch.trapezoid((kept("up", name, at) - kept("down", name, at))[:, i:], grids[at][i:])


trained = {"repetitions": len(runs) if budget >= 1000 else 1,  # short ones are not at rest, and decide nothing
           "trained": True, "interval_method": "Student, over repetitions",
           "sizes": {"n_samples": size, "n_latent": 1, "steps": budget}}
null, wide = (runs.stat(excess(name))[0] for name in ("Gaussian", "curved"))
claim("pruning-VI-null-model", *runs.stat(excess("Gaussian")), "0 ± 0.1", null=wide, **trained,
      parts={"curved data": runs.part(excess("curved"), "> 0.1", null)}, data="four families of one covariance",
      note="(KL of the network − exact linear law)/exact, at 0.8 λ₁, scan upward")

# %% tags=["hide-input"]
def ordered(name):  # predicted; measured: first order if the loop's interval is above 0 and above the Gaussian's
    law, way = families.get(name, families["skewed"]), "linear" if name == "linear" else "nonlinear"
    jumps = runs.stat(loop(name, 0))[1][0] > max(0.0, runs.stat(loop("Gaussian", 0))[1][1])
    return collapse_order.predict_order(*law[:1], weights=law.weights, decoder=way)[0].order, words[2 * jumps]


orders = {name: ordered(name) for name in (*families, "linear")}
far = [runs.words(grids[0][runs.values(f"last_{name}").long()]) for name in ("skewed", "curved")]
tell("| family | predicted | networks | loop above $\\lambda_1$, mnat | KL over linear law, less 1 | unrest, mnat |",
     "|---" * 6 + "|", *(f"| {name} | {foreseen} | {seen} | {runs.words(loop(name, 0))} | "
     f"{runs.words(excess(name))} | {runs.words(rest(name, 0), 1)} |" for name, (foreseen, seen) in orders.items()),
     f"\n**Networks collapse as predicted in {sum(a == b for a, b in orders.values())} of {len(orders)} cases.** "
     f"The last active price upward is {far[0]} for skewed data, {far[1]} for curved.")

# %% [markdown]
# *linear* is the linear decoder on the skewed family. The loop is $\int(\mathrm{KL}_{up} - \mathrm{KL}_{down})\,dT$
# above $\lambda_1$, where the collapsed state is a minimum and a loop can be one of collapse. *Unrest* is the largest
# $\lvert\mathrm{KL}_{up} - \mathrm{KL}_{down}\rvert$ below it, where both ways should end in one state. The free
# posteriors of the skewed law (Bernoulli .2) and of the curved one (curve .7) end at the $T_{up}$ of the table above.
# What would change our mind: a loop above $\lambda_1$ on Gaussian or symmetric data that longer training does not
# close, or none on skewed data.
#
# **Departure from the linear law is a property of the data.** A flexible network on Gaussian data has the KL of the
# linear law, as it must: on a Gaussian no decoder does better than a linear one. On skewed and on curved data of the
# same covariance it codes several times as much. The linear law is thus a null that a Gaussian passes. What would
# change our mind: a Gaussian whose network departs.
#
# ## Two controls: cold starts, and weight decay
#
# A scan remembers. Networks that start from random weights at one price do not, and they are judged by $F$ beside
# the better of the two scans.
#
# And there is a way to a jump that the data have no part in. With weight decay $\tfrac{l}{2}(\lvert V\rvert^2 +
# \lvert W\rvert^2)$ in the loss, a linear VAE on one mode of variance $s$ has its threshold at $T_c = s/(1 + l) -
# l/s$, and its collapse is first order if $l(1 + l) < s^2 < 2l(1 + l)^2/(1 + 2l)$ (for the model see
# {cite}`ichikawa`). The linear solver is started from random weights on both sides of the price where the
# branch must end.

# %% tags=["hide-input"]
decayed, edges = [], (collapse_stability.weight_decay_threshold, collapse_stability.weight_decay_end)
for variance in (1.5, 1.6):  # the largest KL over starts just before the end of the branch and just after
    soft, end = (of(variance, 1.0) for of in edges)
    prices, one = torch.tensor([0.996, 1.004], **real) * end / variance, torch.tensor([[variance]], **real)
    ways = [collapse.equilibrium(one, prices, 1, weight_decay=1.0, seed=seed + i).rate[:, 0] for i in range(6)]
    decayed.append((variance, end / soft, *torch.stack(ways).amax(0).abs().tolist()))
tell("| $l = 1$, $s$ | branch ends at $T/T_c$ | KL at 0.996 of it | at 1.004 |\n|---|---|---|---|",
     *("| {} | {:.4f} | {:.3f} | {:.3f} |".format(*row) for row in decayed))
tell("| cold start, at | " + " | ".join(f"{at:.2f}" for at in grids[3]) + " |", "|---" * (len(grids[3]) + 1) + "|", *(
    f"| {name} | " + " | ".join(f"{runs.words(1e3 * of[:, 0], 1)}; {(of[:, 1] < 1e-3).sum()} of {len(of)}"
    for of in runs.values(f"cold_{name}", 2, -1).movedim(2, 0)) + " |" for name in families),
    "\n$F$ above the better of the two scans, mnat; how many collapsed.")

# %% [markdown]
# **A cold start ends in one of the two states, and not always in the better.** Where both are minima a network from
# random weights may collapse though the scan has a state of lower $F$: a loss of several millinats above is one
# collapsed network among them. A threshold read from cold starts lies anywhere in the loop.
#
# **Weight decay alone makes a linear VAE jump.** So every network of this chapter is trained without it.
#
# ## The mixture of the source
#
# The published experiment has eight dimensions {cite}`transition`: two Gaussians at $\pm a D^{1/2}v$, $a =
# \tfrac12$, narrowed along $v$ so that the whole has the covariance $D$, with $\lambda_i = e^{-(i-1)/10}$. It was
# scanned upward alone.

# %%
def mixture():  # (1 − a²vvᵀ)^½ G ± a v, times the roots of the variances
    draws, v = torch.Generator().manual_seed(seed + 8), torch.full((8, 1), 8**-0.5, **real)
    x, side = (torch.randn(n_mixture, n, generator=draws, **real) for n in (8, 1))
    return (x + (x @ v * (0.75**0.5 - 1) + side.sign() / 2) @ v.T) * torch.exp(-0.05 * torch.arange(8.0))


def last_power(name):  # exponent of the KL over the last five per cent below λ₁, upward
    late = (grids[1] > 0.9499) & (grids[1] < 0.9951)
    return exponent(kept("up", name, 1)[:, late], grids[1][late])


mixed, deep = mixture(), {"n_latent": 4, "hidden": mixture_hidden}
scanned("mixture", mixed, mixture_ratios, **deep)
scanned("mixture_linear", mixed, mixture_ratios, **deep, decoder_hidden=())
published = {"sizes": {"n_samples": mixture_size, "n_latent": 4, "steps": budget}, "deviations": ["tanh for ReLU",
    f"{mixture_size} samples for 256 000, {budget} steps a price, {lengths[1]} prices for 401"]}

# %% tags=["hide-input"]
# NBVAL_CHECK_OUTPUT
fig, axis = plt.subplots(figsize=(5.6, 3.4))
draw_scan(axis, "mixture", 1), axis.set(xlabel="price $T/\\lambda_1$", ylabel="KL, nats")
law_rate = landau.one_mode_rate(grids[1][:, None] / torch.exp(-0.1 * torch.arange(4.0))).sum(1)
axis.plot(grids[1], law_rate, color=style.COLOR["pca"], label="linear law, four modes"), axis.legend()
style.show(fig, target="fig-31-mixture", alt="KL of the mixture up and down, beside the linear law.",
           caption="The source's mixture, up and down, and the linear law of its covariance.")
tell("| mode | predicted | by |\n|---|---|---|", *(
    f"| {of.mode} | {of.order} | {why(of)} |" for of in collapse_order.predict_order(mixed, 4)), *(
    f"\n{text}: loop above $\\lambda_1$ {runs.words(loop(name, 1), 3)} mnat, of the whole scan "
    f"{runs.words(loop(name, 1, 0.0))}; unrest {runs.words(rest(name, 1), 1)} mnat; exponent "
    f"{runs.words(last_power(name))}." for text, name in (("MLP", "mixture"), ("Linear", "mixture_linear"))))

# %% tags=["hide-input"]
lags = [0.0, *(runs.stat(loop(*of))[0] for of in (("mixture_linear", 1), ("Gaussian", 0)))]
null = runs.stat("jump_mixture_linear")[1]
claim("transition-kl-jump", *runs.stat("jump_mixture"), "> 0.02", null=null, **trained | published, parts={
    "loop": runs.part(loop("mixture", 1), "> 0", (min(lags), max(lags))),
    "skewed family": runs.part("jump_skewed", "> 0.02", null)}, data="the source's mixture; skewed family",
    note="KL at the last active price upward less that at the next; null: linear decoder. Loop: above λ₁, mnat; below, "
         "a loop is lag. Its nulls: linear, Gaussian family")
flat, skewed = ([end.item() for end in interval.mean_interval(of)] for of in (flat_powers, skew_powers))
claim("transition-kl-kink", flat[0], flat[1:], "1 ± 0.05", null=tricritical, data="finite laws; the source's mixture",
    parts={"the mixture": runs.part(last_power("mixture"), "1 ± 0.1", tricritical), "skewed laws": evidence.Part(
        skewed[0], skewed[1:], "1 ± 0.1", tricritical)}, **trained | published | {"interval_method": "Student, over "
    "laws, over repetitions"}, note="exponent of the KL over the last 5 % of a branch; null: the tricritical G = 1")

# %% [markdown]
# **The mixture is nearly Gaussian where it counts, and its theory is a kink.** Its leading modes are symmetric with
# $K$ near 3. The networks agree: where the collapsed state is a minimum the two ways are one, and the last step of
# the KL is as small as with a linear decoder. Below $\lambda_1$ the ways differ by the time a descent needs to leave a
# saddle.
#
# "Discontinuity" can be read as a jump of the KL or as one of its slope: symmetric data have the second, skewed data
# the first. Even there the KL that is lost at the end of the branch is small, for by then only widths code. A pure
# kink has the exponent 1 only in the limit; over five per cent $\tfrac12\ln(\lambda/T)$ itself has slightly more.
# Exponents of trained networks scatter around it: a rate so near the threshold is one of the training. What would
# change our mind: a drop of the KL between neighbouring prices that a linear decoder does not show on this mixture.
#
# ## Real data
#
# On samples the moments have errors, by jackknife, and a prediction may be left undecided: a finite sample always
# has some skewness, and leading eigenvalues may be too close to name one soft mode.

# %%
def real_data(name, scale):  # and 32 groups for errors: spatial blocks if it has them, else neighbours in the file
    data = datasets.load(name)
    x = (datasets.standardize if scale else torch.clone)(data.matrix().double())
    return x, torch.arange(len(x)) * 32 // len(x) if data.block is None else data.block % 32


def moments_of(x, groups):  # a row a mode: its share, S, K, G and their errors, the predicted order
    of, orders = (look(x, 4, groups=groups) for look in (soft_modes.mode_moments, collapse_order.predict_order))
    numbers = [(getattr(of, what), of.se(what)) for what in ("skewness", "kurtosis", "curvature")]
    order = torch.tensor([words.index(mode.order) for mode in orders])
    return torch.stack([of.eigenvalue / of.eigenvalue[0], *sum(numbers, ()), order], 1).expand(n_members, -1, -1)


# %%
x, named = real_data(dataset, standardized)[0], [(dataset, standardized), *map(str.split, more_datasets)]
keep(**{f"moments_{name}": moments_of(*real_data(name, any(scale))) for name, *scale in named})
scanned("data", x, data_ratios, **deep)
after = own.values("last_data").int().clamp_max(len(data_ratios) - 2)
keep(departure=(torch.tensor(data_ratios, **real).unfold(0, 2, 1).mean(1)[after] - 1).abs())
share = own.values(f"moments_{dataset}", 4, 8)[0, :, 0]
(fig, axis), law_rate = plt.subplots(figsize=(5.6, 3.2)), landau.one_mode_rate(grids[2][:, None] / share).sum(1)
draw_scan(axis, "data", 2), axis.plot(grids[2], law_rate, color=style.COLOR["pca"], label="linear law, four modes")
axis.set(xlabel="price $T/\\lambda_1$", ylabel="KL, nats"), axis.legend()
style.show(fig, target="fig-31-data", alt="KL of a network on real data, up and down a scan around the threshold.",
           caption=f"`{dataset}`: network of four latents, and the linear law at its eigenvalues. Down, $F$ ends up to "
                   f"{runs.words(-1e3 * kept('gap', 'data', 2).amin(1), 0)} mnat above that of the way up.")

# %% tags=["hide-input"]
claim("transition-validation", *wilson(hits, n_laws), "> 0.9", null=commonest / n_laws, repetitions=trained["repetitions"],
      data=f"{n_laws} finite laws; {dataset}", sizes={"n_laws": n_laws, "n_samples": len(x)}, trained=True,
      parts={"leading mode of real data": runs.part("departure", "< 0.05", 1 - share[1].item())},
      interval_method="Wilson over laws; Student over repetitions",
      note="share of laws with the predicted order, null: the commonest guessed; |threshold upward/λ₁ "
           "− 1|, null: the second mode. The source's own data are not at hand")
for name in sorted(of.removeprefix("moments_") for of in runs.numbers if of.startswith("moments_")):
    tell(f"| {name} | $\\lambda/\\lambda_1$ | $S$ | $K$ | $G$ | predicted |\n|---" + "|---" * 5 + "|", *(
        f"| {k} | {of:.3f} | {S:.2f} ± {dS:.2f} | {K:.2f} ± {dK:.2f} | {G:.2f} ± {dG:.2f} | {words[int(order)]} |"
        for k, (of, S, dS, K, dK, G, dG, order) in enumerate(runs.values(f"moments_{name}", 4, 8)[0].tolist(), 1)))

# %% [markdown]
# **The moments predict the order of exact laws; of real modes they decide some.** Digits leave it open, for their
# leading modes are too close to name a single soft one. Those of WorldClim and MNIST are skewed beyond their errors,
# and are predicted to jump. The network on digits loses its last mode at the largest variance, and codes far more
# than the linear law below it, on the way up more than down, at a lower loss: with several latents there are several
# states, and the scan finds more than one. What would change our mind: laws of clear skewness without a jump, or a
# scan of real data that loses its leading mode elsewhere.
#
# ## Is it a phase transition, or a failure to optimize?
#
# A transition sharpens with size. Linear VAEs of three numbers of samples and of latents are solved around the
# threshold, each in units of its own $\lambda_1$. And a collapse that were a failure to optimize would be escaped
# from other starts. From $T_{sG}$ on, the optimal sub-Gaussian proxy of the data, the collapsed state is the best
# there is.

# %%
around, data_sizes, latent_sizes = torch.arange(0.9, 1.1001, 0.02, **real), [200, 800, 3200], [2, 8, 32]


def kl_bend(n, n_latent, number):  # KL of a linear VAE on n samples: largest change of slope, slope just below λ₁
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(number), **real) * spectrum.sqrt()
    prices, covariance = around * top_share(x), datasets.covariance(x)
    slope = collapse.equilibrium(covariance, prices, n_latent, seed=number).rate.sum(1).diff() / around.diff()
    return [slope.diff().abs().max().item(), slope[4].abs().item()]


solved = repetitions.Repetitions([{} for _ in range(3)])  # three draws of the samples
for what, sizes in (("samples", data_sizes), ("latents", latent_sizes)):
    of_size = [[n, 8] if what == "samples" else [data_sizes[-1], n] for n in sizes]
    bends = torch.tensor([[kl_bend(*of, seed + i) for of in of_size] for i in range(3)], **real).log()
    powers = sharpening.log_slope(torch.tensor(sizes, **real), bends.movedim(2, 0)).T.tolist()
    [row.update({f"bend_{what}": [of[0]], f"slope_{what}": [of[1]]}) for row, of in zip(solved.rows, powers)]

# %%
def many(law, ratio):  # rates and F − F₀ of optima from random starts
    ends = [followed(law, [ratio], start="random", seed=seed + 31 * i) for i in range(n_starts)]
    return torch.tensor([[of.rate[0], nats(of)[0]] for of in ends], **real)


one_mode = [*map(spins, (0.1, 0.2, 0.3, 0.4)), *map(three, (3.0, 4.0, 6.0)), even(8)]
proxies = [collapse_stability.sub_gaussian_proxy(law.points[:, 0], law.weights) for law in one_mode]
above = torch.stack([many(law, max(proxy, 1.001)) for law, proxy in zip(one_mode, proxies)])
below = torch.stack([many(law, 0.9) for law in one_mode])
stuck = (below[..., 0] < 1e-6) | (below[..., 1] > below[..., 1].amin(1, keepdim=True) + 1e-4)
paid = [(of[..., 1] < -1e-9).sum().item() for of in (above, below)]  # the rounding of a loss is 1e-12
keep(starts=[[stuck.numel(), *paid, stuck.sum()]] * n_members)

# %% tags=["hide-input"]
counted = runs.values("starts", 4) if sweep_table else own.values("starts", 4)[:1]
n_all, escaped, paying, failed = (int(of) for of in counted.sum(0))
settled = {"sizes": {"n_samples": max(data_sizes), "n_latent": max(latent_sizes)}, "repetitions": len(solved),
           "interval_method": "Student, over draws", "data": "Gaussian samples, linear VAE by solver"}
claim("transition-is-phase-transition", *solved.stat("bend_samples"), "> 0.25", null=0.0, **settled,
      parts={"n_latent": solved.part("bend_latents", "> 0.25", 0.0)}, note="power of size in the largest bend")
claim("pruning-V-no-thermo", *solved.stat("slope_samples"), "[-0.1, 0.1]", null=0.5, **settled,
      parts={"n_latent": solved.part("slope_latents", "[-0.1, 0.1]", 0.5)}, note="power of size in the slope below")
claim("transition-not-optimisation", *wilson(escaped, n_all), "< 0.01", null=paying / n_all, repetitions=n_all,
      data="eight laws, free posterior, random starts", sizes={"n_laws": 8, "n_starts": n_all // 8},
      interval_method="Wilson", parts={"stuck at .9": evidence.Part(*wilson(failed, n_all), "< 0.05", 1.0)},
      note="share of starts at T_sG or above that end below the collapsed state; null: the same at .9 λ_max")

# %% [markdown]
# **A kink of fixed size, and no failure of optimization.** The kink of the linear case is there for one mode, one
# latent and a few samples, each data set at its own $\lambda_1$, and grows with nothing: it is the stability of one
# mode, not a collective effect. Collapse above $T_{sG}$ is the best that can be done. What would change our mind: a
# change of slope that grows with the sample, or a start that ends below the collapsed loss above $T_{sG}$.
#
# ## Check

# %% tags=["hide-output"]
assert linear_error < 1e-8  # the solver stops at a relative gradient far below
assert all(abs(value / wanted - 1) <= next_order for _, value, wanted, next_order in known)
assert abs(lowest(laws["uniform"][0], 0.98) - 2 * (1 - 1 / 0.98)) < 1e-9  # exact, up to rounding of one quadrature
assert all(of.converged.all() and of.grid_error.max() < 1e-12 for of in (*upward.values(), *downward.values()))
assert abs(areas["uniform"]) < 1e-6  # both scans end at gradients of 1e-10, the softest curvature is .02
assert areas["Bernoulli .2"] > 0.001 and paid[0] == 0  # a loop, and the bound of T_sG, which is a theorem
exact_covariance = torch.diag(torch.tensor([1.0, 0.7], **real))
assert all((datasets.covariance(of) - exact_covariance).abs().max() < 1e-9 for of in samples.values())
record(**own.numbers)

# %% [markdown]
# ## Limits
#
# - The expansion is that of one latent, population data and a fully flexible network, near threshold. A jump to a
#   distant state is outside it, and so is what several active latents do to each other's moments: modes below the
#   first are predicted as if those above told nothing of them.
# - With $K = 6$ there is a second jump, with a loop, inside the ordered state below the threshold, of which no
#   order of collapse speaks.
# - "Measured order" is to a thousandth of the price: a weaker jump counts as none. The curve of $K = 3$ and
#   $c = .22$ codes by its widths only in the last ten-thousandth below the threshold.
# - Networks here have tanh units. The ReLU network of the source, once collapsed, did not leave the collapsed state
#   on a pilot's way down, at prices where that state is no minimum. Nor did a tanh network of four latents without
#   shakes: loops that the data know nothing of.
# - The noise of batches and codes moves small rates: just below a threshold the KL of a network is not that of the
#   optimum.
# - The source's own real data are not known to us; one real set stands for them in the scan, three in the moments.
# - Rows of a file are not independent: those of MNIST alternate between two groups of writers, and every second row
#   has other moments than all. Moments here are of all rows, errors over neighbours or spatial blocks.
#
# ## Exercises
#
# 1. Two eigenvalues are equal. What is the slope of the KL just below them, and is that a jump?
# 2. Why can a width code have a rate at $m = 0$, and why is it invisible to a test that looks at posterior means?
# 3. How small must the weight decay be for a linear VAE on $s = 1.5$ to collapse without a jump?
#
# ```{dropdown} Solutions
# 1. Both modes have $\mathrm{KL} = \tfrac12\ln(\lambda/T)$, so the slope is $-1/\lambda$: twice the kink, and no
#    jump.
# 2. $z$ is drawn from a narrow law for some $x$ and a wide one for others, and the decoder reads $\lvert z\rvert$.
#    Means are zero for all $x$, so that $m$, and every order parameter made of means, is 0.
# 3. Continuous for $s^2(1 + 2l) \ge 2l(1 + l)^2$. With $s^2 = 2.25$ both sides meet between $l = 0.75$, where they
#    are 5.6 and 4.6, and $l = 1$, where they are 6.75 and 8: at $l = 0.88$.
# ```
#
# ## Sources
#
# Collapse as a phase transition: {cite}`transition`. Collapse as spectral pruning: {cite}`pruning`. Stationary
# points of linear VAEs: {cite}`lucas,tipping_bishop,dai`.
