"""From the official files of a data set to arrays: the formats, and where each file comes from.

Nothing is unpacked by the names an archive gives: only expected members are read, and written under our own names.
torchvision unpickles the CIFAR batches; it does so after their MD5 was checked, the archive's before that.
"""

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from latentlib._pictures import decode_pictures
from latentlib._source import OfficialFile, Source
from latentlib._sources import WORLDCLIM_TIFS, WORLDCLIM_URL

MAX_TIF_BYTES = 1 << 28  # a member larger than this is no 10-minute map but a decompression bomb


def official_files(source: Source) -> tuple[OfficialFile, ...]:
    """The files that hold a data set, with addresses and MD5 sums: our table's, or those of torchvision's."""
    if source.files or not source.decoder:
        return source.files
    if source.decoder == "worldclim":
        return (OfficialFile(WORLDCLIM_URL.rpartition("/")[2], (WORLDCLIM_URL,), None),)
    loader = _torchvision_class(source)
    if source.decoder == "idx":
        return tuple(OfficialFile(name, tuple(m + name for m in loader.mirrors), md5) for name, md5 in loader.resources)
    if source.decoder == "cifar":
        return (OfficialFile(loader.filename, (loader.url,), loader.tgz_md5),)
    return tuple(OfficialFile(name, (url,), md5) for url, name, md5 in map(loader.split_list.get, ("train", "test")))


def decode(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    """All arrays of a data set from its official files, which were checked before; scratch space under `work`."""
    return (decode_pictures if source.files else _DECODERS[source.decoder])(source, files, work)


def _torchvision_class(source: Source):
    import torchvision.datasets

    return getattr(torchvision.datasets, source.torchvision_class)


def _idx(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    raw = work / source.torchvision_class / "raw"
    raw.mkdir(parents=True)
    for name, path in files.items():
        with gzip.open(path) as packed, (raw / name.removesuffix(".gz")).open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    loader = _torchvision_class(source)
    return _both_splits(lambda train: loader(work, train=train))


def _cifar(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    loader = _torchvision_class(source)
    (path,) = files.values()
    (work / loader.base_folder).mkdir()
    wanted = [name for name, _ in loader.train_list + loader.test_list] + [loader.meta["filename"]]
    with tarfile.open(path) as archive:
        for name in wanted:
            member = archive.extractfile(f"{loader.base_folder}/{name}")
            if member is None:
                raise ValueError(f"{path.name}: want {name!r} to be a plain file, got a folder or a link")
            with member, (work / loader.base_folder / name).open("wb") as plain:
                shutil.copyfileobj(member, plain)
    return _both_splits(lambda train: loader(work, train=train))


def _both_splits(opened) -> dict[str, np.ndarray]:
    arrays = {}
    for split in ("train", "test"):
        images = opened(split == "train")
        arrays[f"x_{split}"], arrays[f"y_{split}"] = np.asarray(images.data), np.asarray(images.targets, np.uint8)
    return arrays


def _svhn(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for split, (name, path) in zip(("train", "test"), files.items(), strict=True):
        shutil.copyfile(path, work / name)
        images = _torchvision_class(source)(work, split=split)
        arrays[f"x_{split}"] = np.ascontiguousarray(images.data.transpose(0, 2, 3, 1))
        arrays[f"y_{split}"] = images.labels.astype(np.uint8)
    return arrays


def _usps(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    """Gray values in [0, 1]. torchvision's own loader rounds them down to 256 levels, which no fingerprint survives."""
    from sklearn.datasets import load_svmlight_file

    arrays = {}
    for split, path in zip(("train", "test"), files.values(), strict=True):
        pixels, labels = load_svmlight_file(str(path), n_features=256, zero_based=False)
        arrays[f"x_{split}"] = (pixels.toarray().astype(np.float32) + 1) / 2
        arrays[f"y_{split}"] = (labels - 1).astype(np.uint8)
    return arrays


def _worldclim(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    (path,) = files.values()
    with zipfile.ZipFile(path) as archive:
        bands, valid = zip(*(_tif(archive, path, name) for name in WORLDCLIM_TIFS), strict=True)
    shapes = {band.shape for band in bands}
    if len(shapes) > 1:
        raise ValueError(f"{path.name}: want 19 maps of one shape, got {sorted(shapes)}")
    land = np.logical_and.reduce(valid)
    return {"X": np.stack([band[land] for band in bands], 1), "landmask_packed": np.packbits(land)}


def _tif(archive: zipfile.ZipFile, path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.io import MemoryFile

    size = archive.getinfo(name).file_size
    if size > MAX_TIF_BYTES:
        raise ValueError(f"{path.name}: want {name} of at most {MAX_TIF_BYTES} bytes, got {size}")
    with MemoryFile(archive.read(name)) as memory, memory.open() as tif:
        return tif.read(1).astype(np.float32, copy=False), tif.read_masks(1) > 0


_DECODERS = {"idx": _idx, "cifar": _cifar, "svhn": _svhn, "usps": _usps, "worldclim": _worldclim}
