#!/usr/bin/env python3
"""Ask every external link of the given files whether it still answers.

usage: python3 .ci/links.py FILE … [--report REPORT.md]      (standard library only)

Links are the http(s) addresses in the text, and in a .bib file the doi and arXiv fields. A link is dead when its host
is unknown, or it answers 404, 410, 5xx or nothing each time. A host that refuses a robot (401, 403, 429 …)
proves nothing: such links are listed, and do not fail. Of a DOI only its registration is asked for, not the publisher.
Exit code: 0, or 1 if a link is dead. The report is Markdown, ready to be the text of an issue.
"""

import argparse
import concurrent.futures
import http.client
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

ADDRESS = re.compile(r"https?://[^\s<>\"'`|\\{}]+")
BIB_FIELDS = (
    (re.compile(r"^\s*doi\s*=\s*\{([^}]+)\}", re.MULTILINE), "https://doi.org/"),
    (re.compile(r"^\s*eprint\s*=\s*\{([^}]+)\}", re.MULTILINE), "https://arxiv.org/abs/"),
)
DOI = re.compile(r"https?://(?:dx\.)?doi\.org/")
OWN_MACHINE = re.compile(r"https?://(localhost|127\.|\[::1\]|0\.0\.0\.0)")
AGENT = {"User-Agent": "latent-phases-links/1 (checks the links of a book once a week)"}
TIMEOUT_S, TRIES, PAUSE_S, AT_ONCE, BYTES = 15.0, 3, 2.0, 8, 1024
GONE = (404, 410)
ALIVE, REFUSED, DEAD = "alive", "refused", "dead"


def find_links(text: str, is_bib: bool = False) -> list[str]:
    """External addresses in a text, in order, once each; punctuation that closes a sentence is not part of them."""
    found = [trim(match) for match in ADDRESS.findall(text)]
    if is_bib:
        found += [start + value.strip() for field, start in BIB_FIELDS for value in field.findall(text)]
    return list(dict.fromkeys(link for link in found if not OWN_MACHINE.match(link)))


def trim(link: str) -> str:
    """Drop a closing bracket that no opening one in the address asks for, and final punctuation."""
    while link[-1] in ".,;:!?*_" or (link[-1] in ")]" and link.count(link[-1]) > link.count("(["[link[-1] == "]"])):
        link = link[:-1]
    return link


class Registered(urllib.request.HTTPRedirectHandler):
    """A DOI that redirects is registered: where it leads is its publisher's concern, and many refuse robots."""

    def redirect_request(self, request, file, code, message, headers, address):
        if DOI.match(request.full_url):
            return None
        return super().redirect_request(request, file, code, message, headers, address)


def ask(link: str, method: str, timeout: float) -> int:
    """HTTP status of one request, after redirects; raises OSError or HTTPException where no answer comes."""
    opener = urllib.request.build_opener(Registered)
    request = urllib.request.Request(link.partition("#")[0], headers=AGENT, method=method)
    try:
        with opener.open(request, timeout=timeout) as response:
            response.read(BYTES)
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def judge(link: str, timeout: float = TIMEOUT_S, tries: int = TRIES, pause: float = PAUSE_S) -> tuple[str, str]:
    """(alive, refused or dead, why): HEAD, then GET where HEAD fails; each failure is asked again after a pause."""
    why = ""
    for turn in range(tries):
        time.sleep(pause * turn)
        try:
            status = ask(link, "HEAD", timeout)
            if status >= 400:
                status = ask(link, "GET", timeout)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
            continue
        if status < 300 or (status < 400 and DOI.match(link)):
            return ALIVE, str(status)
        if status < 400 or status in GONE:  # a redirect that is left leads round in a circle
            return DEAD, str(status)
        if status < 500 and status != 429:
            return REFUSED, str(status)
        why = str(status)
    return (REFUSED if why == "429" else DEAD), why


def check(files: list[pathlib.Path], **options) -> dict[str, dict[str, str]]:
    """{state: {link: 'why (the files that hold it)'}} of every link of the files, a few at a time."""
    places: dict[str, list[str]] = {}
    for file in files:
        for link in find_links(file.read_text(encoding="utf-8"), file.suffix == ".bib"):
            places.setdefault(link, []).append(file.as_posix())
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(places, pool.map(lambda link: judge(link, **options), places)))
    found: dict[str, dict[str, str]] = {ALIVE: {}, REFUSED: {}, DEAD: {}}
    for link, (state, why) in answers.items():
        found[state][link] = f"{why} ({', '.join(places[link])})"
    return found


def report(found: dict[str, dict[str, str]]) -> str:
    counts = ", ".join(f"{len(links)} {state}" for state, links in found.items())
    parts = [f"Links of the book: {counts}.\n"]
    for state in (DEAD, REFUSED):
        if found[state]:
            parts.append(f"## {state.capitalize()}\n")
            parts += [f"- <{link}>: {told}" for link, told in found[state].items()]
            parts.append("")
    return "\n".join(parts)


def main(arguments: list[str] | None = None, **options) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--report", type=pathlib.Path, help="write the report to this file too")
    given = parser.parse_args(arguments)
    found = check(given.files, **options)
    text = report(found)
    print(text)
    if given.report:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(text, encoding="utf-8")
    return 1 if found[DEAD] else 0


if __name__ == "__main__":
    sys.exit(main())
