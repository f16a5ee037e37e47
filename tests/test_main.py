"""The command line: help that teaches, one-line errors, exit codes 0, 1 and 2."""

import os
import subprocess
import sys

import pytest
from small_chapters import write_chapter

from latentlib.__main__ import run

GROUPS = {"data": ("list", "check", "get"), "sweep": ("plan", "run"), "harvest": ("table", "pages")}
COMMANDS = [(group, command) for group, commands in GROUPS.items() for command in commands] + [("bench",)]


@pytest.fixture
def sweep_file(tmp_path):
    write_chapter(tmp_path / "chapter.ipynb", "seed = 0\nsize = 1.5", "assert seed < 2, 'too\\nlarge'")
    path = tmp_path / "small.sweep.yml"
    path.write_text("chapter: chapter.ipynb\ngrid: {seed: [0, 1]}\nfixed: {size: 2.0}\n")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_run_help_teaches_every_command_by_example(command, capsys):
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text or "say notebooks/00_one_spectrum.sweep.yml" in text
    assert all(line.strip() for line in text.split("Usage:")[1].splitlines()[:1])


@pytest.mark.parametrize("arguments", [[], ["data"], ["sweep"], ["harvest"]], ids=" ".join)
def test_run_without_a_command_shows_help_and_exits_2(arguments, capsys):
    assert run(arguments) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["swep"], 2, "No such command 'swep'"),
        (["sweep", "run"], 2, "Missing argument 'FILE.yml'"),
        (["sweep", "plan", "none.yml"], 2, "'none.yml' does not exist"),
        (["sweep", "plan", "FILE", "--verbose"], 2, "No such option: --verbose"),
        (["sweep", "run", "FILE", "--workers", "0"], 2, "--workers"),
        (["harvest", "table", "none.ipynb"], 1, "want a notebook, a folder or a glob that matches, got 'none.ipynb'"),
        (["harvest", "table", ".", "--to", "runs.xlsx"], 2, "want a file ending in .csv or .parquet"),
        (["harvest", "pages", "--root", "none"], 1, "want book/claims.yml in none"),
        (["data", "get", "mnits"], 1, "mnits"),
        (["--device", "cuda:99", "data", "list"], 1, "device"),
        (["bench", "no-such-case"], 1, "no-such-case"),
    ],
)
def test_run_says_what_was_wrong_in_one_line(sweep_file, arguments, code, message, capsys):
    assert run([str(sweep_file) if argument == "FILE" else argument for argument in arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("latentlib: error: ") and error.count("\n") == 1 and message in error


def test_run_refuses_a_misspelled_parameter_before_running(sweep_file, capsys):
    sweep_file.write_text("chapter: chapter.ipynb\ngrid: {sed: [0, 1]}\n")
    assert run(["sweep", "run", str(sweep_file)]) == 2
    assert "got 'sed'; did you mean 'seed'?" in capsys.readouterr().err
    assert {path.name for path in sweep_file.parent.iterdir()} == {"chapter.ipynb", "small.sweep.yml"}


def test_run_sweep_plan_prints_the_table_and_the_count_last(sweep_file, capsys):
    assert run(["sweep", "plan", str(sweep_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run_id", "size", "seed"] and [line.split()[1:] for line in lines[1:3]] == [
        ["2.0", "0"],
        ["2.0", "1"],
    ]
    assert lines[-1] == "2 runs"


def test_run_sweep_run_exits_1_if_a_run_failed_and_harvests_all(sweep_file, tmp_path, capsys):
    sweep_file.write_text("chapter: chapter.ipynb\ngrid: {seed: [1, 2]}\n")
    assert run(["sweep", "run", str(sweep_file), "--workers", "2", "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "1 of 2 runs done" in said.out and "AssertionError: too large" in said.err
    assert run(["harvest", "table", str(tmp_path / "out"), "--to", str(tmp_path / "runs.csv")]) == 0
    header, *rows = (tmp_path / "runs.csv").read_text().splitlines()
    assert header.startswith("path,status,error,date,wall_s,device,commit,versions,seed,size") and len(rows) == 2
    assert run(["harvest", "table", str(tmp_path / "out")]) == 0
    assert "failed" in capsys.readouterr().out


def test_run_data_list_has_a_line_per_data_set(capsys):
    from latentlib import datasets

    assert run(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [entry["name"] for entry in datasets.catalogue()]
    assert run(["data", "check", "digits"]) == 0
    assert len(capsys.readouterr().out.splitlines()[1].split()[-1]) == 64  # a SHA-256
    assert run(["data", "get", "digits"]) == 0


def test_run_device_sets_the_environment_for_the_command(monkeypatch, capsys):
    seen = {}
    monkeypatch.setenv("LATENTLIB_DEVICE", "cpu")
    monkeypatch.setattr("latentlib.bench.run", lambda **given: seen.update(given) or [])
    assert run(["--device", "auto", "bench", "overlap-small", "--out", "elsewhere"]) == 0
    assert (
        seen["cases"] == ["overlap-small"]
        and seen["device"] == os.environ["LATENTLIB_DEVICE"]
        and seen["out"] == "elsewhere"
    )
    assert seen["device"] in ("cpu", "cuda")


def test_main_module_is_the_command_line():
    result = subprocess.run([sys.executable, "-m", "latentlib", "sweep", "pln"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "") and "No such command 'pln'" in result.stderr
