"""A browser whose network ends at this machine, and the built site that it reads.

The fixtures last a module: imported by two, a session would hold two browsers, and Playwright refuses the second.
"""

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "book" / "_build" / "html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("book/**/*.html")) or ["book/intro.html"]


def skip(reason: str) -> None:
    """In CI nothing that the site promises may go unseen."""
    (pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def site() -> Path:
    if not (SITE / "index.html").exists():
        skip("the site is not built: run `make book`")
    return SITE


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found or not shutil.which("apt-get") or os.geteuid() != 0:
        return found
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "-qq", *command], capture_output=True, check=False)
    return shutil.which("chromium")


@pytest.fixture(scope="module")
def chromium(address):
    executable = find_chromium()
    if executable is None:
        skip("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # No sandbox: Chromium refuses one to root, and it reads only pages made here.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


class Visit:
    """A page, and everything that went wrong while it was open."""

    def __init__(self, context, address: str):
        self.address = address
        self.foreign: list[str] = []
        self.faults: list[str] = []
        self.bytes = 0
        context.route("**/*", self.route)
        self.page = context.new_page()
        self.page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.page.on("response", self.response)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self.console)

    def route(self, route) -> None:
        url = route.request.url
        if url.startswith((self.address, "data:")):
            route.continue_()
        else:
            self.foreign.append(url)
            route.abort()

    def console(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")
        elif response.url.startswith(self.address) and "_static/" not in response.url:
            self.bytes += len(response.body())

    def open(self, path: str) -> None:
        self.page.goto(self.address + path, wait_until="networkidle")
        self.page.evaluate("window.MathJax?.startup?.promise")


@contextmanager
def opened(chromium, address: str, path: str, width: int = 1280, **options) -> Iterator[Visit]:
    context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
    try:
        reading = Visit(context, address)
        reading.open(path)
        yield reading
    finally:
        context.close()


@pytest.fixture
def visit(chromium, address):
    return functools.partial(opened, chromium, address)


def pages_with(mark: str) -> list[str]:
    """Pages whose file holds `mark`; where there is none, a name that no page has, so that its test fails."""
    found = [path for path in PAGES if (SITE / path).exists() and mark in (SITE / path).read_text(encoding="utf-8")]
    return found or [f"no page with {mark}"]
