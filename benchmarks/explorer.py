"""How long the explorer's page takes to be ready and to pan in a headless Chromium, beside a Bokeh page of the same.

    python -m benchmarks.explorer [--out benchmarks/results/explorer.json] [--check] [--smoke]

An LSTM of 64 units over the laser series, again and again for 20,000 steps: maps of its four gates and two states.
"calm" are PyTorch's initial weights, "chaotic" recurrent weights five times as large, whose values are hard to
compress.  Ready is from the request of the page until it is drawn; a pan from the change until what follows the
frame that shows it, the median of 30.  Bokeh's page has images of all values, with one axis.

Needs selenium, chromium and chromedriver; bokeh is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import gatescope as gs
from benchmarks.provenance import provenance
from benchmarks.results_file import write_results
from gatescope.experiments import machine

RESULTS = Path(__file__).parent / "results" / "explorer.json"
LIMITS = {"ready_seconds": 2.5, "pan_seconds": 0.033}  # of our page, on two cores
UNITS, STEPS, PANS, ROUNDS = 64, 20_000, 30, 3
_OURS = {
    "ready": "document.documentElement.dataset.ready",
    "prepare": "change({first: 0, last: 10000})",
    "pan": "change(panned(state, 100))",
}
_BOKEH = {
    "ready": "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle",
    "prepare": "window.range = Bokeh.documents[0].get_model_by_name('steps'); range.setv({start: 0, end: 10000})",
    "pan": "range.setv({start: range.start + 100, end: range.end + 100})",
}
_FRAME = "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def traces(steps: int) -> dict[str, Any]:
    """Return the two runs, by how hard they are to compress."""
    params = gs.init("lstm", input_size=1, hidden_size=UNITS, seed=0)
    chaotic = dataclasses.replace(params, weight_hh=5 * params.weight_hh)
    inputs = np.resize(gs.tasks.laser().inputs, (steps, 1, 1))
    return {"calm": gs.run(params, inputs), "chaotic": gs.run(chaotic, inputs)}


def bokeh_page(trace: Any, path: Path) -> None:
    """Write a page of Bokeh's with the same maps."""
    from bokeh.layouts import column
    from bokeh.models import Range1d
    from bokeh.plotting import figure, output_file, save
    from bokeh.resources import INLINE

    length = len(trace.inputs)
    steps = Range1d(0, length, name="steps")
    panels = []
    for name in (*trace.gate_names, *trace.state_names):
        values = trace.gate(name)[:, 0] if name in trace.gate_names else trace.state(name)[1:, 0]
        low, high = float(values.min()), float(values.max())
        codes = np.rint((values.T - low) / (high - low) * 255).astype(np.uint8)
        panel = figure(width=1200, height=130, x_range=steps, title=name, tools="xpan,xwheel_zoom")
        panel.image([codes], x=0, y=0, dw=length, dh=UNITS, palette="Cividis256")
        panels.append(panel)
    output_file(path, mode="inline")
    save(column(panels), resources=INLINE, title="gates")


@contextmanager
def chromium() -> Iterator[Any]:
    """Return a driver of a headless Chromium."""
    from selenium import webdriver

    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        sys.exit("chromium and chromedriver are needed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_script_timeout(120)
    try:
        yield browser
    finally:
        browser.quit()


def _descendants(process: int) -> list[int]:
    """Return the processes that this one has started, and those that they have: a browser is many."""
    parents: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = file.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(file.parent.name))
    found, open_ones = [], [process]
    while open_ones:
        open_ones += (started := parents.get(open_ones.pop(), []))
        found += started
    return found


def measure(path: Path, page: dict[str, str]) -> dict[str, Any]:
    """Return seconds until the page is ready and until a pan is shown, in a browser of its own."""
    with chromium() as browser, machine.others_share(lambda: _descendants(os.getpid())) as others:
        begin = time.perf_counter()
        browser.get(path.as_uri())
        waiting = f"while (!({page['ready']})) {_FRAME}; {_FRAME}; done();"
        browser.execute_async_script(f"const done = arguments[0]; (async () => {{ {waiting} }})()")
        ready = time.perf_counter() - begin
        pan = f"""const done = arguments[0]; (async () => {{ {page["prepare"]}; {_FRAME}; const times = [];
            for (let k = 0; k < {PANS}; k++) {{ const begin = performance.now(); {page["pan"]}; {_FRAME};
            times.push(performance.now() - begin); }} done(times); }})()"""
        times = browser.execute_async_script(pan)
    return {"ready_seconds": ready, "pan_seconds": statistics.median(times) / 1000, "others_share": others[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="write the numbers here, as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is passed")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps and one round: that it works at all"
    )
    options = parser.parse_args(arguments)
    steps, rounds = (2000, 1) if options.smoke else (STEPS, ROUNDS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pages: dict[str, tuple[Path, dict[str, str]]] = {}
        for name, trace in traces(steps).items():
            ours, theirs = Path(folder) / f"{name}.html", Path(folder) / f"{name}_bokeh.html"
            gs.explore(trace, path=ours)
            pages[f"gatescope, {name}"] = ours, _OURS
            try:
                bokeh_page(trace, theirs)
                pages[f"Bokeh, {name}"] = theirs, _BOKEH
            except ImportError as missing:
                print(f"without Bokeh: {missing}")
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pages}
        for _ in range(rounds):  # in turns, so that what else the machine does strikes all alike
            for name, (path, page) in pages.items():
                runs[name].append(measure(path, page))
        for name, measured in runs.items():
            row = {key: statistics.median(run[key] for run in measured) for key in measured[0]}
            row |= {"title": name, "bytes": pages[name][0].stat().st_size, "rounds": rounds}
            rows.append(row)
            print(
                f"{name:20s} {row['bytes'] / 1e6:5.1f} MB: ready in {row['ready_seconds']:.2f} s, pan "
                f"{1000 * row['pan_seconds']:.0f} ms (others took {100 * row['others_share']:.0f} % of the machine)",
                flush=True,
            )
    if options.out:
        write_results(options.out, {"provenance": provenance(), "limits": LIMITS, "rows": rows}, RESULTS)
    ours = [row for row in rows if row["title"].startswith("gatescope")]
    if options.check and any(row[name] > limit for row in ours for name, limit in LIMITS.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
