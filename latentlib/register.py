"""The register of claims: book/claims.yml, every checkable claim of the sources, one row each."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from latentlib._files import folder_above
from latentlib._messages import nearest


@dataclass(frozen=True)
class Register:
    """claims: rows by id, in the order of the sources; sources, chapters and data: what the rows name by key."""

    claims: dict[str, dict[str, Any]]
    sources: dict[str, dict[str, Any]]
    chapters: dict[str, str]
    data: dict[str, str]

    def row(self, claim_id: str) -> dict[str, Any]:
        """One claim. Raises KeyError, with the nearest id, for an id that is not in the register."""
        if claim_id not in self.claims:
            raise KeyError(
                f"claim: want an id of book/claims.yml, got {claim_id!r}; {nearest(str(claim_id), self.claims)}"
            )
        return self.claims[claim_id]


def read_register(path: str | Path | None = None) -> Register:
    """Read book/claims.yml: of the project around the working directory, else of this checkout, else `path`.

    Raises: FileNotFoundError where there is none, ValueError for an id that is there twice or a key that is not known.
    """
    if path is None:
        roots = (folder_above(start, "book/claims.yml") for start in (Path.cwd(), Path(__file__).parent))
        root = next((root for root in roots if root), None)
        if root is None:
            raise FileNotFoundError(
                f"claims: want book/claims.yml in {Path.cwd()} or a folder above it, found none; it belongs to the "
                "checkout, not to the installed package: run from inside the checkout"
            )
        path = root / "book" / "claims.yml"
    return _read(Path(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> Register:
    import yaml

    text = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    claims: dict[str, dict[str, Any]] = {}
    for row in text["claims"]:
        named = [(row["source"], "sources"), (row["chapter"], "chapters")]
        named += [(need, "data") for need in (*row["needs"], *row.get("needs_in_part", ()))]
        unknown = [f"{key!r} in {table}" for key, table in named if key not in text[table]]
        if unknown:
            raise ValueError(f"{path.name}: claim {row['id']!r}: want keys that are listed, got {', '.join(unknown)}")
        if row["id"] in claims:
            raise ValueError(f"{path.name}: want every id once, got {row['id']!r} twice")
        claims[row["id"]] = row
    return Register(claims, text["sources"], text["chapters"], text["data"])
