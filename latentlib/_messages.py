"""Words that error messages share."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: the nearest known one, else the first of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (
        f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"
    )
