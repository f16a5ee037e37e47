"""Data sets by name or file, verified: the same arrays from any container.

    train = datasets.load("mnist")                  # x (60000, 28, 28) uint8, y, licence, citation
    x = datasets.standardize(train.matrix())        # float64, mean 0, variance 1
    spectrum = torch.linalg.eigvalsh(datasets.covariance(x))

Lookup order: `root` if given; else the folder LATENTLIB_DATA, then LATENTLIB_CACHE (default data/cache/ of the
checkout); else a download from the official source. <folder>/<name>.npz is read, and official files lying in
<folder>/<name>/ are decoded instead of downloaded.

Arrays are verified by the SHA-256 of their bytes on every load. Where none is published (fashion_mnist, cifar100,
kmnist train, svhn train and test) the MD5 of the official archive vouches for the first installation, which records the
SHA-256. NumPy files are read without pickle; torchvision unpickles CIFAR batches once archive and batch match an MD5.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlib import _array_file, _install, _spatial_split
from latentlib._messages import nearest
from latentlib._sources import BIOCLIMATIC_NAMES, SOURCES, WORLDCLIM_GRID, WORLDCLIM_PUBLISHED_SPLIT, Source


@dataclass(frozen=True)
class Dataset:
    """Samples x (n_samples, ...), uint8 or floating, in the official order; labels y (n_samples,), int64, or None.

    WorldClim also has per sample: `weights` = cos(latitude), the relative area of a cell; `latitude`, `longitude` in
    degrees; `block`, the number of its 500 km equal-area block (the unit for a bootstrap). float64; block int64.
    """

    name: str
    split: str
    x: Tensor
    y: Tensor | None = None
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    note: str = ""
    feature_names: tuple[str, ...] = ()
    weights: Tensor | None = None
    latitude: Tensor | None = None
    longitude: Tensor | None = None
    block: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of x, samples first."""
        return tuple(self.x.shape)

    def matrix(self) -> Tensor:
        """x as a floating (n_samples, n_features) matrix; uint8 gray levels become [0, 1] float32."""
        flat = self.x.flatten(1)
        return flat.float() / 255 if flat.dtype == torch.uint8 else flat

    def images(self) -> Tensor:
        """x as floating images (n_samples, channels, height, width), uint8 scaled to [0, 1], as ConvVAE wants them."""
        if self.x.ndim not in (3, 4):
            raise ValueError(f"{self.name}: want images (n, height, width[, channels]), got x of shape {self.shape}")
        pixels = self.x.float() / 255 if self.x.dtype == torch.uint8 else self.x
        return pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()


def load(
    name: str | Path, split: str = "train", *, root: str | Path | None = None, seed: int = 0, download: bool = True
) -> Dataset:
    """Data set by name, or any array file by path (.npz, .npy, .csv, .parquet).

    Names: digits, breast_cancer, mnist, fashion_mnist, kmnist, usps, cifar10, cifar100, svhn, worldclim.
    Splits: train and test; `all` joins them. digits and breast_cancer have no official split: train is all of them.
    svhn has `crops` too, in no download: 10 000 digits cut from the format-1 pictures. worldclim has train, val, test:
    whole 500 km equal-area blocks drawn with `seed`, sized as the published split; the split is our own, see `note`.
    x: images uint8 (n, 28, 28) or (n, 32, 32, 3); usps float32 (n, 256) in [0, 1]; digits float32 (n, 64) in 0…16;
    tables float32. A file keeps float32, float64 and uint8, other numbers become float32; its x is the array x, X,
    x_<split> or the only one, its y the array or column y, as it is.
    Raises: ValueError for an unknown name or split, or a truncated, corrupt or wrong file, with expected and found
    value; FileNotFoundError if nothing holds the split, with all that was found and why a download failed.
    """
    if str(name) not in SOURCES:
        return _load_file(name, split)
    source = SOURCES[str(name)]
    _check_split(source, split)
    if source.decoder == "sklearn":
        return _embedded(source, split)
    if source.decoder == "worldclim":
        return _worldclim(source, split, seed, root, download)
    parts = [part for part in ("train", "test") if split in (part, "all")] or [split]
    arrays = [_install.arrays(source, part, root, download) for part in parts]
    x, y = (np.concatenate(pair) if len(pair) > 1 else pair[0] for pair in zip(*arrays, strict=True))
    return _dataset(source, split, x, y)


def catalogue(root: str | Path | None = None) -> list[dict[str, str]]:
    """A row per data set: name, n_samples by split, shape of a sample, where (files found), source, licence."""
    return [
        {
            "name": source.name,
            "n_samples": ", ".join(f"{split} {count}" for split, count in source.n.items()),
            "shape": " × ".join(map(str, source.shape)),
            "where": _where(source, root),
            "source": source.homepage,
            "licence": source.licence,
        }
        for source in SOURCES.values()
    ]


def check(name: str, root: str | Path | None = None) -> dict[str, dict[str, str]]:
    """Verify every archive of a set that is there: file → array → SHA-256 found, which is the one expected.

    Raises: ValueError at the first truncated, corrupt or wrong array; FileNotFoundError if there is no archive.
    """
    source = _source(name)
    if source.decoder == "sklearn":
        found = {"scikit-learn": _install.embedded_arrays(source)[0]}
    else:
        paths = _install.archives(source, root)
        found = {str(p): _install.read_arrays(source, p, tuple(_install.archive_keys(p))) for p in paths}
    if not found:
        raise FileNotFoundError(_install.missing(source, "any", root))
    return {
        where: {key: _install.fingerprint(array) for key, array in arrays.items()} for where, arrays in found.items()
    }


def install(name: str, root: str | Path | None = None) -> Path | None:
    """Download (or take from <folder>/<name>/), verify and decode a set; the installed archive, None if embedded."""
    source = _source(name)
    return None if source.decoder == "sklearn" else _install.install(source, root)


def standardize(x: Tensor, *, train: Tensor | None = None) -> Tensor:
    """z = (x − mean) / std, column by column, with the mean and maximum-likelihood std of `train` (default: x itself).

    A column that is constant in `train` is centred and not scaled: it stays 0, and adds nothing to a spectrum, where
    dividing by its rounding error would make it noise of variance 1. Args: (n_samples, n_features), finite; uint8 too.
    Returns: float64, same shape. Raises: ValueError for another shape, no samples, or a value that is not finite.
    """
    reference = x if train is None else train
    _check_matrix("x", x)
    _check_matrix("train", reference)
    if x.shape[1] != reference.shape[1]:
        raise ValueError(f"standardize: want {reference.shape[1]} columns as in train, got {x.shape[1]}")
    reference = reference.double()
    std = reference.std(0, correction=0)
    # Exactly constant: the variance of equal numbers is not always 0 in floating point.
    constant = reference.amax(0) == reference.amin(0)
    mean = torch.where(constant, reference[0], reference.mean(0))
    return (x.double() - mean) / torch.where(constant, 1.0, std)


def covariance(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """C = Σ_i w_i (x_i − x̄)(x_i − x̄)ᵀ / Σ_i w_i, x̄ the weighted mean: maximum likelihood, divided by N, not N − 1.

    Args: x, (n_samples, n_features), finite, any real dtype; weights, (n_samples,), non-negative, default 1 each.
    Returns: float64 (n_features, n_features), exactly symmetric. Raises: ValueError for other shapes or values.
    """
    _check_matrix("x", x)
    weights = torch.ones(len(x), dtype=torch.float64, device=x.device) if weights is None else weights.double()
    if weights.shape != (len(x),) or not (weights >= 0).all() or not 0 < weights.sum() < torch.inf:
        raise ValueError(f"covariance: want {len(x)} weights, finite, ≥ 0, not all 0, got shape {tuple(weights.shape)}")
    share = weights / weights.sum()
    # In slices of rows: a float64 copy of all images of a large set would not fit.
    slices = [slice(start, start + 8192) for start in range(0, len(x), 8192)]
    mean = sum(share[rows] @ x[rows].double() for rows in slices)
    total = sum((centred := x[rows].double() - mean).T @ (share[rows, None] * centred) for rows in slices)
    return (total + total.T) / 2


def _where(source: Source, root: str | Path | None) -> str:
    if source.decoder == "sklearn":
        return "in scikit-learn"
    return ", ".join(map(str, _install.archives(source, root))) or "not here"


def _check_matrix(name: str, x: Tensor) -> None:
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name}: want (n_samples > 0, n_features > 0), got {tuple(x.shape)}")
    if not x.isfinite().all():
        row, column = (~x.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}: want finite values, got {x[row, column]} in row {row}, column {column}")


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"want the name of a data set, got {name!r}; {nearest(name, SOURCES)}")
    return SOURCES[name]


def _check_split(source: Source, split: str) -> None:
    splits = [*WORLDCLIM_PUBLISHED_SPLIT, "all"] if source.decoder == "worldclim" else [*source.n, "all"]
    if split not in splits:
        raise ValueError(f"{source.name}: want split {' or '.join(map(repr, splits))}, got {split!r}")


def _dataset(source: Source, split: str, x: np.ndarray, y: np.ndarray | None, **more) -> Dataset:
    labels = None if y is None else torch.from_numpy(y.astype(np.int64))
    facts = {"licence": source.licence, "citation": source.citation, "homepage": source.homepage}
    return Dataset(source.name, split, torch.from_numpy(x), labels, **facts, **more)


def _embedded(source: Source, split: str) -> Dataset:
    arrays, names = _install.embedded_arrays(source)
    return _dataset(source, split, arrays["x"], arrays["y"], feature_names=names, note="no official split: all samples")


def _worldclim(source: Source, split: str, seed: int, root: str | Path | None, download: bool) -> Dataset:
    x, packed = _install.arrays(source, "all", root, download)
    latitude, longitude = _spatial_split.cells(np.unpackbits(packed).reshape(WORLDCLIM_GRID))
    block = _spatial_split.equal_area_blocks(latitude, longitude)
    parts = _spatial_split.split_blocks(block, WORLDCLIM_PUBLISHED_SPLIT, seed)
    rows = np.arange(len(x)) if split == "all" else parts[split]
    own = "/".join(str(len(part)) for part in parts.values())
    published = "/".join(map(str, WORLDCLIM_PUBLISHED_SPLIT.values()))
    columns = {"latitude": latitude, "longitude": longitude, "weights": np.cos(np.radians(latitude)), "block": block}
    return _dataset(
        source, split, x[rows], None, feature_names=BIOCLIMATIC_NAMES,
        note=f"our own split by 500 km equal-area blocks, seed {seed}: {own} cells of {len(x)}; published: {published}",
        **{key: torch.from_numpy(values[rows]) for key, values in columns.items()},
    )


def _load_file(name: str | Path, split: str) -> Dataset:
    path = Path(name).expanduser()
    if path.suffix not in _array_file.SUFFIXES:
        files = ", ".join(_array_file.SUFFIXES)
        hint = nearest(str(name), SOURCES)
        raise ValueError(f"want the name of a data set or a file ({files}), got {str(name)!r}; {hint}")
    x, y = _array_file.read_array_file(path, split)
    x = x if x.dtype in (np.float32, np.float64, np.uint8) else x.astype(np.float32)
    if not np.isfinite(x).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"{path.name}: want finite values, got {x[first]} at {first}")
    labels = None if y is None else torch.from_numpy(y)
    return Dataset(path.stem, split, torch.from_numpy(np.ascontiguousarray(x)), labels, note=f"file {path.name}")
