"""Which entries of a state_dict are the weights of a layer: prefixes, layers, directions, reparametrized matrices.

A weight can be stored as something else than itself: weight drop stores the trained matrix as ``weight_hh_l0_raw`` (and
sometimes what it made of it last as ``weight_hh_l0``), weight norm two factors, ``_g`` and ``_v``, and
``torch.nn.utils.parametrize`` what a weight is made of as ``parametrizations.weight_hh_l0.original``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gatescope.errors import WeightFormatError

Wrong = Callable[..., WeightFormatError]  # makes an error about a source, from a problem and an advice

_ENTRY = re.compile(
    r"(?P<prefix>(?:.*\.)?)(?P<kind>weight_[ih]h|weight_hr|bias_[ih]h)_l(?P<layer>\d{1,9})(?P<reverse>_reverse)?"
    r"(?P<form>_raw|_orig|_mask|_bar|_g|_v|_u|\..+)?"
)
_PARAMETRIZED = "parametrizations."
_RAW = "_raw"  # of weight drop: the matrix itself, before units are dropped
_SHOWN, _CHARACTERS = 12, 240  # as many names as a message lists, and what they may take of it


class Entry(NamedTuple):
    """What the name of an entry says."""

    name: str
    prefix: str
    kind: str
    layer: int
    reverse: bool
    form: str  # empty for the weight itself


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


def parse(entries: Mapping[str, Any]) -> list[Entry]:
    """Return what the names say that are those of weights of recurrent layers."""
    parsed = []
    for name in entries:
        match = _ENTRY.fullmatch(name) if isinstance(name, str) else None
        if match is not None:
            prefix, dotted = match["prefix"], (match["form"] or "").startswith(".")
            if dotted != prefix.endswith(_PARAMETRIZED):  # a module that is called weight_hh_l0
                continue
            number, reverse = int(match["layer"]), bool(match["reverse"])
            prefix = prefix.removesuffix(_PARAMETRIZED)
            parsed.append(Entry(name, prefix, match["kind"], number, reverse, match["form"] or ""))
    return _joined(parsed)


def _joined(parsed: list[Entry]) -> list[Entry]:
    """Return the entries with those of a wrapper that holds the raw matrices of the module in it as that module's."""
    whole = {entry.prefix for entry in parsed if not entry.form}
    wrappers = {
        entry.prefix: inner
        for entry in parsed
        if entry.prefix not in whole and (inner := f"{entry.prefix}module.") in whole
    }
    return [entry._replace(prefix=wrappers.get(entry.prefix, entry.prefix)) for entry in parsed]


def find_prefix(entries: Mapping[str, Any], parsed: list[Entry], prefix: str | None, wrong: Wrong) -> str:
    """Return the prefix that is meant: the one that is named, or the only one."""
    candidates = sorted({entry.prefix for entry in parsed if entry.kind in ("weight_ih", "weight_hh")})
    if not candidates:
        raise wrong(
            f"has no recurrent layer: none of its {len(entries)} entries ({listed(entries)}) is named like "
            "weight_ih_l0",
            advice="give the state_dict of a torch.nn.RNN, LSTM or GRU",
        )
    if prefix is None:
        if len(candidates) > 1:
            raise wrong(
                f"has {len(candidates)} recurrent networks",
                advice=f"choose one with `prefix`: {listed(candidates)}",
            )
        return candidates[0]
    for candidate in (prefix, f"{prefix}."):
        if candidate in candidates:
            return candidate
    raise wrong(f"has no `prefix` {prefix!r}; it has {listed(candidates)}")


def find_layer(
    parsed: list[Entry], prefix: str, number: int, reverse: bool, attributes: Container[str], wrong: Wrong
) -> Layer:
    """Return the entries of a layer; `attributes` are the weights that a live module has, whatever it makes them of."""
    own = [entry for entry in parsed if entry.prefix == prefix]
    _check_layer({(e.layer, e.reverse) for e in own if e.kind != "weight_hr"}, number, reverse, wrong)
    own = [entry for entry in own if (entry.layer, entry.reverse) == (number, reverse)]
    names: dict[str, str] = {}
    used: set[str] = set()
    suffix = suffix_of(number, reverse)
    for kind in dict.fromkeys(entry.kind for entry in own):
        forms = {entry.form: entry.name for entry in own if entry.kind == kind}
        live = f"{kind}{suffix}" in attributes
        names[kind] = f"{prefix}{kind}{suffix}" if live else _trained(forms, wrong)
        used |= {*forms.values()} if live else {names[kind]}
    if "weight_hr" in names:
        raise wrong(
            f"holds {names['weight_hr']!r}, a projection (proj_size > 0), which no cell of gatescope has",
            advice="use a network with proj_size=0",
        )
    for kind in ("weight_ih", "weight_hh"):
        if kind not in names:
            raise wrong(
                f"has no entry {f'{prefix}{kind}{suffix}'!r}, which layer {number} needs",
                advice="save the whole state_dict",
            )
    return Layer(prefix, number, reverse, names, used)


def suffix_of(number: int, reverse: bool) -> str:
    """Return what follows the kind of a weight in the name of an entry."""
    return f"_l{number}{'_reverse' if reverse else ''}"


def _check_layer(known: set[tuple[int, bool]], number: int, reverse: bool, wrong: Wrong) -> None:
    """Check that a layer is among the numbers and directions known."""
    if (number, reverse) not in known:
        layers = sorted({layer for layer, backward in known if backward == reverse})
        raise wrong(
            f"has no `layer` {number}{' in the backward direction' if reverse else ''}; its layers are "
            f"{', '.join(map(str, layers)) or 'all forward: leave `reverse` out'}"
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


def unused(entries: Mapping[str, Any], parsed: list[Entry], layer: Layer) -> tuple[str, list[str]]:
    """Return what of a source is not used, in words, and the names of what lies among the layer's own weights.

    Layers below the one that is read make its inputs, so they are not said to be unused.
    """
    known = {entry.name for entry in parsed}  # other networks are left out on purpose
    own = [entry for entry in parsed if entry.prefix == layer.prefix and entry.layer == layer.number]
    parts = []
    if any(entry.reverse != layer.reverse for entry in own):
        parts.append("the forward direction" if layer.reverse else "the backward direction (`reverse`)")
    above = sorted({e.layer for e in parsed if e.prefix == layer.prefix and e.layer > layer.number})
    if above:
        parts.append(f"layer{'s' if len(above) > 1 else ''} {', '.join(map(str, above))} (`layer`)")
    twice = [e.name for e in own if e.reverse == layer.reverse and e.name not in layer.used]
    others = [name for name in entries if isinstance(name, str) and name not in known]
    if twice or others:
        parts.append(listed([*twice, *others]))
    beside = [
        name for name in others if name.startswith(layer.prefix) and "." not in name[len(layer.prefix) :]
    ]
    return "; ".join(parts), beside


def listed(names: Any) -> str:
    """Return names in quotes with commas between them, the first of many."""
    shown: list[str] = []
    for name in names:
        text = repr(name)
        if len(shown) == _SHOWN or (shown and sum(map(len, shown)) + len(text) > _CHARACTERS):
            break
        shown.append(text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}...")
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
