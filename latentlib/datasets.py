"""Data sets by name or file, verified: the same arrays from any container.

    train = datasets.load("mnist")                  # x (60000, 28, 28) uint8, y, licence, citation
    x = datasets.standardize(train.matrix())        # float64, mean 0, variance 1
    spectrum = torch.linalg.eigvalsh(datasets.covariance(x))

Lookup order: `root` if given; else the folder LATENTLIB_DATA, then LATENTLIB_CACHE (default data/cache/ of the
checkout); else a download from the official source. <folder>/<name>.npz is read, and official files lying in
<folder>/<name>/ are decoded instead of downloaded.

Arrays are verified by the SHA-256 of their bytes on every load. Where none is published (fashion_mnist, cifar100,
kmnist train, svhn train and test, all sets of pictures) the MD5 of the official archive vouches for the first
installation (for Galaxy Zoo and your own ImageNet classes names and counts do), which records the SHA-256. NumPy files
are read without pickle; torchvision unpickles CIFAR batches once archive and batch match an MD5.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from latentlib import _array_file, _install, _spatial_split
from latentlib._dataset import Dataset
from latentlib._messages import nearest
from latentlib._moments import covariance, standardize  # noqa: F401  their home for users is here
from latentlib._ood import OodSets, alike, choose
from latentlib._source import WORLDCLIM_GRID, Source
from latentlib._sources import BIOCLIMATIC_NAMES, SOURCES, WORLDCLIM_PUBLISHED_SPLIT


def load(
    name: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Dataset:
    """Data set by name, or any array file by path (.npz, .npy, .csv, .parquet).

    Names: digits, breast_cancer, mnist, fashion_mnist, kmnist, usps, cifar10, cifar100, svhn, worldclim; pictures: dtd,
    dtd10, places365, lsun_crop, lsun_resize, isun, celeba64, galaxy_zoo64, mars_mastcam, imagenette, imagenet_classes,
    photo_patches (cut from scikit-learn's two photographs).
    Splits: train and test, for some val, for some one alone; `all` joins the official ones, in this order. digits,
    breast_cancer, dtd10 and photo_patches have no official split: train is all of them. svhn has `crops` too, in no
    download: 10 000 digits cut from the format-1 pictures. worldclim has train, val, test: whole 500 km equal-area
    blocks drawn with `seed`, sized as the published split; the split is our own, see `note`.
    x: images uint8 (n, 28, 28) or (n, side, side, 3); mars_mastcam float32 (n, 64, 64, 6); usps float32 (n, 256) in
    [0, 1]; digits float32 (n, 64) in 0…16; tables float32. `size`: side of the pictures, by default 32 or 64, see
    catalogue(); `note` says how they were cut and resized. A file keeps float32, float64 and uint8, other numbers
    become float32; its x is the array x, X, x_<split> or the only one, its y the array or column y, as it is.
    Raises: ValueError for an unknown name, split or size, or a truncated, corrupt or wrong file, with expected and
    found value; FileNotFoundError if nothing holds the split, with all that was found, why a download failed, and for
    sets that must be fetched by hand which file to put where.
    """
    if str(name) not in SOURCES:
        return _load_file(name, split, size)
    source = SOURCES[str(name)].sized(size)
    _check_split(source, split)
    if source.decoder == "sklearn":
        return _embedded(source, split)
    if source.decoder == "worldclim":
        return _worldclim(source, split, seed, root, download)
    arrays = [_install.arrays(source, part, root, download) for part in source.parts(split)]
    x, *more = (np.concatenate(pair) if len(pair) > 1 else pair[0] for pair in zip(*arrays, strict=True))
    y = more[0] if more else None
    if y is not None and y.ndim > 1:
        return _dataset(source, split, x, None, note=source.describe(), votes=torch.from_numpy(y))
    names = tuple(name.decode() for name in more[1]) if len(more) > 1 else ()
    return _dataset(source, split, x, y, note=source.describe(), class_names=names)


def load_ood(
    ood_sets: Sequence[str],
    *,
    size: int = 32,
    channels: int = 3,
    n_max: int | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    download: bool = True,
    missing: str = "raise",
) -> OodSets:
    """Images (n, channels, size, size), float32 in [0, 1], of every named set: what a detector is to find unusual.

    A name stands for the split that serves by custom (dtd: all; places365, imagenette: val; most others: test), and
    "svhn:crops" names a split. Pictures are decoded to `size` by the rule of their set, arrays of another side resized;
    gray becomes RGB and, for channels=1, RGB gray; OodSets.rules says which. `n_max`: at most so many samples of a
    set, drawn with `seed` without repetition, in their official order. `missing`: "raise", or "skip" a set whose
    files are not here, with the reason in OodSets.absent.
    Raises: ValueError for an unknown name, split or option, or a set that is no images of 1 or 3 channels, or what
    load raises for a wrong file; FileNotFoundError, with every set that is missing and why.
    """
    if missing not in ("raise", "skip"):
        raise ValueError(f"load_ood: want missing 'raise' or 'skip', got {missing!r}")
    if size < 1 or (n_max is not None and n_max < 1):
        raise ValueError(f"load_ood: want size ≥ 1 and n_max ≥ 1 or None, got {size} and {n_max}")
    if isinstance(ood_sets, str):
        raise ValueError(f"load_ood: want a sequence of names, got the string {ood_sets!r}")
    found = OodSets({}, {}, {})
    for name in ood_sets:
        known, _, split = name.partition(":")
        source = _source(known)
        own = size if source.crop is not None else None  # arrays that have a size of their own are resized below
        try:
            data = load(known, split or source.ood_split, size=own, root=root, download=download)
        except FileNotFoundError as error:
            found.absent[name] = str(error)
            continue
        rows = choose(len(data), n_max, seed)
        try:
            found.images[name], said = alike(replace(data, x=data.x[rows]).images(), size, channels)
        except ValueError as error:
            raise ValueError(f"load_ood: {name}: {error}") from error
        share = f"{len(rows)} of {len(data)} samples of split {data.split!r}"
        found.rules[name] = "; ".join(filter(None, [share, data.note, *said]))
    if found.absent and missing == "raise":
        raise FileNotFoundError("; ".join(found.absent.values()))
    return found


def catalogue(root: str | Path | None = None) -> list[dict[str, str]]:
    """A row per data set: name, n_samples by split, shape of a sample, where (files found), source, licence."""
    return [
        {
            "name": source.name,
            "n_samples": ", ".join(f"{split} {count or 'as listed'}" for split, count in source.n.items()),
            "shape": " × ".join(map(str, source.shape)),
            "where": _where(source, root),
            "source": source.homepage,
            "licence": source.licence,
        }
        for source in SOURCES.values()
    ]


def check(name: str, root: str | Path | None = None, *, size: int | None = None) -> dict[str, dict[str, str]]:
    """Verify every archive of a set that is there: file → array → SHA-256 found, which is the one expected.

    Raises: ValueError at the first truncated, corrupt or wrong array; FileNotFoundError if there is no archive.
    """
    source = _source(name).sized(size)
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


def install(name: str, root: str | Path | None = None, *, size: int | None = None) -> Path | None:
    """Download (or take from <folder>/<name>/), verify and decode a set; the installed archive, None if embedded.

    Raises: ValueError for an unknown name, a size it cannot have or a wrong file; FileNotFoundError for a file that
    must be put there by hand; ConnectionError if a download fails.
    """
    source = _source(name).sized(size)
    return None if source.decoder == "sklearn" else _install.install(source, root)


def _where(source: Source, root: str | Path | None) -> str:
    if source.decoder == "sklearn":
        return "in scikit-learn"
    by_hand = [file.name for file in source.files if not file.urls]
    absent = f"not here; by hand: {', '.join(by_hand)}" if by_hand else "not here"
    return ", ".join(map(str, _install.archives(source, root))) or absent


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"want the name of a data set, got {name!r}; {nearest(name, SOURCES)}")
    return SOURCES[name]


def _check_split(source: Source, split: str) -> None:
    own = WORLDCLIM_PUBLISHED_SPLIT if source.decoder == "worldclim" else source.n
    splits = dict.fromkeys([*own, "all"])
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
    rows, columns, sizes = _spatial_split.world_split(
        np.unpackbits(packed).reshape(WORLDCLIM_GRID), split, WORLDCLIM_PUBLISHED_SPLIT, seed
    )
    known = "/".join(map(str, WORLDCLIM_PUBLISHED_SPLIT.values()))
    return _dataset(
        source, split, x[rows], None, feature_names=BIOCLIMATIC_NAMES,
        note=f"our own split by 500 km equal-area blocks, seed {seed}: {sizes} cells of {len(x)}; published: {known}",
        **{key: torch.from_numpy(values) for key, values in columns.items()},
    )


def _load_file(name: str | Path, split: str, size: int | None) -> Dataset:
    path = Path(name).expanduser()
    if path.suffix not in _array_file.SUFFIXES:
        files = ", ".join(_array_file.SUFFIXES)
        hint = nearest(str(name), SOURCES)
        raise ValueError(f"want the name of a data set or a file ({files}), got {str(name)!r}; {hint}")
    if size is not None:
        raise ValueError(f"{path.name}: want size None, a file has arrays of one size, got {size}")
    x, y = _array_file.read_array_file(path, split)
    labels = None if y is None else torch.from_numpy(y)
    return Dataset(path.stem, split, torch.from_numpy(np.ascontiguousarray(x)), labels, note=f"file {path.name}")
