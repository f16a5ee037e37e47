"""From the official archives of a set of pictures to arrays, picture by picture: memory holds one of them at a time."""

import csv
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np

from latentlib._image_sets import VOTE_NAMES
from latentlib._members import member_names, pictures, read_members, read_text
from latentlib._source import Source

MAX_PIXELS = 1 << 26  # a picture larger than this is a decompression bomb: the largest of ImageNet has 61 million
Member = tuple[Path, str]


def fit_picture(content: bytes, crop: int, size: int) -> np.ndarray:
    """RGB pixels (size, size, 3), uint8, of a JPEG or PNG; `crop` is the side of the central square cut first, 0: none.

    Shorter side resized to `size` by Pillow's bilinear filter, antialiased, then the central square: what torchvision's
    Resize and CenterCrop do. Raises: ValueError for a picture smaller than the cut or larger than MAX_PIXELS; what
    Pillow raises for a broken one.
    """
    from PIL import Image

    with Image.open(BytesIO(content), formats=("JPEG", "PNG")) as opened:
        width, height = opened.size
        if width * height > MAX_PIXELS or min(width, height) < crop:
            raise ValueError(f"sides of at least {crop}, at most {MAX_PIXELS} pixels, got {width} × {height}")
        picture = opened.convert("RGB")
    if crop:
        picture = _centre(picture, crop)
    short = min(picture.size)
    picture = picture.resize([size * side // short for side in picture.size], Image.Resampling.BILINEAR)
    return np.asarray(_centre(picture, size))


def _centre(picture, side: int):
    left, top = (round((length - side) / 2) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def decode_pictures(source: Source, files: dict[str, Path], work: Path) -> dict[str, np.ndarray]:
    """Arrays x_<split> (memory-mapped under `work`) and y_<split> of a set whose samples are members of archives."""
    arrays, samples = {}, {}
    for split, (members, labels) in _PLANS[source.decoder](source, files).items():
        expected = source.n[split]
        if len(members) != (expected or len(members)) or not members:
            raise ValueError(f"want {expected or 'some'} samples in split {split!r}, got {len(members)}")
        arrays[f"x_{split}"] = np.lib.format.open_memmap(
            work / f"x_{split}.npy", "w+", source.dtype, (len(members), *source.shape)
        )
        samples[split] = members
        if labels is not None:
            arrays[f"y_{split}"] = np.asarray(labels, source.target[1])
    _fill(source, samples, arrays)
    if source.decoder == "class_folders":
        arrays["wnids"] = np.array(wnids(files["wnids.txt"]), "S9")
    return arrays


def cut_patches(pictures: list[np.ndarray], side: int) -> dict[str, np.ndarray]:
    """All whole side × side patches of pictures, row by row from the upper left corner: x, and whose they are, y."""
    x, y = [], []
    for number, picture in enumerate(pictures):
        rows, columns = (length // side for length in picture.shape[:2])
        blocks = picture[: rows * side, : columns * side].reshape(rows, side, columns, side, -1)
        x.append(blocks.swapaxes(1, 2).reshape(rows * columns, side, side, -1))
        y.append(np.full(rows * columns, number, np.uint8))
    return {"x": np.ascontiguousarray(np.concatenate(x)), "y": np.concatenate(y)}


def wnids(path: Path) -> list[str]:
    """The WordNet numbers that a list names, one a line, in its order. Raises ValueError for anything else in it."""
    names = path.read_text().split()
    wrong = [name for name in names if len(name) != 9 or name[0] != "n" or not name[1:].isdecimal()]
    if wrong or not names or len(set(names)) < len(names):
        raise ValueError(f"{path.name}: want different WordNet numbers as n01440764, one a line, got {wrong or names}")
    return names


def _fill(source: Source, samples: dict[str, list[Member]], arrays: dict[str, np.ndarray]) -> None:
    """Read every archive once and put each sample into its row, in whatever order the archive has them."""
    rows: dict[Path, dict[str, tuple[str, int]]] = {}
    for split, members in samples.items():
        for row, (path, name) in enumerate(members):
            if rows.setdefault(path, {}).setdefault(name, (split, row)) != (split, row):
                raise ValueError(f"{path.name}: want {name!r} listed once, got it twice")
    for path, places in rows.items():
        for name, content in read_members(path, places):
            if name in places:  # not the second member of one name, which a tar may have
                split, row = places.pop(name)
                arrays[f"x_{split}"][row] = _read(source, name, content)
        if places:
            raise ValueError(f"{path.name}: want a plain file {min(places)!r}, got none ({len(places)} are missing)")


def _read(source: Source, name: str, content: bytes) -> np.ndarray:
    try:
        if source.crop is not None:
            return fit_picture(content, source.crop, source.shape[0])
        frame = np.load(BytesIO(content), allow_pickle=False)
        if frame.shape != source.shape or frame.dtype.kind not in "uif" or not np.isfinite(frame).all():
            raise ValueError(f"finite numbers of shape {source.shape}, got {frame.dtype} {frame.shape}")
        return frame
    except Exception as error:  # Pillow and numpy have many kinds for a file that is broken
        raise ValueError(f"{name}: want a whole sample: {error}") from error


def _classes(samples: Iterable[tuple[str, Member]], names: list[str]) -> tuple[list[Member], list[int]]:
    """Members and labels of (class, member) pairs; a label is the place of the class in `names`."""
    number = {name: k for k, name in enumerate(names)}
    pairs = [(member, number[label]) for label, member in samples]
    return [member for member, _ in pairs], [label for _, label in pairs]


def _dtd(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    (path,) = files.values()
    lists = {split: read_text(path, f"{split}1.txt") for split in source.n}
    names = sorted({line.split("/")[0] for lines in lists.values() for line in lines})
    plan = {}
    for split, lines in lists.items():
        plan[split] = _classes(((line.split("/")[0], (path, f"dtd/images/{line}")) for line in lines), names)
    return plan


def _places365(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    images, lists = files.values()
    lines = [line.split() for line in read_text(lists, "places365_val.txt")]
    return {"val": ([(images, f"val_256/{name}") for name, _ in lines], [int(label) for _, label in lines])}


def _folder(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    (path,) = files.values()
    return {"test": ([(path, name) for name in pictures(member_names(path))], None)}


def _celeba(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    images, lists = files.values()
    parts: dict[str, list[Member]] = {"0": [], "1": [], "2": []}
    for line in read_text(lists, lists.name):
        name, part = line.split()
        parts[part].append((images, f"img_align_celeba/{name}"))
    return {split: (members, None) for split, members in zip(("train", "val", "test"), parts.values(), strict=True)}


def _galaxy_zoo(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    images, table = files.values()
    header, *rows = csv.reader(read_text(table, "training_solutions_rev1.csv"))
    if header != ["GalaxyID", *VOTE_NAMES]:
        raise ValueError(f"{table.name}: want columns GalaxyID, {VOTE_NAMES[0]} … {VOTE_NAMES[-1]}, got {header}")
    votes = np.array([row[1:] for row in rows], np.float64)
    if not ((votes >= 0) & (votes <= 1)).all():
        raise ValueError(f"{table.name}: want shares of votes in [0, 1], got {votes.min()} to {votes.max()}")
    return {"train": ([(images, f"images_training_rev1/{row[0]}.jpg") for row in rows], votes)}


def _mastcam(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    frames = {}
    for name, path in files.items():
        folder = "all" if name == "test_novel.zip" else name.removesuffix(".zip")
        members = [PurePosixPath(member) for member in member_names(path)]
        frames[folder] = [(path, str(m)) for m in members if m.suffix == ".npy" and m.parent.name == folder]
    test = frames["test_typical"] + frames["all"]
    novel = [0] * len(frames["test_typical"]) + [1] * len(frames["all"])
    typical = {"train": frames["train_typical"], "val": frames["validation_typical"]}
    return {split: (members, [0] * len(members)) for split, members in typical.items()} | {"test": (test, novel)}


def _imagenette(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    (path,) = files.values()
    parts = [(name.split("/"), (path, name)) for name in pictures(member_names(path))]
    names = sorted({words[2] for words, _ in parts if len(words) == 4})
    return {
        split: _classes(((words[2], member) for words, member in parts if words[1:2] == [split]), names)
        for split in source.n
    }


def _class_folders(source: Source, files: dict[str, Path]) -> dict[str, tuple]:
    (path,) = files.values()
    names = wnids(path)
    samples = []
    for name in names:
        place = next((p for p in (path.with_name(name), path.with_name(f"{name}.tar")) if p.exists()), None)
        if place is None:
            raise ValueError(f"{path.name}: want a folder {name} or a file {name}.tar beside it, got neither")
        samples += [(name, (place, member)) for member in pictures(member_names(place))]
    return {"all": _classes(samples, names)}


_PLANS = {
    "dtd": _dtd, "places365": _places365, "folder": _folder, "celeba": _celeba, "galaxy_zoo": _galaxy_zoo,
    "mastcam": _mastcam, "imagenette": _imagenette, "class_folders": _class_folders,
}  # fmt: skip
