"""Calls as texts: the name, its arguments, and what is no call."""

import pytest

from gatescope.checks.parsing import parse_call, split_outside


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("cosine", "cosine", ()),
        (" cosine ( ) ", "cosine", ()),
        ("step(1000, 0.5)", "step", ("1000", "0.5")),
        ("warmup(10, step(5, 0.5))", "warmup", ("10", "step(5, 0.5)")),
        ("f(,1)", "f", ("", "1")),
        ("step(1", "step(1", ()),
        ("a b", "a b", ()),
        ("", "", ()),
    ],
)
def test_calls(text, name, arguments):
    assert parse_call(text) == (name, arguments)


def test_commas_in_parentheses_do_not_separate():
    assert split_outside("keras,chrono(100), f(a, g(b, c))") == ("keras", "chrono(100)", "f(a, g(b, c))")
    assert split_outside("  ") == ()
