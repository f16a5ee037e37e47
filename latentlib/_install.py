"""Finding, checking and installing the arrays of a data set: a file is whole and verified, or it is refused by name."""

import hashlib
import json
import os
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from latentlib._decode import decode, official_files
from latentlib._pictures import cut_patches, wnids
from latentlib._source import OfficialFile, Source

BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, ValueError, OSError, EOFError, AssertionError, KeyError,
    RuntimeError,
)  # fmt: skip
PROJECT = Path(__file__).resolve().parent.parent


def cache_folder(root: str | Path | None = None) -> Path:
    """Where sets are installed: `root`, LATENTLIB_CACHE, data/cache of the checkout, or the user's cache."""
    if root is not None or os.environ.get("LATENTLIB_CACHE"):
        return Path(root or os.environ["LATENTLIB_CACHE"]).expanduser()
    if (PROJECT / "pyproject.toml").is_file():
        return PROJECT / "data" / "cache"
    import pooch

    return Path(pooch.os_cache("latentlib"))


def folders(root: str | Path | None = None) -> list[Path]:
    """Where archives are looked for, in order: `root` alone if it is given, else LATENTLIB_DATA, then the cache."""
    shared = os.environ.get("LATENTLIB_DATA") if root is None else None
    return [Path(shared).expanduser(), cache_folder()] if shared else [cache_folder(root)]


def archives(source: Source, root: str | Path | None = None) -> list[Path]:
    """The archives of a data set that are there, in the order of lookup."""
    names = (f"{source.archive or source.name}.npz", *source.other_archives)
    return [folder / name for folder in folders(root) for name in names if (folder / name).is_file()]


def fingerprint(array: np.ndarray) -> str:
    """SHA-256 of the array's bytes in C order: the same from any container."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def archive_keys(path: Path) -> list[str]:
    """Names of the arrays in an archive. Raises ValueError, naming the file, for a truncated or foreign file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except (*BROKEN, AttributeError) as error:  # AttributeError: a single .npy under the name .npz has no .files
        raise ValueError(f"{path.name}: want a NumPy archive, got a truncated or foreign file ({error})") from error


def read_arrays(source: Source, path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays `keys` of an archive, each checked against shape, dtype and fingerprint."""
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in keys:
                arrays[key] = archive[key]
    except BROKEN as error:
        message = f"{path.name}: array {key!r}: want a whole file, got a truncated or corrupt one ({error})"
        raise ValueError(message) from error
    expected = _recorded_fingerprints(path) | source.fingerprints
    for key, array in arrays.items():
        check_array(source, path.name, key, array, expected.get(key))
    return arrays


def check_array(source: Source, file: str, key: str, array: np.ndarray, expected: str | None) -> None:
    """Refuse an array of the wrong shape, dtype or content, with expected and found value."""
    shape, dtype = source.layout(key)
    fits = len(array.shape) == len(shape) and all(want in (None, n) for want, n in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != np.dtype(dtype):
        found = f"{array.shape} and {array.dtype}"
        raise ValueError(f"{file}: array {key!r}: expected shape {shape} and {dtype}, found {found}")
    if expected is None:
        raise ValueError(
            f"{file}: array {key!r}: expected a fingerprint, found none published for {source.name} and none recorded "
            f"beside the file; put the official files {_names(source)} into a folder {source.name}/ there instead"
        )
    found = fingerprint(array)
    if found != expected:
        raise ValueError(f"{file}: array {key!r}: expected SHA-256 {expected}, found {found}: corrupt, or another set")


def _names(source: Source) -> str:
    return ", ".join(file.name for file in official_files(source))


def _record(path: Path) -> Path:
    return path.with_suffix(".sha256.json")


def _recorded_fingerprints(path: Path) -> dict[str, str]:
    """Fingerprints that an installation wrote beside its archive; published ones are never overruled by them."""
    record = _record(path)
    if not record.is_file():
        return {}
    try:
        return dict(json.loads(record.read_text()))
    except (ValueError, TypeError) as error:
        message = f"{record.name}: want a table of fingerprints, got {error}; remove {path.name} and load again"
        raise ValueError(message) from error


def install(source: Source, root: str | Path | None = None, download: bool = True) -> Path:
    """Fetch, verify and decode the official files, and leave <name>.npz in the cache: whole, or not at all.

    Raises: FileNotFoundError if a file lies nowhere and may not or cannot be fetched; ConnectionError if fetching
    fails; ValueError for a file or a content that is not the expected one.
    """
    _check_provided(source, root, download)
    cache = cache_folder(root)
    cache.mkdir(parents=True, exist_ok=True)
    # All scratch work, the download too, lies in a folder of its own: a crash leaves nothing that a later load reads.
    with tempfile.TemporaryDirectory(prefix=f"{source.name}-", suffix=".partial", dir=cache) as scratch:
        work = Path(scratch)
        files = {file.name: _provide(source, file, work, root) for file in official_files(source)}
        try:
            arrays = decode(source, files, work)
        except BROKEN as error:
            raise ValueError(f"{source.name}: {', '.join(files)} cannot be decoded: {error}") from error
        prints = {key: fingerprint(array) for key, array in arrays.items()}
        for key, array in arrays.items():
            check_array(source, ", ".join(files), key, array, source.fingerprints.get(key, prints[key]))
        return _put(work, cache / f"{source.archive or source.name}.npz", arrays, prints)


def _put(work: Path, target: Path, arrays: dict[str, np.ndarray], prints: dict[str, str]) -> Path:
    np.savez(work / target.name, **arrays)
    _record(work / target.name).write_text(json.dumps(prints, indent=1))
    # The record first: alone it means nothing, while an archive without its record would not be verified.
    for name in (_record(target).name, target.name):
        with (work / name).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(work / name, target.with_name(name))
    return target


def _check_provided(source: Source, root: str | Path | None, download: bool) -> None:
    """Refuse an installation for which a file is missing, before anything is fetched or written."""
    files = official_files(source)
    absent = [file for file in files if not (_place(source, file, root) or (download and file.urls))]
    if absent or not files:
        names = ", ".join(" or ".join(filter(None, (file.name, file.also))) for file in absent)
        where = " or ".join(str(folder / source.name) for folder in folders(root))
        by_hand = f"put {names} from {source.homepage} into {where}" if absent else "the set is in no download"
        raise FileNotFoundError(f"{source.name}: {by_hand}")


def _place(source: Source, file: OfficialFile, root: str | Path | None) -> Path | None:
    """The official file where someone put it: <folder>/<set>/<file>."""
    names = filter(None, (file.name, file.also))
    paths = [folder / source.name / name for name in names for folder in folders(root)]
    return next((path for path in paths if path.is_file()), None)


def _provide(source: Source, file: OfficialFile, work: Path, root: str | Path | None) -> Path:
    """The official file where someone put it, else downloaded; its MD5 is checked."""
    if path := _place(source, file, root):
        _check_md5(path, file.md5)
        return path
    failures = []
    for url in file.urls:
        try:
            return _download(url, file, work)
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
    raise ConnectionError(f"{source.name}: {file.name} could not be downloaded: {'; '.join(failures)}")


def _download(url: str, file: OfficialFile, work: Path) -> Path:
    import pooch

    known = None if file.md5 is None else f"md5:{file.md5}"
    pooch.get_logger().setLevel("WARNING")  # its messages advise on an API that our users do not see
    fetch = pooch.HTTPDownloader(progressbar=True, timeout=30)
    return Path(pooch.retrieve(url, known, fname=file.name, path=work / "download", downloader=fetch))


def _check_md5(path: Path, expected: str | None) -> None:
    if expected is None:  # nothing is published; the fingerprints of the decoded arrays decide
        return
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        found = digest.hexdigest()
        raise ValueError(f"{path.name}: expected MD5 {expected}, found {found}: truncated, or another file")


def arrays(source: Source, split: str, root: str | Path | None, download: bool) -> tuple[np.ndarray, ...]:
    """The arrays of one split from the first archive that holds them, which an installation may have to write."""
    keys = source.keys(split)
    for path in archives(source, root):
        if set(keys) <= set(archive_keys(path)):
            found = tuple(read_arrays(source, path, keys).values())
            if "wnids" in keys:
                _check_list(source, path, found[keys.index("wnids")], root)
            return found
    if split == "crops":
        raise FileNotFoundError(missing(source, split, root))
    try:
        path = install(source, root, download)
    except (ConnectionError, FileNotFoundError) as error:
        raise FileNotFoundError(f"{missing(source, split, root)}; {error}") from error
    return tuple(read_arrays(source, path, keys).values())


def _check_list(source: Source, path: Path, installed: np.ndarray, root: str | Path | None) -> None:
    """Refuse an archive of other classes than the list that lies in the folder names now."""
    listed = _place(source, source.files[0], root)
    found = [name.decode() for name in installed]
    if listed is not None and wnids(listed) != found:
        raise ValueError(f"{path.name}: want the classes {wnids(listed)} of {listed}, got {found}; remove {path.name}")


def missing(source: Source, split: str, root: str | Path | None) -> str:
    """The message for a split that is nowhere: what was found, and where it was looked for."""
    there = [f"{path} holds {_splits(source, path)}" for path in archives(source, root)]
    looked = ", ".join(str(folder) for folder in folders(root))
    hint = "" if root is not None or os.environ.get("LATENTLIB_DATA") else " (LATENTLIB_DATA is not set)"
    return f"{source.name}: want split {split!r}, got {'; '.join(there) or 'no archive'} in {looked}{hint}"


def embedded_arrays(source: Source) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Arrays and feature names of a set that scikit-learn carries."""
    import sklearn.datasets

    if source.name == "photo_patches":
        arrays, names = cut_patches(sklearn.datasets.load_sample_images().images, source.shape[0]), ()
    else:
        bunch = getattr(sklearn.datasets, f"load_{source.name}")()
        arrays = {"x": np.ascontiguousarray(bunch.data, np.float32), "y": bunch.target.astype(np.uint8)}
        names = tuple(map(str, bunch.feature_names))
    for key, array in arrays.items():
        # Builds of libjpeg differ by a gray level here and there: of what they decoded, only the layout is known.
        check_array(source, "scikit-learn", key, array, source.fingerprints.get(key, fingerprint(array)))
    return arrays, names


def _splits(source: Source, path: Path) -> str:
    keys = set(archive_keys(path))
    return ", ".join(split for split in source.n if set(source.keys(split)) <= keys) or "other arrays"
