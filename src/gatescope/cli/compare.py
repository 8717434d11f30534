"""``gatescope compare``: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatescope.reporting.terminal import echo, literal, table_width

if TYPE_CHECKING:
    from gatescope.comparison.compare import Comparison


def print_comparison(found: Comparison, source: str) -> None:
    """The table of a comparison, and how its times were taken."""
    from rich.console import Console
    from rich.table import Table

    from gatescope.comparison.table import rows, timed_on
    from gatescope.reporting.text import counted, show

    steps, batch = found.measurements[0].trace.inputs.shape[:2]
    sequences = "one sequence" if batch == 1 else f"{batch} sequences"
    title = literal(f"{source}: {counted(steps, 'step')}, {sequences}")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for label in found.labels:
        table.add_column(literal(label), justify="right")
    for row in rows(found):
        texts = (row["quantity"], *(show(row[label]) for label in found.labels))
        table.add_row(*map(literal, texts))
    Console(width=table_width()).print(table)
    first = found.measurements[0]
    echo(
        f"ns per step: median of {counted(first.timing_runs, 'run')} "
        f"{timed_on(found)}; "
        f"saturated: below {first.saturation.left:g} or above {first.saturation.right:g}"
    )
