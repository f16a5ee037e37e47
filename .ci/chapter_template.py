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
# (ch-NUMBER)=
# # TITLE: uniform directions overlap as chance has it
#
# % A line that begins with a percent sign is not shown in the book. These say what belongs where: replace text and code
# % cell by cell, and delete them. The title states the finding.
#
# **Question.** Do directions drawn uniformly on the sphere overlap more than chance?
#
# **Answer.** No: their overlaps follow the exact law in every bin, and their susceptibility is one.
#
# **Takes** seconds on one thread of a laptop and less than a gigabyte of memory.

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from latentlib import overlap, record, sphere, style

# %% tags=["parameters"]
n_samples: int = 2000  # directions drawn, 100 … 20000
n_latent: int = 16  # dimensions of the latent space, 2 … 512
n_bins: int = 40  # bins of the overlap histogram, 10 … 200
seed: int = 0  # of every random number in this chapter

# %% [markdown]
# ## The answer is known
#
# % First the calibration, a case with a known answer; then the network. Each step is a claim, the code that computes
# % it, one figure, and a sentence that reads the figure.
#
# The overlap $q$ of two independent uniform directions in $n$ dimensions has the density
#
# $$
# p(q) = \frac{\Gamma(n/2)}{\sqrt\pi\,\Gamma((n-1)/2)}\,(1 - q^2)^{(n-3)/2} ,
# $$ (eq-NUMBER-null)
#
# with mean 0 and variance $1/n$, so that the susceptibility $\chi = n\operatorname{Var}q$ is exactly 1.

# %%
style.use()


def directions(n):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_samples, n, generator=generator, dtype=torch.float64)


z = directions(n_latent)
moments = overlap.overlap_moments(z)
record(chi=moments.chi, chi_se=moments.chi_se)

# %% tags=["hide-input"]
def draw(n):
    fig, axis = plt.subplots()
    histogram = overlap.overlap_histogram(directions(n), n_bins=n_bins)
    exact = sphere.uniform_sphere_probability(histogram.edges, n) / histogram.edges.diff()
    axis.stairs(exact, histogram.edges, color=style.COLOR["null"], lw=4, label="exact law")
    return label(fig, axis, histogram)


def label(fig, axis, histogram):
    axis.stairs(histogram.density, histogram.edges, color=style.COLOR["overlap"], label="all pairs")
    axis.set(xlabel="overlap $q$", ylabel="density $P(q)$", xlim=(-1, 1), ylim=(0, None))
    fig.legend(loc="outside upper center", ncols=2)
    return fig


alt = f"Histogram of the overlaps of all pairs in {n_latent} dimensions: it lies on the exact law."
caption = "Overlaps of uniform directions: the histogram of all pairs on the exact law."
style.show(draw(n_latent), alt=alt, caption=caption, target="fig-NUMBER-null")

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown(
    f"Over {n_samples} directions in {n_latent} dimensions $\\chi$ is {moments.chi:.4f} ± {moments.chi_se:.4f} "
    f"(jackknife over directions), where {{eq}}`eq-NUMBER-null` has 1."
))

# %% [markdown]
# ## Every bin agrees, with an error bar that is exact too
#
# % A null beside every statistic, and an error bar on every estimate: over points, never over pairs.
#
# The overlaps of uniform directions are independent in pairs, even where two pairs share a direction. So the count of a
# bin has the variance of a binomial, $N_p\,p(1-p)$ for $N_p$ pairs.

# %%
histogram = overlap.overlap_histogram(z, n_bins=n_bins)
probability = sphere.uniform_sphere_probability(histogram.edges, n_latent)
expected = histogram.n_pairs * probability
filled = expected >= 25  # where a count is near enough to normal
deviation = ((histogram.count - expected) / (expected * (1 - probability)).sqrt())[filled]
record(worst_bin=deviation.abs().max())

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown(
    f"Of the {int(filled.sum())} bins that expect 25 pairs or more, none departs from the exact law by more than "
    f"{deviation.abs().max():.2f} standard errors; their mean square is "
    f"{deviation.square().mean():.2f}, where chance has 1."
))

# %% [markdown]
# ## More dimensions, smaller overlaps
#
# % One slider, whose frames the site keeps, and one live control that draws the same figure in Jupyter.

# %% tags=["hide-input"]
sizes = [2, 3, 4, 8, 16, 32, 64]
style.slider(
    map(draw, sizes), [str(n) for n in sizes], "dimensions", target="fig-NUMBER-dimensions",
    alt="Histogram of the overlaps of all pairs on the exact law, narrower in more dimensions.",
    caption="The same law as the dimension $n$ grows: at 3 it is flat, then it narrows as $1/\\sqrt{n}$.",
)

# %% tags=["live"]
style.live(draw, n=(2, 128, 1), alt="Histogram of the overlaps at the chosen dimension, on the exact law.")

# %%
by_size = {n: overlap.overlap_moments(directions(n)) for n in sizes}

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown("\n".join([
    "| dimensions | $\\chi$ from all pairs | exact |\n|---|---|---|",
    *(f"| {n} | {of.chi:.4f} ± {of.chi_se:.4f} | 1 |" for n, of in by_size.items()),
])))

# %% [markdown]
# ## Check
#
# % Exact where an exact value exists, else within a tolerance that is derived.

# %%
assert histogram.n_pairs == n_samples * (n_samples - 1) // 2
assert abs(probability.sum() - 1) <= 1e-12
assert deviation.abs().max() <= 5  # standard errors; chance passes 5 in fewer than one of 10,000 chapters
assert all(abs(of.chi - 1) <= 5 * of.chi_se for of in by_size.values())  # jackknife over directions

# %% [markdown]
# ## Limits
#
# - Uniform directions only: no data and no network. What a network does differently is measured against this.
#
# ## Exercises
#
# 1. Add one vector to all codes. Does $\chi$ see it, or the mean overlap?

# %% tags=["hide-cell"]
shifted = overlap.overlap_moments(z + 0.5)
display(Markdown(
    f"1. The mean overlap sees it first: {shifted.q_mean:.3f} ± {shifted.q_mean_se:.3f} instead of 0, where $\\chi$ "
    f"becomes {shifted.chi:.2f} ± {shifted.chi_se:.2f}."
))

# %% [markdown]
# ## Sources
#
# Overlaps of latent codes and their susceptibility: {cite}`phase`. The law of uniform directions is textbook geometry.
