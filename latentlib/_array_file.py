"""Arrays from a file of the user: .npz, .npy, .csv or .parquet."""

from pathlib import Path

import numpy as np

SUFFIXES = (".npz", ".npy", ".csv", ".parquet")


def read_array_file(path: Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """x (float32, float64 or uint8, finite) and, where the file has one, y.

    Raises: FileNotFoundError, or ValueError with what the file holds instead.
    """
    if not path.is_file():
        raise FileNotFoundError(f"want an array file, got {str(path)!r}, which is not there")
    if path.suffix in (".csv", ".parquet"):
        x, y = _table(path)
    else:
        x, y = _numpy_file(path, split)
    for name, array in (("x", x), ("y", y)):
        if array is not None and array.dtype.kind not in "biuf":
            raise ValueError(f"{path.name}: want real numbers in {name}, got dtype {array.dtype}")
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"{path.name}: want x of shape (n_samples, ...), got {x.shape}")
    if y is not None and len(y) != len(x):
        raise ValueError(f"{path.name}: want as many y as x, got {len(y)} and {len(x)}")
    x = x if x.dtype in (np.float32, np.float64, np.uint8) else x.astype(np.float32)
    if not np.isfinite(x).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"{path.name}: want finite values, got {x[first]} at {first}")
    return x, y


def _numpy_file(path: Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"x": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content.files}
    except Exception as error:  # zipfile, zlib, numpy and the operating system each have their own
        raise ValueError(f"{path.name}: want a whole NumPy file without pickled objects, got: {error}") from error
    if f"x_{split}" in arrays:
        return arrays[f"x_{split}"], arrays.get(f"y_{split}")
    if split not in ("train", "all"):
        raise ValueError(f"{path.name}: want array 'x_{split}' for split {split!r}, got {sorted(arrays)}")
    key = next((key for key in ("x", "X") if key in arrays), next(iter(arrays)) if len(arrays) == 1 else None)
    if key is None:
        raise ValueError(f"{path.name}: want an array named 'x' or 'X', or one array alone, got {sorted(arrays)}")
    return arrays[key], arrays.get("y")


def _table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    import pandas

    try:
        table = pandas.read_csv(path) if path.suffix == ".csv" else pandas.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name}: want a {path.suffix[1:]} table, got: {error}") from error
    y = table.pop("y").to_numpy(copy=True) if "y" in table else None
    words = [str(name) for name, dtype in table.dtypes.items() if not pandas.api.types.is_numeric_dtype(dtype)]
    if words:
        raise ValueError(f"{path.name}: want numeric columns (and y), got words in {words}; drop or encode them")
    return table.to_numpy(copy=True), y
