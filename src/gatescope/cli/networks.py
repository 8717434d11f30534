"""The weights that a command runs: read from files, or drawn for fresh cells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatescope.cli.errors import naming
from gatescope.cli.options import CellOptions, WeightOptions
from gatescope.errors import (
    NOTHING,
    AccuracyWarning,
    ValueRangeError,
    WeightFormatError,
)
from gatescope.reporting.terminal import report, working
from gatescope.reporting.text import counted, listing

if TYPE_CHECKING:
    from gatescope.cli.inputs import Series
    from gatescope.datatypes import Params, Stack
    from gatescope.datatypes.result import Result
    from gatescope.datatypes.stack import Layer

_OTHERS = "files of other frameworks"
_KINDS = {  # of files, that options of theirs are for
    "layer": f"{_OTHERS} and models of several layers",
    "prefix": _OTHERS,
    "reverse": f"{_OTHERS} and layers of two directions",
    "nonlinearity": "an RNN whose file does not say it",
    "reset_after": "a GRU of Keras whose file does not say it",
}
_SCALE = ("mean", "standard_deviation")


class Vocabulary(NamedTuple):
    """The characters that a network was trained on, in the order of its inputs, and whose they are."""

    characters: str
    encoding: str
    source: str


class Network(NamedTuple):
    """A model that a command looks at, what lies below it, and what inputs it was trained on.

    Attributes
    ----------
    model : Params or Stack
        A `Stack` where a file has several layers or directions, none was chosen, and the command takes them.
    below : tuple of Params or Bidirectional
        The layers below, from the lowest; they are run on the inputs.
    scale : dict or None
        ``mean`` and ``standard_deviation`` of the inputs before they were standardized, if they were.
    vocabulary : Vocabulary or None
        Of the text that it was trained on.
    """

    model: Params | Stack
    below: tuple[Layer, ...] = ()
    scale: dict[str, list[float]] | None = None
    vocabulary: Vocabulary | None = None

    @property
    def params(self) -> Params:
        """The weights of a model of one layer and direction."""
        from gatescope.datatypes import Params

        assert isinstance(self.model, Params)
        return self.model

    @property
    def input_size(self) -> int:
        """How many numbers a step the lowest layer takes."""
        return (self.below[0] if self.below else self.model).input_size

    @property
    def inputs_like(self) -> dict[str, Any]:
        """What makes inputs such as it was trained on, for the provenance of weights made of these."""
        kept: dict[str, Any] = {} if self.scale is None else {"inputs_scale": self.scale}
        if self.vocabulary is not None:
            kept |= {"vocabulary": self.vocabulary.characters, "encoding": self.vocabulary.encoding}
        return kept

    def title(self, label: str) -> str:
        """Return a label with the layers and directions that it stands for, where that is not the first alone."""
        from gatescope.datatypes import Stack

        if isinstance(self.model, Stack):
            return f"{label} ({_cells(self.model)})"
        parts = [f"layer {len(self.below)}"] if self.below else []
        parts += ["backward direction"] if self.params.reverse else []
        return f"{label} ({', '.join(parts)})" if parts else label

    def fed(self, label: str, series: Series, threads: int | None = None) -> Series:
        """Return the series that the layers below make of one, and say so."""
        from gatescope.recurrence.layers import outputs_of_layers

        if not self.below:
            return series
        below = "layer 0 is" if len(self.below) == 1 else f"layers 0 to {len(self.below) - 1} are"
        note([f"{label}: {below} run on the inputs, and layer {len(self.below)} gets what comes out"])
        with working(f"running {counted(len(self.below), 'layer')} below"):
            values = outputs_of_layers(self.below, series.values, lengths=series.lengths, threads=threads)
        return series.made_of(values)


def refuse(options: Mapping[str, Any], problem: str, advice: str = "leave it out") -> None:
    """Refuse options that would be ignored, so that nobody takes the numbers for something else."""
    for name, value in options.items():
        if value is not None:
            name = f"no_{name}" if value is False else name
            seen = NOTHING if isinstance(value, bool) else value  # a flag was typed without one
            raise ValueRangeError(problem, argument=name, seen=seen, advice=advice)


def check_device_options(device: str, threads: int | None) -> None:
    """Refuse a device that cannot compute, and a number of threads for one that has none."""
    from gatescope.kernels.device import check_device, threads_for

    threads_for(check_device(device), threads)


def note(lines: Sequence[str]) -> None:
    """Print what was taken for granted on stderr, a line each."""
    for line in lines:
        report(line)


def read_weights(
    files: Sequence[Path], options: WeightOptions, *, whole: bool = False, readout: bool = False
) -> tuple[dict[str, Network], list[str]]:
    """Return weights by label, and notes: a nonlinearity that was assumed, the layer taken, what was left out.

    `whole` is for a command that takes models of several layers and directions: where no option chooses one, it gets
    all of them.  With `readout` a model of one cell stays a stack, too.
    """
    from gatescope.io.weights import is_own

    by_label: dict[str, Network] = {}
    vanilla: list[str] = []  # labels of RNNs whose files do not say their nonlinearity
    notes: list[str] = []
    used: set[str] = set()  # options that a file made use of
    whole = whole and options.layer is None and not options.reverse
    for file in files:
        label = free_label(file.stem, by_label)
        with naming(path="--weights", source="--weights"):
            if is_own(file):
                by_label[label], line = _read_own(file, options, used, whole, readout)
                notes += [line] if line else []
                continue
            by_label[label], lines, questions = _read_foreign(file, options, whole, readout)
            notes += lines
            used |= {"layer", "prefix", "reverse", *questions}
            if "nonlinearity" in questions:
                vanilla.append(label)
    for name, value in options.of_files().items() if files else ():
        if name not in used:
            refuse({name: value}, f"is for {_KINDS[name]}, and `weights` names none")
    if vanilla and options.nonlinearity is None:
        notes.append(f"{', '.join(vanilla)}: taken as tanh; --nonlinearity relu for the other")
    return by_label, notes


def _read_foreign(
    file: Path, options: WeightOptions, whole: bool, readout: bool
) -> tuple[Network, list[str], set[str]]:
    """Return a layer of another framework's file with those below it, or all, notes, and what the file leaves open."""
    from gatescope.datatypes import Stack
    from gatescope.io.weights import open_weights

    # Series are read as (T, B, I), with --batch-first where a file has another order.
    how: dict[str, Any] = {"prefix": options.prefix, "dtype": options.dtype, "batch_first": False}
    opened = open_weights(file, **how)
    number = len(opened.layers) - 1 if whole else options.layer or 0
    if not 0 <= number < len(opened.layers):
        layers = (f"{k} ({text})" for k, text in enumerate(opened.layers))
        raise ValueRangeError(
            f"is no layer of {str(file)!r}, which has {', '.join(layers)}", argument="layer", seen=number
        )
    questions = opened.left_open(number)
    answers = {name: getattr(options, name) for name in questions if getattr(options, name) is not None}
    if answers:
        opened = open_weights(file, **how, **answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # notes say the same
        if whole:
            network = Network(_simplest(opened.load(None, None), readout))
        else:
            network = Network(opened.direction(number, options.reverse), opened.below(number))
    notes = [f"{file.name}: {text}" for text in opened.notes]
    if "reset_after" in questions and "reset_after" not in answers:
        notes.append(f"{file.name} {questions['reset_after']}".replace("reset_after=", "--"))
    if opened.batch_first:
        notes.append(
            f"{file.name}: its inputs are (B, T, I) where it comes from; --batch-first if those here are"
        )
    all_of_it = isinstance(network.model, Stack)
    unused = opened.stored.unused if all_of_it else opened.unused(number, options.reverse)
    if unused:
        notes.append(
            f"{file.name}: not used: {listing(unused, form=repr) if all_of_it else '; '.join(unused)}"
        )
    return network, notes, set(questions)


def _simplest(model: Layer | Stack, readout: bool) -> Params | Stack:
    """Return a model as its only cell, if it has one and its `readout` is not asked for, or else as a stack."""
    from gatescope.datatypes import Params, Stack

    layers = model.layers if isinstance(model, Stack) else (model,)
    if not readout and len(layers) == 1 and isinstance(layers[0], Params):
        return layers[0]
    return model if isinstance(model, Stack) else Stack(layers=layers, provenance=model.provenance)


def _read_own(
    file: Path, options: WeightOptions, used: set[str], whole: bool, readout: bool
) -> tuple[Network, str]:
    """Return weights that gatescope saved; of a model one layer with those below or all, and a note that says which."""
    from gatescope.checks.network import check_directions
    from gatescope.datatypes import Bidirectional, Stack, load
    from gatescope.datatypes.stack import directions

    result, line = load(file), ""
    name, model = _model_in(result, file)
    about = _scale_of(result, model.input_size), _vocabulary_of(result, model.input_size, file)
    layers = model.layers if isinstance(model, Stack) else (model,)
    check_directions(model if isinstance(model, Stack) else Stack(layers=(model,)))
    if options.dtype is not None:
        model = model.astype(options.dtype)
    if whole and isinstance(simplest := _simplest(model, readout), Stack):
        return Network(simplest, (), *about), f"{file.name}: {name}, {_cells(simplest)}"
    if isinstance(model, Stack):
        used.add("layer")
        layers, line = _up_to(model, file, name, options.layer or 0)
    else:
        layers = (model,)
    *below, top = layers
    if isinstance(top, Bidirectional):
        used.add("reverse")
        way = "backward" if options.reverse else "forward"
        line = f"{line or file.name}: its {way} direction{'' if options.reverse else ' (--reverse for the other)'}"
        top = directions(top)[way]
    return Network(top, tuple(below), *about), line


def _cells(stack: Stack) -> str:
    """Return the cells of a model, from the uppermost."""
    return " on ".join(reversed(stack.cells))


def _scale_of(result: Result, width: int) -> dict[str, list[float]] | None:
    """Return the scale of the inputs that a model was trained on, if it has one that can be."""
    scale = result.provenance.get("inputs_scale")
    if not isinstance(scale, Mapping):
        return None
    values: dict[str, Any] = {key: scale.get(key) for key in _SCALE}
    for numbers in values.values():
        if not isinstance(numbers, list) or len(numbers) != width:
            return None
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            return None
    return values


def _vocabulary_of(result: Result, width: int, file: Path) -> Vocabulary | None:
    """Return the vocabulary of the text that a model was trained on, if it has one that can be."""
    characters, encoding = (result.provenance.get(name) for name in ("vocabulary", "encoding"))
    if not isinstance(characters, str) or len(characters) != width:
        return None
    return Vocabulary(characters, encoding if isinstance(encoding, str) else "utf-8", file.name)


def common_vocabulary(networks: Iterable[Network]) -> Vocabulary | None:
    """Return the vocabulary by which a text is read, or None if no network was trained on one."""
    known = [network.vocabulary for network in networks if network.vocabulary is not None]
    for other in known[1:]:
        if other[:2] != known[0][:2]:
            raise ValueRangeError(
                f"name networks of two vocabularies, of {known[0].source} and of {other.source}",
                argument="params",
                advice="compare those of one text",
            )
    return known[0] if known else None


def _model_in(result: Result, file: Path) -> tuple[str, Layer | Stack]:
    """Return the model that a file holds, of a training the best one, and what it is called."""
    from gatescope.datatypes import Bidirectional, Params, Stack, TrainingRun

    name, model = "the model", result
    if isinstance(result, TrainingRun):
        name, model = f"the best model, that after epoch {result.best_epoch}", result.best
    if not isinstance(model, Params | Bidirectional | Stack):
        raise WeightFormatError(
            f"holds a {type(result).__name__}, not weights",
            argument="params",
            seen=file,
            advice="give a file of gatescope.Params, of a Stack, or what train wrote",
        )
    return name, model


def _up_to(stack: Stack, file: Path, name: str, layer: int) -> tuple[tuple[Layer, ...], str]:
    """Return the layers of a model up to one, and a note that says which."""
    if not 0 <= layer < len(stack.layers):
        layers = (f"{k} ({_described(each)})" for k, each in enumerate(stack.layers))
        raise ValueRangeError(
            f"is no layer of {str(file)!r}, which has {', '.join(layers)}", argument="layer", seen=layer
        )
    line = f"{file.name}: layer {layer} of {len(stack.layers)}, {_described(stack.layers[layer])}, of {name}"
    return stack.layers[: layer + 1], line


def _described(layer: Layer) -> str:
    """Return the cell and the size of a layer, of both directions where it has two."""
    from gatescope.datatypes.stack import directions

    return " and ".join(f"{one.cell} of {one.hidden_size} units" for one in directions(layer).values())


def read_one(
    options: CellOptions, *, whole: bool = False, readout: bool = False
) -> tuple[dict[str, Network], list[str]]:
    """Return the weights of a command of one cell by its label, nothing if it is to be fresh, and notes about them.

    `whole` and `readout` are as for `read_weights`.
    """
    if options.weights is None:
        refuse(options.of_files(), "is for weights from a file", "give `weights` too, or leave it out")
    else:
        fresh = {"cell": options.cell, **options.of_fresh()}
        refuse(fresh, "is for a fresh cell, and `weights` gives another", "leave out one of the two")
    return read_weights([options.weights] if options.weights else [], options, whole=whole, readout=readout)


def check_closed(model: Params | Stack | None) -> None:
    """Refuse to close the loop of a cell alone."""
    from gatescope.datatypes import Stack

    if not isinstance(model, Stack):
        raise ValueRangeError(
            "needs a model whose outputs are its next inputs, and this is a cell alone",
            argument="feedback",
            advice="give `weights` of a model with as many outputs as inputs, and no `layer`",
        )


def free_label(name: str, taken: Mapping[str, Any]) -> str:
    """Return a name, with a number behind it if it is taken."""
    label, count = name, 1
    while label in taken:
        count += 1
        label = f"{name}-{count}"
    return label
