"""Members of an archive or a folder, one at a time: nothing is unpacked, and no member is larger than it may be."""

import tarfile
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

MAX_MEMBER_BYTES = 1 << 26  # a member larger than this is no picture and no list but a decompression bomb
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


def member_names(path: Path) -> list[str]:
    """Sorted names of the plain files of a .zip, a tar or a folder; not the hidden ones that file managers add."""
    if path.is_dir():
        names = [file.name for file in path.iterdir() if file.is_file()]
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    else:
        with tarfile.open(path) as archive:
            names = [member.name.removeprefix("./") for member in archive if member.isreg()]
    return sorted(name for name in names if not PurePosixPath(name).name.startswith("."))


def pictures(names: list[str]) -> list[str]:
    """The names that end as a picture's."""
    return [name for name in names if name.lower().endswith(PICTURE_SUFFIXES)]


def read_members(path: Path, wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the plain files among `wanted`, in the archive's order, one in memory at a time.

    Raises: ValueError for a member over MAX_MEMBER_BYTES, by its stated size, before it is read; no more is ever read.
    """
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.name in wanted and file.is_file():
                _check_size(path, file.name, file.stat().st_size)
                yield file.name, file.read_bytes()
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename in wanted and not info.is_dir():
                    _check_size(path, info.filename, info.file_size)
                    yield info.filename, archive.read(info)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name in wanted and member.isreg():
                    _check_size(path, name, member.size)
                    yield name, archive.extractfile(member).read()


def read_text(path: Path, name: str) -> list[str]:
    """Lines of the text file `name` (its last component) of an archive, or of `path` itself if that is a text file."""
    if path.suffix in (".txt", ".csv"):
        _check_size(path, path.name, path.stat().st_size)
        return path.read_text().splitlines()
    found = [member for member in member_names(path) if PurePosixPath(member).name == name]
    if len(found) != 1:
        raise ValueError(f"{path.name}: want one plain file {name!r}, got {len(found)}")
    ((_, content),) = read_members(path, found)
    return content.decode().splitlines()


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise ValueError(f"{path.name}: want {name} of at most {MAX_MEMBER_BYTES} bytes, got {size}")
