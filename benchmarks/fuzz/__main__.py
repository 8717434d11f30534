"""Run the fuzzer; exit status 1 if there are findings.  See the package for what it does."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MEMORY = "/dev/shm"  # files in memory are written in no time
_SHORT_LIVED = _MEMORY if os.access(_MEMORY, os.W_OK) else None
START_SECONDS = 300.0  # until the first case: kernels may have to be compiled
CASE_SECONDS = {"files": 20.0, "calls": 120.0}  # in a call a kernel may be compiled


@dataclass
class Group:
    """Findings of one kind: how many, and the first."""

    half: str
    number: int
    text: str
    detail: str
    count: int = 1


@dataclass
class Report:
    """What was run, and what was wrong."""

    done: dict[str, int] = field(default_factory=lambda: {"files": 0, "calls": 0})
    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, half: str, number: int, kind: str, text: str, detail: str) -> None:
        """Add a finding; the first of a kind is named as it comes."""
        key = f"{half}: {kind}"
        if key in self.groups:
            self.groups[key].count += 1
        else:
            self.groups[key] = Group(half, number, text, detail)
            print(f"{half}:{number}: {kind}", flush=True)

    @property
    def findings(self) -> int:
        """How many cases were wrong."""
        return sum(group.count for group in self.groups.values())

    def show(self, seed: int) -> None:
        """Print a group of findings after the other, each with the command that repeats its first."""
        for key, group in sorted(self.groups.items(), key=lambda item: -item[1].count):
            print(f"\n{group.count} x {key}\n  {group.text[:300]}")
            print(f"  python -m benchmarks.fuzz --seed {seed} --case {group.half}:{group.number}")
            print("    " + group.detail[-1500:].strip().replace("\n", "\n    "))
        done = ", ".join(f"{count:,} {half}" for half, count in self.done.items())
        print(f"\n{done}; {self.findings} findings of {len(self.groups)} kinds")


def messages(process: subprocess.Popen[bytes], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what a child says, until it ends.

    Raises
    ------
    TimeoutError
        If it has said nothing for so long.
    """
    assert process.stdout is not None
    wait, rest = START_SECONDS, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(wait):
                raise TimeoutError
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                return
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield json.loads(line)
            wait = seconds


def child(half: str, seed: int, begin: int, end: int, folder: Path) -> list[str]:
    """Return the command that runs the cases from `begin` to `end` - 1."""
    return [sys.executable, "-m", "benchmarks.fuzz.worker", half, *map(str, (seed, begin, end, folder))]


def run_half(
    half: str, seed: int, begin: int, end: int, seconds: float, report: Report, folder: Path
) -> None:
    """Run the cases of a half, for so long; a child that ends before is a finding, and another takes over."""
    until = float("inf")
    while begin < end and time.monotonic() < until:
        number, text, problem = begin, "", ""
        with subprocess.Popen(
            child(half, seed, begin, end, folder), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        ) as process:
            try:
                for message in messages(process, CASE_SECONDS[half]):
                    if "ready" in message:  # from when the first child is
                        until = min(until, message["ready"] + seconds)
                    elif "case" in message:
                        number, text = message["case"], message["text"]
                        report.done[half] += 1
                    elif "finding" in message:
                        report.add(half, number, message["kind"], text, message["detail"])
                    if "end" in message or time.monotonic() > until:
                        break
                else:
                    process.wait()
                    problem = "ends the process"
            except TimeoutError:
                problem = f"hangs for {CASE_SECONDS[half]:.0f} s"
            process.kill()  # which may be at work still when the time is over
        if problem:
            said = folder / "stderr"
            detail = said.read_text(errors="replace")[-1500:] if said.exists() else ""
            text = text or "before the first case"
            detail = f"status {process.returncode}\n{detail}"
            report.add(half, number, f"{problem} {text.partition('(')[0]}", text, detail)
            if text == "before the first case":
                return
        begin = number + 1


def repeat(seed: int, name: str, keep: Path) -> int:
    """Run one case here, so that its traceback is seen; its file is kept."""
    from benchmarks.fuzz.judge import judge
    from benchmarks.fuzz.worker import HALVES

    half, _, number = name.partition(":")
    keep.mkdir(parents=True, exist_ok=True)
    case = HALVES[half](seed, keep).case(int(number))
    print(case.text)
    if case.data:
        path = keep / f"{half}-{number}{case.suffix}"
        path.write_bytes(case.data)
        print(f"its file is {path}")
    finding = judge(case.run, keep / "again.npz")
    print("ends as it should" if finding is None else f"{finding.kind}\n{finding.text}")
    return int(finding is not None)


def main() -> int:
    """Run both halves, and print what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=None, help="for both halves together")
    parser.add_argument("--files", type=int, default=None, metavar="N", help="how many mutated files")
    parser.add_argument("--calls", type=int, default=None, metavar="N", help="how many odd calls")
    parser.add_argument(
        "--begin", type=int, default=0, metavar="N", help="number of the first case of each half"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", metavar="HALF:NUMBER", help="run this one case")
    parser.add_argument(
        "--keep", type=Path, default=None, metavar="FOLDER", help="where files of --case are put"
    )
    options = parser.parse_args()
    if options.case:
        return repeat(options.seed, options.case, options.keep or Path(tempfile.mkdtemp(prefix="fuzz-")))
    if (options.minutes, options.files, options.calls) == (None, None, None):
        options.minutes = 1.0
    report = Report()
    asked = {"files": options.files, "calls": options.calls}
    chosen = [half for half in asked if asked[half] or (options.files, options.calls) == (None, None)]
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-", dir=_SHORT_LIVED) as folder,
        contextlib.suppress(KeyboardInterrupt),  # what was found until then is shown
    ):
        for half in chosen:
            seconds = float("inf") if options.minutes is None else 60 * options.minutes / len(chosen)
            end = options.begin + (asked[half] or 10**9)
            run_half(half, options.seed, options.begin, end, seconds, report, Path(folder))
    report.show(options.seed)
    return int(report.findings > 0)


if __name__ == "__main__":
    sys.exit(main())
