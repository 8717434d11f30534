"""README, CONTRIBUTING and docs as programs: their Python blocks and their commands, found by sybil's parsers."""

from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parents[2]


def _examples(name, *parsers):
    """Return what stands in a document, in order; what follows ``<!-- skip: next ... -->`` raises SkipTest."""
    return list(Sybil([*parsers, SkipParser()], path=str(ROOT), pattern=name).parse(ROOT / name).examples())


def _ignore(_):
    """Both kinds of blocks are parsed every time: a mark goes with the next block of either kind."""


def python_blocks(name):
    """Return the Python blocks, ready to be evaluated: the later ones see what the earlier ones have made."""
    return _examples(name, PythonCodeBlockParser(), CodeBlockParser("sh", _ignore))


def shell_blocks(name, take):
    """Return the shell blocks; evaluating one gives its text to `take`."""
    shell = CodeBlockParser("sh", lambda example: take(example.parsed))
    return _examples(name, shell, CodeBlockParser("python", _ignore))
