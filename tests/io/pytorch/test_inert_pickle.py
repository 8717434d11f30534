"""Pickles as data: what plain values are, what calls stay, and what no model is saved with."""

import collections
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import gatescope
from gatescope.io.pytorch.inert_pickle import Call, Global, PersistentId, parse

VALUES = [
    None,
    True,
    -3,
    2**70,
    1.5,
    "lstm.weight_ih_l0\n",
    b"\x00\xff",
    (),
    (1, (2, 3), [4]),
    {"a": [1, {"b": None}], 3: "c"},
    [[]] * 300,
]


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_are_themselves(value, protocol):
    if isinstance(value, bytes) and protocol == 2:  # a call of codecs.encode
        pytest.skip("there are no bytes in protocol 2")
    assert parse(pickle.dumps(value, protocol)) == value


def test_what_would_be_called_is_described():
    call = parse(pickle.dumps(collections.OrderedDict(a=1), 2))
    assert (call.name, call.arguments, call.items) == ("collections.OrderedDict", (), {"a": 1})
    assert parse(pickle.dumps(np.float64, 4)) == Global("numpy.float64")
    made = parse(b"\x80\x02cmodel\nNet\n)\x81}X\x01\x00\x00\x00wK\x01sb.")
    assert isinstance(made, Call)
    assert (made.name, made.state) == ("model.Net", {"w": 1})
    assert parse(b"\x80\x02X\x01\x00\x00\x00aQ.") == PersistentId("a")
    assert parse(pickle.dumps({1, 2}, 4)) == [1, 2]


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    call = parse(pickle.dumps({"weights": Attack()}, protocol))["weights"]
    assert call.name.endswith(".system")
    assert call.arguments == ("touch attacked",)
    assert not list(tmp_path.iterdir())


def test_nothing_here_imports_pickle():
    source = Path(gatescope.__file__).parent
    imports = re.compile(r"^\s*(?:import|from)\b.*\b(?:_?pickle|marshal|shelve)\b", re.MULTILINE)
    assert imports.search("    from pickle import loads")
    for path in source.rglob("*.py"):
        assert not imports.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "exhausted before"),
        (b"\x80\x02]", "exhausted before"),
        (b"\x80\x02X\xff\xff\xff\x7fa.", "expected 2147483647 bytes"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b"a.", "maxsize|bytes"),
        (b"\x80\x02.", "never given"),
        (b"\x80\x02(.", "never given"),
        (b"\x80\x02t.", "never begun"),
        (b"\x80\x02h\x07.", "number 7 that it never remembered"),
        (b"\x80\x02Np-1\n.", "remembers a value as number -1"),
        (b"\x80\x02K\x01K\x02a.", "appends to what is no list"),
        (b"\x80\x02K\x01K\x02K\x03s.", "sets entries of what is no dict"),
        (b"\x80\x02}(K\x01u.", "sets entries of what is no dict"),
        (b"\x80\x02NNR.", "calls a function with what is no tuple"),
        (b"\x80\x04K\x01K\x02\x93.", "names a function by what is no text"),
        (b"\x80\x02N2.", "instruction DUP is not one"),
        (b"\x80\x02(cos\nsystem\no.", "instruction OBJ is not one"),
        (b"(ios\nsystem\n.", "instruction INST is not one"),
        (b"\x82\x01.", "instruction EXT1 is not one"),
        (b"\x80\x02" + b"N0" * 300_000 + b"N.", "more than 500000 instructions"),
        (b"I" + b"9" * 10_000 + b"\n.", "digits"),
        (b"\xff.", "opcode"),
    ],
)
def test_what_is_no_pickle_of_a_model(data, message):
    with pytest.raises(ValueError, match=message):
        parse(data)


def test_keys_that_hash_slowly_or_never_are_left_out():
    nested = b"\x80\x02N" + b"".join(b"q\x00h\x00\x86" for _ in range(60))  # a tuple of 2^60 leaves
    assert parse(b"\x80\x02}(" + nested[2:] + b"K\x01X\x01\x00\x00\x00aK\x02u.") == {"a": 2}
    many = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 30_000))
    assert parse(b"\x80\x02}(" + many + b"u.") == {}  # they all have the hash 0
    assert parse(b"\x80\x02}(]K\x01K\x05K\x02u.") == {5: 2}  # a list has none


def test_values_that_are_shared_or_hold_themselves():
    loop = parse(b"\x80\x02]q\x00h\x00a.")
    assert loop[0] is loop
    bomb = parse(b"\x80\x02]" + b"q\x00](h\x00h\x00e" * 40 + b".")  # of 2^40 leaves
    assert bomb[0] is bomb[1]
