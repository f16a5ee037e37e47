"""Files that are whole or absent, and the folder a project starts at."""

import os
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> bool:
    """Write `content` to `path` through a .partial file beside it; nothing is written if it is there already.

    A reader sees the old file or the new one, never a part: write, fsync, rename. Returns whether it wrote.
    """
    content = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return True


def folder_above(start: Path, *landmarks: str) -> Path | None:
    """The nearest folder, from `start` upward, that holds one of the landmarks (paths relative to it), else None."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if any((folder / landmark).exists() for landmark in landmarks):
            return folder
    return None
