"""The register of claims: every row of the sources, once, with keys that are listed."""

from collections import Counter
from pathlib import Path

import pytest

from latentlib.register import read_register

ROOT = Path(__file__).parents[1]
PER_CHAPTER = {
    "00": 3,
    "10": 3,
    "11": 8,
    "12": 11,
    "13": 8,
    "20": 4,
    "21": 9,
    "22": 10,
    "30": 13,
    "31": 9,
    "32": 2,
    "40": 11,
    "41": 6,
    "50": 4,
    "51": 10,
    "60": 3,
}


def test_read_register_has_every_row_of_the_sources():
    claims = read_register(ROOT / "book" / "claims.yml").claims
    assert len(claims) == 114
    assert Counter(row["source"] for row in claims.values()) == {
        "phase": 55,
        "pruning": 22,
        "attractors": 17,
        "hessian": 14,
        "transition": 6,
    }
    assert Counter(row["chapter"] for row in claims.values()) == PER_CHAPTER


def test_read_register_rows_are_complete_and_named_after_their_source():
    register = read_register(ROOT / "book" / "claims.yml")
    keys = {"id", "source", "section", "statement", "dataset", "printed", "chapter", "needs", "settled_by", "known"}
    for name, row in register.claims.items():
        assert name.startswith(row["source"] + "-") and set(row) - {"needs_in_part"} == keys
        assert row["section"] and row["statement"].endswith(".") and row["settled_by"]
        assert "**" not in str(row) and "`" not in str(row)
    assert {name[:2]: name for name in register.chapters.values()} == register.chapters


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("chapter: '60'", "chapter: '61'", "'61' in chapters"),
        ("needs: [D8]", "needs: [D80]", "'D80' in data"),
        ("id: phase-3.1-gibbs-langevin", "id: phase-1-position", "'phase-1-position' twice"),
    ],
)
def test_read_register_refuses_keys_that_are_not_listed(tmp_path, old, new, message):
    text = (ROOT / "book" / "claims.yml").read_text(encoding="utf-8")
    (tmp_path / "claims.yml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_register(tmp_path / "claims.yml")


def test_read_register_without_a_checkout_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read_register().claims) == 114  # the checkout of the package itself
    monkeypatch.setattr("latentlib.register.__file__", str(tmp_path / "site" / "latentlib" / "register.py"))
    with pytest.raises(FileNotFoundError, match="want book/claims.yml in .* or a folder above it"):
        read_register()
