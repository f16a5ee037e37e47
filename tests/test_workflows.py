"""The workflows run Make targets and nothing else; the link check, against a server on this machine."""

import importlib.util
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
OFFICIAL = {
    "actions/checkout", "actions/setup-python", "actions/cache", "actions/upload-pages-artifact",
    "actions/deploy-pages", "actions/github-script",
}  # fmt: skip

spec = importlib.util.spec_from_file_location("links", ROOT / ".ci" / "links.py")
links = importlib.util.module_from_spec(spec)
spec.loader.exec_module(links)


def trigger(workflow: dict) -> dict:
    """What starts it; YAML 1.1 reads the key `on` as true."""
    return workflow[True]


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def targets() -> set[str]:
    """Targets of the Makefile that `make help` tells of."""
    return set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def faults(workflow: dict) -> list[str]:
    """What a workflow may not do: commands other than Make targets, foreign or floating actions, unnamed rights."""
    found = []
    for step in steps(workflow):
        command = step.get("run", "")
        if command and not (re.fullmatch(r"make [a-z]+", command) and command.split()[1] in targets()):
            found.append(f"want `make TARGET` with a target of the Makefile, got {command!r}")
        name, _, version = step.get("uses", "").partition("@")
        if name and (name not in OFFICIAL or not re.fullmatch(r"v\d+", version)):
            found.append(f"want an official action at a major version, got {step['uses']}")
    if "permissions" not in workflow or "write-all" in str(workflow.get("permissions")):
        found.append("want permissions, least first")
    if "group" not in workflow.get("concurrency", {}):
        found.append("want a concurrency group")
    found += [f"{name}: want timeout-minutes" for name, job in workflow["jobs"].items() if "timeout-minutes" not in job]
    return found


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_keeps_the_rules(name):
    assert faults(WORKFLOWS[name]) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("run: make test", "run: make tests", "got 'make tests'"),
        ("run: make test", "run: pip install x", "got 'pip install x'"),
        ("run: make test", "run: make test; ls", "got 'make test; ls'"),
        ("actions/checkout@v4", "actions/checkout@main", "got actions/checkout@main"),
        ("actions/checkout@v4", "someone/checkout@v4", "got someone/checkout@v4"),
        ("permissions:\n  contents: read\n", "", "want permissions"),
        ("concurrency:", "env:", "want a concurrency group"),
        ("    timeout-minutes: 60\n", "", "test: want timeout-minutes"),
    ],
)
def test_workflow_faults_are_seen(old, new, complaint):
    text = (ROOT / ".github/workflows/book.yml").read_text()
    assert old in text
    assert any(complaint in fault for fault in faults(yaml.safe_load(text.replace(old, new, 1))))


def test_book_workflow_tests_every_change_and_publishes_what_it_tested():
    book = WORKFLOWS["book"]
    assert trigger(book).keys() == {"push", "pull_request"}
    assert book["permissions"] == {"contents": "read"}
    test, publish = book["jobs"]["test"], book["jobs"]["publish"]
    assert [step["run"] for step in test["steps"] if "run" in step] == ["make env", "make book", "make test"]
    assert "permissions" not in test  # those of the workflow: a pull request can write nothing
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    on_main = "github.ref == 'refs/heads/main'"
    assert publish["needs"] == "test" and publish["if"] == on_main
    colab = book["jobs"]["colab"]  # the one job that may push, after the tests and on main alone
    assert colab["needs"] == "test" and colab["if"] == on_main and colab["permissions"] == {"contents": "write"}
    assert [step["run"] for step in colab["steps"] if "run" in step] == ["make env", "make publish"]
    (upload,) = (step for step in test["steps"] if "upload-pages" in step.get("uses", ""))
    newest = test["strategy"]["matrix"]["python"][-1]
    assert upload["if"] == f"{on_main} && matrix.python == '{newest}'"
    assert upload["with"]["path"] == "book/_build/html" and test["steps"][-1] is upload
    lowest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert test["strategy"]["matrix"]["python"][0] == lowest


def test_book_workflow_caches_the_shared_packages():
    job = WORKFLOWS["book"]["jobs"]["test"]
    (cache,) = (step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache@"))
    (env,) = (step["env"] for step in job["steps"] if step.get("run") == "make env")
    assert env == {"LATENTLIB_ENVS": cache["path"]}
    assert "hashFiles('pyproject.toml')" in cache["key"] and "matrix.python" in cache["key"]


def test_links_workflow_runs_weekly_and_opens_an_issue():
    weekly = WORKFLOWS["links"]
    (schedule,) = trigger(weekly)["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])
    assert "workflow_dispatch" in trigger(weekly)
    assert weekly["permissions"] == {"contents": "read", "issues": "write"}
    (run,) = (step["run"] for step in steps(weekly) if "run" in step)
    assert run == "make links"
    issue = steps(weekly)[-1]
    assert issue["if"] == "failure()" and "issues.create(" in issue["with"]["script"]
    report = re.search(r'report = "(.+)"', issue["with"]["script"])[1]
    plan = subprocess.run(["make", "-n", "links"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--report {report}" in plan
    assert {"README.md", "book/intro.md", "book/references.bib"} <= set(plan.split())


# The link check -------------------------------------------------------------------------------------------------------

asked: list[tuple[str, str]] = []


class Answers(BaseHTTPRequestHandler):
    """/200, /404 … answer so, /moved is at /200, /lost at /404; /get refuses HEAD, /late is slow, /first fails once."""

    def do_HEAD(self) -> None:
        asked.append((self.command, self.path))
        name = self.path.strip("/")
        if name == "late":
            time.sleep(1.5)
        status = {"moved": 302, "lost": 302, "circle": 302, "get": 405 if self.command == "HEAD" else 200, "late": 200}
        if name == "first":
            answer = 503 if len([path for _, path in asked if path == "/first"]) <= 2 else 200
        else:
            answer = status.get(name) or int(name)
        self.send_response(answer)
        if answer == 302:
            self.send_header("Location", {"moved": "/200", "lost": "/404", "circle": "/circle"}[name])
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


QUICK = {"timeout": 0.5, "tries": 2, "pause": 0.01}


@pytest.mark.parametrize(
    ("path", "state", "why"),
    [
        ("200", "alive", "200"),
        ("moved", "alive", "200"),
        ("get", "alive", "200"),
        ("first", "alive", "200"),
        ("404", "dead", "404"),
        ("410", "dead", "410"),
        ("lost", "dead", "404"),
        ("500", "dead", "500"),
        ("late", "dead", "timed out"),
        ("circle", "dead", "302"),
        ("403", "refused", "403"),
        ("429", "refused", "429"),
    ],
)
def test_judge_tells_dead_from_refused(address, path, state, why):
    asked.clear()
    told, reason = links.judge(f"{address}/{path}", **QUICK)
    assert (told, why) == (state, why if why in reason else reason)
    assert len(asked) <= 2 * 11 * QUICK["tries"]


def test_judge_of_a_host_that_is_not_there():
    state, why = links.judge("http://nothing.invalid/", **QUICK)
    assert state == "dead" and why
    assert links.judge("http://127.0.0.1:1/", **QUICK)[0] == "dead"


def test_ask_takes_the_redirect_of_a_doi_for_its_registration():
    def asked_for(address: str):
        return links.Registered().redirect_request(
            links.urllib.request.Request(address), None, 302, "Found", {}, "https://publisher.example/refuses-robots"
        )

    assert asked_for("https://doi.org/10.1/x") is None
    assert asked_for("https://example.org/x").full_url == "https://publisher.example/refuses-robots"


def test_judge_of_a_registered_doi_is_alive(monkeypatch):
    monkeypatch.setattr(links, "ask", lambda link, method, timeout: 302)
    assert links.judge("https://doi.org/10.1/x", **QUICK) == ("alive", "302")


def test_find_links_reads_markdown_and_bibliographies():
    text = (
        "See <https://a.org/x>, [b](https://b.org/y_(z)), (https://c.org/), `https://d.org/e`. https://a.org/x again.\n"
        'href="https://f.org/g#h" http://localhost:8888/lab http://127.0.0.1:1/ [i](https://i.org/j "title")'
    )
    found = ["https://a.org/x", "https://b.org/y_(z)", "https://c.org/", "https://d.org/e", "https://f.org/g#h"]
    assert links.find_links(text) == [*found, "https://i.org/j"]
    bib = "@misc{a,\n  doi = {10.1/2},\n  eprint = {2606.02600},\n  title = {10.3},\n}\n"
    assert links.find_links(bib, is_bib=True) == ["https://doi.org/10.1/2", "https://arxiv.org/abs/2606.02600"]
    assert links.find_links(bib) == []


def test_find_links_reads_the_references_of_the_book():
    found = links.find_links((ROOT / "book" / "references.bib").read_text(), is_bib=True)
    form = re.compile(r"https://(doi\.org/10\.|arxiv\.org/abs/\d{4}\.\d{4,5}$)")
    assert len(found) >= 10 and [link for link in found if not form.match(link)] == []


def test_main_reports_what_is_dead_and_where_it_stands(address, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(links, "OWN_MACHINE", re.compile("nothing is left out"))
    page, other, report = tmp_path / "page.md", tmp_path / "other.md", tmp_path / "build" / "links.md"
    page.write_text(f"<{address}/200> <{address}/404> <{address}/403>")
    other.write_text(f"[again]({address}/404)")
    assert links.main([str(page), str(other), "--report", str(report)], **QUICK) == 1
    told = report.read_text()
    assert told in capsys.readouterr().out
    assert told.startswith("Links of the book: 1 alive, 1 refused, 1 dead.")
    assert f"- <{address}/404>: 404 ({page.as_posix()}, {other.as_posix()})" in told
    assert told.index("## Dead") < told.index("/404") < told.index("## Refused") < told.index("/403")
    page.write_text(f"<{address}/200>")
    assert links.main([str(page)], **QUICK) == 0
