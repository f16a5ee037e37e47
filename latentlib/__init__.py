"""latentlib: five instruments on the phases of autoencoder latent spaces.

Modules load on first use, so `import latentlib` costs almost nothing and needs torch, numpy and scipy alone:

    from latentlib import collapse, overlap, angles, vector_field, fisher
    scan = collapse.equilibrium(covariance, prices, n_latent=8)
"""

from importlib import import_module

__version__ = "0.1.0"

MODULES = (
    "angle_law", "angles", "annealing", "anomaly_scores", "artefacts", "audit", "bench", "bingham", "block_spin",
    "class_overlap", "cluster", "cluster_stability", "collapse", "collapse_order", "collapse_stability", "compression",
    "critical_points", "datasets", "dependence", "detection", "directional", "edge", "encoding", "ensemble",
    "ensemble_reading", "equilibrium", "evidence", "feature_network", "finite_law", "finite_size", "fisher", "frechet",
    "functional", "generation", "hyperspherical", "interval", "ising", "kac_rice", "landau", "landscape", "langevin",
    "langevin_fit", "latent_mixture", "ledger", "loss_balance", "minima", "models", "neighbors", "nulls", "observables",
    "onsager", "overlap", "phase", "price_scan", "pspin", "rank_correlation", "repetitions", "replica_symmetric",
    "residual_vae", "response", "semicircle", "sharpening", "soft_modes", "sphere", "style", "suggestion", "sweep",
    "taylor", "torus", "train", "training_force", "transfer_matrix", "ultrametric", "vector_field", "vmf",
    "vmf_mixture",
)  # fmt: skip
# The few names every chapter uses, each with its one home.
NAMES = {"record": "ledger", "claim": "ledger", "harvest": "ledger"}

__all__ = [*MODULES, *NAMES]


def __getattr__(name: str):
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    if name in NAMES:
        return getattr(import_module(f"{__name__}.{NAMES[name]}"), name)
    raise AttributeError(f"latentlib has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
