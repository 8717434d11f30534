"""The tables of README and docs: of benchmarks from the JSON of a run, of measurements from the registry; never typed.

python -m benchmarks.table            write them between the markers in README.md, docs/*.md and benchmarks/README.md
python -m benchmarks.table --check    exit with 1 if they are not what the JSON says
python -m benchmarks.table --print    show them
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import claims_table, epochs, gpu_table, measure_tables
from benchmarks.compare import RESULTS
from benchmarks.rows import FORWARD, TRAIN
from gatescope.experiments import machine
from gatescope.measurements.registry import MEASUREMENTS
from gatescope.measurements.registry import __file__ as REGISTRY
from gatescope.storage.atomic import atomic_write

README = Path(__file__).resolve().parents[1] / "README.md"
DOCS = README.with_name("docs")
BEGIN, END = "<!-- benchmark table: begin -->", "<!-- benchmark table: end -->"
GPU_RESULTS = RESULTS.with_name("gpu.json")
NOTES = Path(__file__).parent / "README.md"
LYAPUNOV_RESULTS, HORIZONS_RESULTS = RESULTS.with_name("lyapunov.json"), RESULTS.with_name("horizons.json")
TRAINING_RESULTS, LEARNING_RESULTS = RESULTS.with_name("training.json"), RESULTS.with_name("learning.json")
EXPLORER_RESULTS = RESULTS.with_name("explorer.json")
COLD_START_RESULTS = RESULTS.with_name("cold_start.json")
SCALING_RESULTS = RESULTS.with_name("scaling.json")
GPU_BEGIN, GPU_END = "<!-- GPU table: begin -->", "<!-- GPU table: end -->"
_COLUMNS = (
    ("pytorch", "PyTorch"),
    ("torchcompile", "torch.compile"),
    ("jax", "JAX"),
    ("onnxruntime", "ONNX Runtime, forward"),
)


def _number(value: float) -> str:
    """Three figures are all that a measurement has."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _cell(row: dict[str, Any], peer: str) -> str:
    """Ratio and target; bold where the target is missed or the peer is faster, which is lost."""
    for c in row["comparisons"]:
        if c["peer"] == peer:
            text, target = _number(c["ratio"]), c["target"]
            good = c["ratio"] >= 1 if target is None else c["met"]
            notes = [] if target is None else [f"≥ {target:g}"]
            if not good:
                text = f"**{text}**"
                notes.append("lost" if c["ratio"] < 1 else "missed")
            return f"{text} ({', '.join(notes)})" if notes else text
    return "not run" if peer in row["skipped"] else "–"


def _ours(row: dict[str, Any], which: str) -> str:
    """Our time and how much of it is the floor."""
    for c in row["comparisons"]:
        if c["pass"] == which:
            share = row["floor"][which]["share"]
            return f"{_number(c['ours_us_per_step']['median'])} ({100 * share:.0f} %)"
    return "–"


def make_table(data: dict[str, Any]) -> str:
    """Markdown from the JSON that `benchmarks.compare` writes."""
    source, versions = data["provenance"], data["provenance"]["versions"]
    lines = []
    for dtype in dict.fromkeys(row["dtype"] for row in data["rows"]):
        rows = [row for row in data["rows"] if row["dtype"] == dtype]
        columns = [(key, title) for key, title in _COLUMNS if any(key in row["targets"] for row in rows)]
        passes = [(FORWARD, "forward"), (TRAIN, "forward + backward")]
        passes = [p for p in passes if any(c["pass"] == p[0] for row in rows for c in row["comparisons"])]
        lines += [
            "| "
            + " | ".join([dtype, *(f"ours, {t}" for _, t in passes), *(title for _, title in columns)])
            + " |",
            "|---|" + "---:|" * (len(passes) + len(columns)),
        ]
        for row in rows:
            cells = [*(_ours(row, which) for which, _ in passes), *(_cell(row, key) for key, _ in columns)]
            disturbed = any(c["others"] > machine.DISTURBED for c in row["comparisons"])
            title = f"*{row['title']}*" if disturbed else row["title"]
            lines.append("| " + " | ".join([title, *cells]) + " |")
        lines.append("")
    comparisons = [c for row in data["rows"] for c in row["comparisons"]]
    quiet = [c for c in comparisons if c["others"] <= machine.DISTURBED]
    others = max((c["others"] for c in comparisons), default=0.0)
    judged = [c["met"] for c in quiet if c["met"] is not None]
    lost = sum(c["ratio"] < 1 for c in quiet)
    names = (
        ("gatescope", "gatescope"),
        ("torch", "PyTorch"),
        ("jax", "JAX"),
        ("onnxruntime", "ONNX Runtime"),
    )
    used = [*names, ("numba", "Numba"), ("numpy", "NumPy")]
    lines += [
        "Ours in µs a step, with the share of that time that the stated floor of the machine needs; peers as"
        " ratios, their time / ours, with the target if there is one; below 1 the peer is faster. ONNX Runtime does"
        " forward alone, the others forward and backward. A row in italics was disturbed by other processes, which"
        " slows the peers most; it does not count here:"
        f" {sum(judged)} of {len(judged)} targets are met, and {lost} of {len(quiet)} comparisons are lost."
        f" Other processes took at most {100 * others:.2g} % of the machine beside a row.",
        "",
        f"{source['cpu']}, {data['protocol']['threads']} threads, {source['date']};"
        f" {', '.join(f'{title} {versions[key]}' for key, title in used if versions.get(key))}."
        " What is compared, and how: [benchmarks/README.md](../benchmarks/README.md).",
    ]
    return "\n".join(lines)


def replaced(page: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """Return a page with the table between its markers.

    Raises
    ------
    ValueError
        If the markers are not there, once each and in order.
    """
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page needs one line {begin!r} and after it one line {end!r}")
    before, after = page[: page.index(begin)], page[page.index(end) :]
    return f"{before}{begin}\n{table}\n{after}"


def _cpu(path: Path) -> str:
    """Return the table of the CPU's results."""
    data = json.loads(path.read_text())
    if data["protocol"]["smoke"]:
        raise ValueError("it is of a smoke run, which measures nothing")
    return make_table(data)


def _gpu(path: Path) -> str:
    """Return the table of the GPU's results, which need not be there."""
    return gpu_table.markdown(json.loads(path.read_text()) if path.exists() else None)


def _claims(path: Path) -> str:
    """Return the table of verdicts, whose full run need not have been made."""
    return claims_table.markdown(json.loads(path.read_text()) if path.exists() else None)


def _claims_folded(path: Path) -> str:
    """Return the short one of README."""
    return claims_table.folded(json.loads(path.read_text()) if path.exists() else None)


def _from(path: Path, make: Callable[[dict[str, Any]], str]) -> str:
    """Return a table of a result that a run has written."""
    return make(json.loads(path.read_text()))


def _exponents(path: Path) -> str:
    return _from(path, measure_tables.exponents)


def _horizons(path: Path) -> str:
    return _from(path, measure_tables.horizons)


def _second_thread(path: Path) -> str:
    return _from(path, measure_tables.second_thread)


def _training(path: Path) -> str:
    side_by_side = json.loads(epochs.RESULTS.read_text()) if epochs.RESULTS.exists() else None
    return _from(path, lambda data: measure_tables.training(data, side_by_side))


def _learning(path: Path) -> str:
    return _from(path, measure_tables.learning_results)


def _explorer(path: Path) -> str:
    return _from(path, measure_tables.explorer)


def _scaling(path: Path) -> str:
    return _from(path, measure_tables.scaling)


def _first_answer(path: Path) -> str:
    return _from(path, measure_tables.first_answer)


def _measurements(_: Path) -> str:
    """Return the table of measurements, from the registry that also makes the commands."""
    rows = [
        f"| `{row.name}` | `gatescope measure {row.command}` | {row.answers.rstrip('.')} |"
        for row in MEASUREMENTS
    ]
    return "\n".join(["| function | command | what it answers |", "|---|---|---|", *rows])


def markers(name: str) -> tuple[str, str]:
    """Return the lines between which a table lies."""
    return f"<!-- {name} table: begin -->", f"<!-- {name} table: end -->"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write, check or print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--gpu-results", type=Path, default=GPU_RESULTS)
    parser.add_argument("--lyapunov-results", type=Path, default=LYAPUNOV_RESULTS)
    parser.add_argument("--horizons-results", type=Path, default=HORIZONS_RESULTS)
    parser.add_argument("--training-results", type=Path, default=TRAINING_RESULTS)
    parser.add_argument("--learning-results", type=Path, default=LEARNING_RESULTS)
    parser.add_argument("--explorer-results", type=Path, default=EXPLORER_RESULTS)
    parser.add_argument("--cold-start-results", type=Path, default=COLD_START_RESULTS)
    parser.add_argument("--scaling-results", type=Path, default=SCALING_RESULTS)
    parser.add_argument("--claims-results", type=Path, default=claims_table.RESULTS)
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument(
        "--docs", type=Path, default=DOCS, help="the folder of benchmarks.md, claims.md, measuring.md"
    )
    parser.add_argument("--notes", type=Path, default=NOTES, help="benchmarks/README.md")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if a page is out of date"
    )
    what.add_argument("--print", action="store_true", help="show the tables, change nothing")
    options = parser.parse_args(arguments)
    exponents, horizons = options.lyapunov_results, options.horizons_results
    claimed = options.claims_results
    speed, measuring = options.docs / "benchmarks.md", options.docs / "measuring.md"
    parts = (
        (options.readme, Path(REGISTRY), _measurements, "benchmarks.table", *markers("measurements")),
        (measuring, Path(REGISTRY), _measurements, "benchmarks.table", *markers("measurements")),
        (options.readme, claimed, _claims_folded, claims_table.COMMAND, *markers("claims")),
        (options.docs / "claims.md", claimed, _claims, claims_table.COMMAND, *markers("claims")),
        (speed, options.results, _cpu, "benchmarks.compare", BEGIN, END),
        (speed, options.gpu_results, _gpu, "benchmarks.gpu", GPU_BEGIN, GPU_END),
        (speed, exponents, _exponents, "benchmarks.lyapunov", *markers("exponents")),
        (speed, horizons, _horizons, "benchmarks.horizons", *markers("horizons")),
        (options.notes, horizons, _second_thread, "benchmarks.horizons", *markers("second thread")),
        (speed, options.training_results, _training, "benchmarks.training", *markers("training")),
        (speed, options.learning_results, _learning, "benchmarks.learning", *markers("learning")),
        (speed, options.scaling_results, _scaling, "benchmarks.scaling", *markers("scaling")),
        (speed, options.cold_start_results, _first_answer, "benchmarks.cold_start", *markers("first answer")),
        (speed, options.explorer_results, _explorer, "benchmarks.explorer", *markers("explorer")),
    )
    pages: dict[Path, str] = {}
    for page, results, make, command, begin, end in parts:
        try:
            made = make(results)
            if options.print:
                print(made, end="\n\n")
                continue
            pages[page] = replaced(pages.get(page) or page.read_text(), made, begin, end)
        except (OSError, ValueError, KeyError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            sys.exit(f"no table from {results} for {page}: {why}; run python -m {command} first")
    old = [page for page, text in pages.items() if text != page.read_text()]
    if options.check and old:
        sys.exit(f"{', '.join(map(str, old))}: out of date; run python -m benchmarks.table")
    for page in old:
        with atomic_write(page) as stream:
            stream.write(pages[page].encode())


if __name__ == "__main__":
    main()
