"""Which entries of a state_dict are the weights of a layer: prefixes, layers, directions, reparametrized matrices.

A weight can be stored as something else than itself: weight drop stores the trained matrix as ``weight_hh_l0_raw`` (and
sometimes what it made of it last as ``weight_hh_l0``), weight norm two factors, ``_g`` and ``_v``, and
``torch.nn.utils.parametrize`` what a weight is made of as ``parametrizations.weight_hh_l0.original``.  Cells such as
``torch.nn.LSTMCell`` are networks of one layer whose names lack the ``_l0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gatescope.io.pytorch.sources import Source
from gatescope.io.source_errors import Wrong, listed

_ENTRY = re.compile(
    r"(?P<prefix>(?:.*\.)?)(?P<kind>weight_[ih]h|weight_hr|bias_[ih]h)"
    r"(?P<suffix>_l(?P<layer>\d{1,9})(?P<reverse>_reverse)?)?(?P<form>_raw|_orig|_mask|_bar|_g|_v|_u|\..+)?"
)
_PARAMETRIZED = "parametrizations."
_RAW = "_raw"  # of weight drop: the matrix itself, before units are dropped
# Optimizers may name what they keep of each weight by its name; copies are averaged over the training.
_MOMENTS = re.compile(r"(?:.*\.)?(?:exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer)\.")
_OPTIMIZER = re.compile(r"opt(im\w*)?", re.IGNORECASE)
_COPY = re.compile(r"ema|shadow|swa|averaged|polyak", re.IGNORECASE)
_NORM = re.compile(r"(?:.*_)?(?:[a-z]*norm|ln|bn)s?(?:_.*|\d+)?", re.IGNORECASE)
# Of torch.ao: the weights are packed, or lie in modules for each gate's inputs and its states.
_QUANTIZED = re.compile(
    r"(?P<prefix>(?:.*\.)?)(?:_all_weight_values\.\d+\..*|_packed_weight_[ih]h|layers\.\d+\.layer_[fb]w\.cell\..*)"
)
_WRAPPERS = re.compile(r"(?:module\.|_orig_mod\.)*")  # of DataParallel and of torch.compile
QUANTIZED = "holds quantized weights in {!r}, which no cell of gatescope computes with"
DEQUANTIZE = "save the network as it was before it was quantized"
# Modules of a list.
_NUMBERED = re.compile(r"(?P<base>(?:.*\.)?)(?P<number>\d{1,4})\.(?P<rest>\D*)")
_LONGEST = 1000  # characters of a name
_MATRICES = ("weight_ih", "weight_hh")


class Entry(NamedTuple):
    """What the name of an entry says."""

    name: str
    prefix: str
    kind: str
    layer: int  # 0 of a cell
    reverse: bool
    suffix: str  # what follows the kind: "_l0_reverse"; empty of a cell
    form: str  # empty for the weight itself


@dataclass(frozen=True)
class Names:
    """The names of a source's entries.

    Attributes
    ----------
    networks : dict
        By what precedes the names of their weights, the entries of each layer by its number and whether it is backward.
    others : list
        The names of all that is no weight of a recurrent layer.
    """

    networks: dict[str, dict[tuple[int, bool], list[Entry]]]
    others: list[str]

    @property
    def quantized(self) -> dict[str, list[str]]:
        """By what precedes them, the names of what `torch.ao` quantized layers are made of."""
        prefixes: dict[str, list[str]] = {}
        for match in map(_QUANTIZED.fullmatch, self.others):
            if match is not None:
                prefixes.setdefault(match["prefix"], []).append(match[0])
        return prefixes


@dataclass(frozen=True)
class Layer:
    """The entries of one layer in one direction, by kind of weight.

    Attributes
    ----------
    prefix : str
    number : int
    reverse : bool
    names : dict
        The entry to read for each kind there is: ``{"weight_hh": "lstm.weight_hh_l0"}``.
    used : set
        The names of all entries that are accounted for by these.
    """

    prefix: str
    number: int
    reverse: bool
    names: dict[str, str]
    used: set[str]


def parse(entries: Mapping[str, Any]) -> Names:
    """Return what the names say of the networks there are, in their order."""
    parsed, others = [], []
    for name in entries:
        entry = _entry(name) if isinstance(name, str) else None
        if entry is not None:
            parsed.append(entry)
        elif isinstance(name, str):
            others.append(name)
    layered = {entry.prefix for entry in parsed if entry.suffix}
    others += [entry.name for entry in parsed if not entry.suffix and entry.prefix in layered]
    by_prefix: dict[str, dict[tuple[int, bool], list[Entry]]] = {}
    for entry in _joined([entry for entry in parsed if entry.suffix or entry.prefix not in layered]):
        layers = by_prefix.setdefault(entry.prefix, {})
        layers.setdefault((entry.layer, entry.reverse), []).append(entry)
    return Names(by_prefix, others)


def _entry(name: str) -> Entry | None:
    match = _ENTRY.fullmatch(name) if len(name) <= _LONGEST else None
    if match is None:
        return None
    prefix, form = match["prefix"], match["form"] or ""
    if form.startswith(".") != prefix.endswith(_PARAMETRIZED):  # a module that is called weight_hh_l0
        return None
    number, reverse = int(match["layer"] or 0), bool(match["reverse"])
    return Entry(
        name, prefix.removesuffix(_PARAMETRIZED), match["kind"], number, reverse, match["suffix"] or "", form
    )


def _joined(parsed: list[Entry]) -> list[Entry]:
    """Return the entries with those of a wrapper that holds the raw matrices of the module in it as that module's."""
    whole = {entry.prefix for entry in parsed if not entry.form}
    wrappers = {
        entry.prefix: inner
        for entry in parsed
        if entry.prefix not in whole and (inner := f"{entry.prefix}module.") in whole
    }
    return [entry._replace(prefix=wrappers.get(entry.prefix, entry.prefix)) for entry in parsed]


def networks(names: Names) -> tuple[list[str], dict[str, str]]:
    """Return the prefixes of the networks, in their order, and those that repeat one of them, with what they are.

    A copy that was averaged over the training, and what an optimizer keeps of each weight, have the names and the
    shapes of the model's weights, behind another beginning.
    """
    weights = {
        prefix: matrices
        for prefix, layers in names.networks.items()
        if (
            matrices := frozenset(
                (e.kind, e.suffix) for own in layers.values() for e in own if e.kind in _MATRICES
            )
        )
    }
    kinds = {prefix: _repeats(prefix) for prefix in weights}
    models = {weights[prefix] for prefix, kind in kinds.items() if not kind}
    left = {prefix: kind for prefix, kind in kinds.items() if kind and weights[prefix] in models}
    return [prefix for prefix in weights if prefix not in left], left


def numbered(prefixes: Iterable[str]) -> dict[str, list[str]]:
    """Return prefixes that differ in a number alone, which counts from 0, by what precedes it: of a list of modules."""
    numbered: dict[tuple[str, str], dict[int, str]] = {}
    for prefix in prefixes:
        match = _NUMBERED.fullmatch(prefix)
        if match is not None:
            numbered.setdefault((match["base"], match["rest"]), {})[int(match["number"])] = prefix
    return {
        base: [parts[k] for k in range(len(parts))]
        for (base, _), parts in numbered.items()
        if len(parts) > 1 and {*parts} == {*range(len(parts))}
    }


def _repeats(prefix: str) -> str:
    """Return what a prefix says that the weights behind it are copies of; empty if nothing."""
    words = re.split(r"[._]", prefix)
    if _MOMENTS.match(prefix) or any(_OPTIMIZER.fullmatch(word) for word in words):
        return "an optimizer's state"
    return "an averaged copy" if any(_COPY.fullmatch(word) for word in words) else ""


def find_prefix(source: Source, names: Names, prefix: str | None) -> str:
    """Return the prefix that is meant: the one that is named, or the only one."""
    own, left = networks(names)
    candidates = sorted([*own, *left])
    if not candidates and names.quantized:
        raise source.wrong(QUANTIZED.format(next(iter(names.quantized))), advice=DEQUANTIZE)
    if not candidates:
        raise source.wrong(
            f"has no recurrent layer: none of its {len(source.entries)} entries ({listed(source.entries)}) is named "
            "like weight_ih_l0",
            advice="give the state_dict of a torch.nn.RNN, LSTM or GRU, or make gatescope.Params of arrays with other "
            "names",
        )
    if prefix is None:
        if len(own) > 1:
            raise source.wrong(
                f"has {len(own)} recurrent networks", advice=f"choose one with `prefix`: {listed(candidates)}"
            )
        return own[0]
    for candidate in (prefix, f"{prefix}."):
        if candidate in candidates:
            return candidate
    raise source.wrong(f"has no `prefix` {prefix!r}; it has {listed(candidates)}")


def find_layer(source: Source, names: Names, prefix: str, number: int, reverse: bool) -> Layer:
    """Return the entries of a layer; those of a live module are its attributes, whatever it makes them of."""
    layers = names.networks[prefix]
    own = layers.get((number, reverse), [])
    if all(entry.kind == "weight_hr" for entry in own):
        numbers = sorted({layer for layer, backward in layers if backward == reverse})
        raise source.wrong(
            f"has no `layer` {number}{' in the backward direction' if reverse else ''}; its layers are "
            f"{', '.join(map(str, numbers)) or 'all forward: leave `reverse` out'}"
        )
    weights: dict[str, str] = {}
    used: set[str] = set()
    suffix, module = own[0].suffix, source.module(prefix)
    for kind in dict.fromkeys(entry.kind for entry in own):
        forms = {entry.form: entry.name for entry in own if entry.kind == kind}
        live = module is not None and hasattr(module, f"{kind}{suffix}")
        weights[kind] = f"{prefix}{kind}{suffix}" if live else _trained(forms, source.wrong)
        used |= {*forms.values()} if live else {weights[kind]}
    if "weight_hr" in weights:
        raise source.wrong(
            f"holds {weights['weight_hr']!r}, a projection (proj_size > 0), which no cell of gatescope has",
            advice="use a network with proj_size=0",
        )
    for kind in _MATRICES:
        if kind not in weights:
            raise source.wrong(
                f"has no entry {f'{prefix}{kind}{suffix}'!r}, which layer {number} needs",
                advice="save the whole state_dict",
            )
    return Layer(prefix, number, reverse, weights, used)


def check_norms(source: Source, names: Names, prefix: str) -> None:
    """Check that nothing is normalized inside a layer: ``lstm.layernorm_i.weight``, and not in a module beside it."""
    for name in names.others:
        if not name.startswith(prefix):
            continue
        first, *inner = name[len(prefix) :].split(".", 1)
        bare = prefix.removeprefix(source.containers.get(name, ""))
        if inner and _WRAPPERS.fullmatch(bare):  # of a model whose other modules lie at the same height
            continue
        if _NORM.fullmatch(first[:_LONGEST]):
            raise source.wrong(
                f"holds {name!r}: the layer normalizes what its gates are made of, which no cell of gatescope does",
                advice="use a network without normalization inside the layer",
            )


def _trained(forms: dict[str, str], wrong: Wrong) -> str:
    """Return the entry that holds the trained weight, of the forms in which it is stored."""
    if _RAW in forms:  # without it units would be dropped, which is for training only
        return forms[_RAW]
    if set(forms) == {""}:
        return forms[""]
    names, advice = listed([*forms.values()]), "give the live module, whose attribute is the weight"
    if "" in forms:
        raise wrong(f"holds a weight twice, as {names}, and does not say which counts", advice=advice)
    tool, way = _tool(forms)
    raise wrong(
        f"holds what {tool} makes a weight of ({names}), not the weight", advice=f"{advice}, or {way}"
    )


def _tool(forms: dict[str, str]) -> tuple[str, str]:
    """Return what stores a weight in these forms, and how to have the weight itself stored."""
    if {"_g", "_v"} & set(forms) and "_orig" not in forms:
        return "weight norm", "save it after torch.nn.utils.remove_weight_norm(module, name)"
    if "_mask" in forms:
        return "pruning", "save it after torch.nn.utils.prune.remove(module, name)"
    if "_orig" in forms:
        return "spectral norm", "save it after torch.nn.utils.remove_spectral_norm(module, name)"
    return (
        "a parametrization",
        "save it after torch.nn.utils.parametrize.remove_parametrizations(module, name)",
    )


def beside(names: Names, prefix: str) -> list[str]:
    """Return the names of what lies among the weights of a network and is none that a cell here has: peepholes."""
    return [name for name in names.others if name.startswith(prefix) and "." not in name[len(prefix) :]]


def where_optimizer_begins(name: str) -> str:
    """Return the beginning of a name that leads to an optimizer's state; the whole name of anything else."""
    parts = name[:_LONGEST].split(".")
    for count, part in enumerate(parts, 1):
        if any(_OPTIMIZER.fullmatch(word) for word in part.split("_")):
            return ".".join(parts[:count])
    return name
