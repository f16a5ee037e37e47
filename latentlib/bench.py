"""Speed of the kernel concepts beside a baseline and a floor from the same run, and only while the tests are green."""

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from latentlib import _backend
from latentlib._bench_cases import CASES, CONCEPTS, Case

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = (
    "kernel", "impl", "shape", "dtype", "median_ms", "p20", "p80", "floor_ms", "baseline_ms", "peak_mb",
    "device", "versions", "commit", "date",
)  # fmt: skip


def run(
    cases: Sequence[Case | str] | None = None,
    device: str | None = None,
    out: str | Path = "data/bench",
    *,
    n_repeats: int = 15,
    check: bool = True,
) -> list[dict]:
    """Measure cases and append a row each to out/<kernel>.csv: median and 20/80 % quantiles, floor, baseline, in ms.

    On the CPU the reference is timed by the clock, and `peak_mb`, the memory a fresh process needs beyond torch, is
    measured too; on a GPU reference and kernel are timed by device events. The floor divides the least FLOPs and bytes
    by rates measured in the same run: a large matrix product, a large copy. Run and baseline alternate.
    Args: cases, of CASES or their names, None for all; device, as `_backend.device`; n_repeats, timed runs each; check,
        run the concept's tests first.
    Returns: the rows. Raises: RuntimeError if tests are red, missing, or a table has other columns; ValueError for an
    unknown case.
    """
    chosen = [_case(case) for case in (CASES if cases is None else cases)]
    target = _backend.device(device)
    kernels = sorted({case.kernel for case in chosen})
    tables = {kernel: Path(out) / f"{kernel}.csv" for kernel in kernels}
    for kernel in kernels:
        _check_table(tables[kernel])
        if check:
            _check_tests(kernel, target)
    rates = _rates(target)
    rows = []
    for case in chosen:
        compiled = target.type != "cpu" and CONCEPTS[case.kernel].has_kernel
        for impl in ("reference", "triton") if compiled else ("reference",):
            row = _measure(case, impl, target, rates, n_repeats)
            _append(tables[case.kernel], row)
            rows.append(row)
    return rows


def _case(case: Case | str) -> Case:
    known = {known.name: known for known in CASES}
    if isinstance(case, str) and case not in known:
        raise ValueError(f"cases: want some of {', '.join(known)}, got {case!r}")
    case = known[case] if isinstance(case, str) else case
    if case.kernel not in CONCEPTS:
        raise ValueError(f"case {case.name!r}: want a kernel of {', '.join(CONCEPTS)}, got {case.kernel!r}")
    return case


def _check_tests(kernel: str, device: torch.device) -> None:
    """Speed of a wrong result is no speed: stop unless the concept's tests pass, compiled where there is a GPU."""
    tests = ROOT / "tests" / f"test_{kernel}.py"
    if not tests.is_file():
        raise RuntimeError(f"bench of {kernel}: want its tests at {tests.relative_to(ROOT)}, there are none")
    environment = os.environ | {"TRITON_INTERPRET": "1" if device.type == "cpu" else "0"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"bench of {kernel}: want green tests, got\n{(done.stdout + done.stderr)[-2000:]}")


def _clock(call: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one call, by device events on a GPU, where the clock would time the launch alone."""
    if device.type != "cuda":
        start = perf_counter()
        call()
        return (perf_counter() - start) * 1e3
    with torch.cuda.device(device):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
    return start.elapsed_time(end)


def _times(calls: Sequence[Callable[[], object]], device: torch.device, n_repeats: int) -> Tensor:
    """Times in ms, (n_calls, n_repeats). The calls take turns, so that a busy spell of the machine meets them all."""
    for call in calls:
        call()  # compiles, fills caches
    return torch.tensor([[_clock(call, device) for call in calls] for _ in range(n_repeats)], dtype=torch.float64).T


def _rates(device: torch.device) -> tuple[float, float]:
    """FLOP/ms of a float32 product and bytes/ms of a copy past the caches: the best reached in this run."""
    size, n_copied = (1024, 2**24) if device.type == "cpu" else (8192, 2**28)
    a, product = torch.randn(size, size, device=device), torch.empty(size, size, device=device)
    source, copied = torch.ones(n_copied, device=device), torch.empty(n_copied, device=device)
    times = _times([lambda: torch.mm(a, a, out=product), lambda: copied.copy_(source)], device, 30)
    multiply, copy = times.min(1).values.tolist()
    return 2 * size**3 / multiply, 2 * source.numel() * source.itemsize / copy


def _measure(case: Case, impl: str, device: torch.device, rates: tuple[float, float], n_repeats: int) -> dict:
    concept = CONCEPTS[case.kernel]
    inputs = concept.inputs(case, device)
    times = _times([lambda: concept.run(inputs, impl), lambda: concept.baseline(inputs)], device, n_repeats)
    p20, median, p80 = times[0].quantile(torch.tensor([0.2, 0.5, 0.8], dtype=times.dtype)).tolist()
    floor = max(concept.n_flops(case.shape) / rates[0], concept.n_bytes(case.shape, getattr(torch, case.dtype).itemsize) / rates[1])
    values = (
        case.kernel, impl, "x".join(map(str, case.shape)), case.dtype, *(f"{ms:.4g}" for ms in (median, p20, p80)),
        f"{floor:.4g}", f"{times[1].median().item():.4g}", _peak_mb(case, impl) if device.type == "cpu" else "",
        _device_label(device), _versions(), _commit(), datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _peak_mb(case: Case, impl: str) -> str:
    """Peak memory of a case in a fresh process, beyond torch and its first product, in MB; empty off Linux."""
    if sys.platform != "linux":
        return ""
    script = "import json, sys; from latentlib import bench; bench._report_peak(*json.loads(sys.argv[1]))"
    command = [sys.executable, "-c", script, json.dumps([asdict(case), impl])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"bench of {case.name}: want its peak memory, got\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def _report_peak(case: dict, impl: str) -> None:
    """In the fresh process: the answer leaves on standard output."""
    concept, case = CONCEPTS[case["kernel"]], Case(**case)
    tiny = Case("tiny", case.kernel, (8,) * len(case.shape), case.dtype)
    concept.run(concept.inputs(tiny, torch.device("cpu")), impl)  # loads what any use of torch loads
    before = _high_water_kb()
    concept.run(concept.inputs(case, torch.device("cpu")), impl)
    sys.stdout.write(f"{(_high_water_kb() - before) / 1e3:.1f}")


def _high_water_kb() -> int:
    """Largest resident size so far. Not getrusage: its maximum is inherited from the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _device_label(device: torch.device) -> str:
    name = _backend.device_name(device)
    return f"{name}, {torch.get_num_threads()} threads" if device.type == "cpu" else name


def _versions() -> str:
    versions = [f"python {platform.python_version()}", f"torch {torch.__version__}"]
    if find_spec("triton"):
        versions.append(f"triton {version('triton')}")
    return ", ".join(versions)


def _commit() -> str:
    """Short hash of the checkout, 'unknown' where there is none."""
    try:
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _check_table(table: Path) -> None:
    if table.exists():
        header = table.read_text().partition("\n")[0]
        if header != ",".join(COLUMNS):
            raise RuntimeError(f"{table.name}: want the columns {','.join(COLUMNS)}, got {header}")


def _append(table: Path, row: dict) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
