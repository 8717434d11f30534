"""The fuzzer: what it finds is reported, what is allowed is not, and every public function is in its table."""

from __future__ import annotations

import ast
import inspect
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatescope as gs
from benchmarks.fuzz import __main__ as fuzz
from benchmarks.fuzz import mutations, table, zoo
from benchmarks.fuzz.judge import NotRightError, judge
from gatescope.errors import ValueRangeError

# Not in the table: what needs packages or files that are not there, what changes the process, and plain names.
LEFT_OUT = {"cells.names", "cells.register", "cells.Cell", "tasks.chorales", "tasks.digits", "plotting.style"}
KEYWORDS_LEFT_OUT = {"options", "artist_kwargs", "keywords"}  # as many as one likes


def public() -> dict[str, Any]:
    """Return what is public and can be called, but for results, which functions return, and errors."""
    names = {name: getattr(gs, name) for name in gs.__all__}
    for package in ("cells", "tasks", "training", "plotting", "experiments"):
        module = names.pop(package)
        names |= {f"{package}.{name}": getattr(module, name) for name in module.__all__}
    made = {"Batch", "Stack", "Params"}
    return {
        name: value
        for name, value in names.items()
        if callable(value)
        and ("." not in name or getattr(gs, name.partition(".")[2], None) is not value)
        and name not in LEFT_OUT
        and not (
            inspect.isclass(value) and issubclass(value, Exception | gs.Result | str) and name not in made
        )
    }


def in_the_table() -> dict[str, set[str]]:
    """Return the names of all functions that the table calls, with their keywords."""
    calls: dict[str, set[str]] = {}
    for line in table.LINES:
        for node in ast.walk(ast.parse(line)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).removeprefix("gs.")
                calls.setdefault(name, set()).update(str(keyword.arg) for keyword in node.keywords)
    return calls


# Made by others, or by hand where somebody's own loop needs them; or of live models, which need their frameworks; or
# what starts processes.
NOT_CALLED = {
    "Decays",
    "capture",
    "watch",
    "sweep",
    "Fit",
    "training.Data",
    "training.Score",
    "training.Optimizer",
}


def test_every_public_function_is_in_the_table() -> None:
    assert {*public()} - {*in_the_table()} - NOT_CALLED == set()


def test_every_keyword_is_in_the_table() -> None:
    calls, missing = in_the_table(), {}
    for name, function in public().items():
        if name in NOT_CALLED:
            continue
        parameters = inspect.signature(function).parameters.values()
        keywords = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD)}
        left = keywords - calls[name] - KEYWORDS_LEFT_OUT - {"provenance"}
        if left:
            missing[name] = left
    assert missing == {}


def test_a_case_follows_from_its_number() -> None:
    data = b"a,b\n1.5,2\n3,4\n"
    made = [mutations.mutate(data, ".csv", np.random.default_rng([0, 0, 7]), [data]) for _ in range(2)]
    assert made[0] == made[1]
    drawn = [zoo.draw("3", 3, "seed", np.random.default_rng(k), huge=True) for k in range(300)]
    assert {kind for _, kind in drawn} == {"same", "odd", "nonsense"}


def raises(error: Exception) -> Any:
    raise error


CASES = {
    "a result": (lambda: gs.init("lstm", input_size=1, hidden_size=2), ""),
    "an error": (lambda: gs.init("lstm", input_size=0, hidden_size=2), ""),
    "another error": (lambda: raises(ZeroDivisionError("x")), "raises ZeroDivisionError"),
    "nonsense": (lambda: raises(NotRightError("accepts nonsense: x")), "accepts nonsense"),
    "a result that cannot be used": (
        lambda: zoo.replaced(gs.init("lstm", input_size=1, hidden_size=2), "cell", lambda _: 3),
        "returns a Params that raises",
    ),
    "a result that is another one": (
        lambda: zoo.replaced(gs.init("lstm", input_size=1, hidden_size=2), "weight_hh", np.asfortranarray),
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_allowed(name: str, tmp_path: Path) -> None:
    run, kind = CASES[name]
    finding = judge(run, tmp_path / "again.npz")
    assert (finding is None) == (not kind)
    assert finding is None or finding.kind.startswith(kind)


@pytest.mark.parametrize("text", ["x" * 500, "a\x1b[31m", ""])
def test_messages_that_are_not_allowed(text: str, tmp_path: Path) -> None:
    error = ValueRangeError("x")
    error.args = (text,)
    finding = judge(lambda: raises(error), tmp_path / "again.npz")
    assert finding is not None
    assert finding.kind.startswith("message")


CHILD = """
import os, sys, time
def say(text):
    os.write(1, text.encode() + b"\\n")
begin = int(sys.argv[1])
say('{"ready": 0}')
for k in range(begin, 4):
    say('{"case": %d, "text": "f(%d)"}' % (k, k))
    if k == 0: say('{"finding": 0, "kind": "wrong", "detail": "it is"}')
    if k == 1: os.abort()
    if k == 2: time.sleep(60)
say('{"end": 4}')
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_crashes_and_hangs_are_findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        fuzz, "child", lambda half, seed, begin, end, folder: [sys.executable, "-c", CHILD, str(begin)]
    )
    monkeypatch.setitem(fuzz.CASE_SECONDS, "files", 0.5)
    report = fuzz.Report()
    fuzz.run_half("files", 0, 0, 4, time.monotonic() + 60, report, tmp_path)
    assert report.done["files"] == 4
    kinds = sorted(key.partition(" f(")[0] for key in report.groups)
    assert kinds == ["files: ends the process f", "files: hangs for 0 s f", "files: wrong"]
