"""Fresh cells of a command, drawn where no file of weights gives them."""

from __future__ import annotations

from gatescope.cli.errors import message
from gatescope.cli.networks import Network, free_label
from gatescope.cli.options import DEFAULT_CELLS, DEFAULT_INIT, DEFAULT_UNITS, CellOptions, WeightOptions
from gatescope.cli.parsing import cell_names
from gatescope.errors import GatescopeError, ShapeError


def add_fresh(
    by_label: dict[str, Network],
    cells: str,
    input_size: int,
    seed: int,
    options: WeightOptions,
    *,
    optional: bool = False,
) -> list[str]:
    """Add fresh cells, given by their names with commas between them; return notes about those left out.

    `optional` cells, which nobody named, are left out where the initialization cannot draw them but can others.
    """
    from gatescope.recurrence.initialization import init

    refused: dict[str, GatescopeError] = {}
    names = cell_names("cells", cells, DEFAULT_CELLS)
    for name in names:
        try:
            params = init(
                name,
                input_size=input_size,
                hidden_size=DEFAULT_UNITS if options.hidden_size is None else options.hidden_size,
                seed=seed,
                scheme=options.init or DEFAULT_INIT,
                dtype=options.dtype or "float32",
            )
        except GatescopeError as error:
            refused[name] = error
            if not optional or len(refused) == len(names):
                raise
        else:
            by_label[free_label(name, by_label)] = Network(params)
    return [f"{name} is left out: {message(error)}" for name, error in refused.items()]


def one_cell(
    command: str, by_label: dict[str, Network], input_size: int, seed: int, options: CellOptions
) -> tuple[str, Network]:
    """Return the one cell of a command, that of `read_one` or a fresh one: its label and its weights."""
    if not by_label:
        add_fresh(by_label, options.cell or "lstm", input_size, seed, options)
    if len(by_label) != 1:
        raise ShapeError(
            f"names {len(by_label)} cells, and {command} takes one",
            argument="cell",
            seen=options.cell,
            advice="gatescope compare takes several",
        )
    ((label, network),) = by_label.items()
    return label, network
