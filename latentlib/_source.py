"""The record of a data set: its splits, where its files come from, and the layout that its arrays must have."""

from dataclasses import dataclass, field, replace

WORLDCLIM_GRID = (1080, 2160)  # rows from 90° N, columns from 180° W, 10 arc-minutes


@dataclass(frozen=True)
class OfficialFile:
    """A file to fetch: where from (mirrors in order; none: by hand), and its published MD5, None where none is known.

    `also`: another name under which the same content is handed out.
    """

    name: str
    urls: tuple[str, ...]
    md5: str | None
    also: str = ""


@dataclass(frozen=True)
class Source:
    """One data set. `decoder` names the function that turns the official files into arrays; empty: in no download.

    `n`: samples of each split, 0 where the files decide. `target`: shape and dtype of a row of y, None without labels.
    `crop`: pictures of any size are decoded to `shape`, after a central square of side `crop` is cut (0: no cut); None:
    the arrays have a size of their own. `ood_split`: the split that counts when the set is the unknown of a detector.
    `fingerprints`: array name → SHA-256 of its bytes (C order, the stored dtype). Empty where the decoded arrays were
    never published: then the MD5 of the official archive vouches, and the first installation records the fingerprints.
    `archive`: the name of the .npz if it is not `<name>`; `other_archives`: further ones that hold these arrays.
    """

    name: str
    n: dict[str, int]
    shape: tuple[int, ...]
    dtype: str
    homepage: str
    licence: str
    citation: str
    decoder: str
    fingerprints: dict[str, str] = field(default_factory=dict)
    other_archives: tuple[str, ...] = ()
    torchvision_class: str = ""
    files: tuple[OfficialFile, ...] = ()
    target: tuple[tuple[int, ...], str] | None = ((), "uint8")
    crop: int | None = None
    ood_split: str = "test"
    archive: str = ""
    note: str = ""

    def keys(self, split: str) -> tuple[str, ...]:
        """Names of the arrays that a split needs inside an archive."""
        if self.decoder == "worldclim":
            return ("X", "landmask_packed")
        if not self.decoder:
            return ("x32", "y")
        if self.decoder == "sklearn" or split == "crops":
            return ("x", "y")
        labels = () if self.target is None else (f"y_{split}",)
        return (f"x_{split}", *labels, *(("wnids",) if self.decoder == "class_folders" else ()))

    def layout(self, key: str) -> tuple[tuple[int | None, ...], str]:
        """Shape (None: any length) and dtype that an array must have. Raises ValueError for one that no split has."""
        if key == "landmask_packed":
            return (WORLDCLIM_GRID[0] * WORLDCLIM_GRID[1] // 8,), "uint8"
        if key == "X":
            return (sum(self.n.values()), *self.shape), self.dtype
        n = next((count or None for split, count in self.n.items() if key in self.keys(split)), 0)
        if n == 0:
            raise ValueError(f"{self.name}: want arrays {sum(map(self.keys, self.n), ())}, got {key!r}")
        if key == "wnids":
            return (None,), "S9"
        shape, dtype = (self.shape, self.dtype) if key.startswith("x") else self.target
        return (n, *shape), dtype

    def parts(self, split: str) -> list[str]:
        """The splits that `split` joins: itself, or for `all` every official one."""
        return [part for part in self.n if part != "crops"] if split == "all" else [split]

    def sized(self, size: int | None) -> "Source":
        """The same pictures decoded to size × size. Raises ValueError for a set whose arrays have one size only."""
        if size is None or self.shape[:2] == (size, size):
            return self
        if self.crop is None or size < 1:
            wanted = "None, for its arrays have one size" if self.crop is None else "≥ 1"
            raise ValueError(f"{self.name}: want size {wanted}, got {size}")
        return replace(self, shape=(size, size, *self.shape[2:]), archive=f"{self.name}_{size}")

    def describe(self) -> str:
        """What a user must know of the arrays: the note of the set, and the rule that made its pictures square."""
        if self.crop is None:
            return self.note
        side = self.shape[0]
        cut = f"central {self.crop} × {self.crop} cut out, " if self.crop else ""
        rule = f"{cut}shorter side resized to {side} (bilinear, antialiased), central {side} × {side}"
        return f"{self.note}; {rule}" if self.note else rule
