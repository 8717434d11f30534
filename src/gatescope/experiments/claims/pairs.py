"""The texts against each other: 21 pairs of statements that contradict one another, and the verdicts at both ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TEXTS = {
    "P": "“LSTM vs GRU: Comparison performance and architecture”, a student paper of 2023",
    "Q": "the thread “difference between RNN, LSTM and GRU”: Q0 the question, Q1 to Q5 its answers",
    "D": "“The difference between LSTM and GRU”, a blog note",
    "A": "“LSTM vs GRU: which one is better for recurrent neural networks?”, an article",
    "M": "“LSTM vs GRU: Experimental Comparison”, an experiment of 2019",
}


@dataclass(frozen=True)
class End:
    """One side of a contradiction.

    Attributes
    ----------
    sources : str
        Letters of those who say it; empty where it is none of the texts.
    text : str
        What is said.
    says : tuple of str
        Numbers of the statements that say the same.
    denies : tuple of str
        Numbers of the statements that say the opposite: their word is about the other side.
    """

    sources: str
    text: str
    says: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the numbers whose verdicts stand at this end."""
        return (*self.says, *self.denies)


@dataclass(frozen=True)
class Pair:
    """Two statements that contradict each other."""

    one: End
    other: End

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the numbers of all statements that settle it."""
        return tuple(dict.fromkeys((*self.one.numbers, *self.other.numbers)))

    def missing(self, known: Iterable[str]) -> list[str]:
        """Return the numbers that have no verdict yet."""
        ran = set(known)
        return [number for number in self.numbers if number not in ran]


PAIRS = (
    Pair(
        End("P A", "LSTM and GRU have solved vanishing gradients (P), or address them (A)", ("2a",)),
        End(
            "Q3 A",
            "long memory is hard in practice (Q3); a GRU may vanish, an LSTM may explode (A)",
            ("2b", "14b", "15a"),
        ),
    ),
    Pair(
        End("D P", "z near 1 copies the old state", ("22",)),
        End("Q5 P A", "z is how much of the new state is taken (P's table)", ("22",)),
    ),
    Pair(
        End("P", "the output gate works on the content of the memory cell", ("38",)),
        End("P", "h is o times the candidate, by P's own equation", ("30",)),
    ),
    Pair(
        End("Q4", "the control that an LSTM has makes its results better", ("8a",)),
        End("Q4", "GRU is better, in the same answer", ("8b",)),
    ),
    Pair(
        End("A P", "LSTM is better on long dependencies", ("6a",)),
        End("D M Q4", "they are equal (D), GRU ends lower (M), GRU is better (Q4)", ("7a", "27a", "8b")),
    ),
    Pair(
        End("D", "the addition in the update prevents vanishing", ("4",)),
        End("Q2 A Q3", "the gates do (Q2), the cell and the forget gate (A), the cell (Q3)", ("42",)),
    ),
    Pair(
        End("Q2", "an LSTM deals with exploding gradients", ("15c",)),
        End("A", "an LSTM may explode", ("15a", "15b")),
    ),
    Pair(
        End("A", "an LSTM can prevent overfitting", ("12b",)),
        End(
            "A",
            "an LSTM is prone to it; a GRU does not overfit, but generalizes badly from biased data",
            ("12a", "12c", "35"),
        ),
    ),
    Pair(
        End("D A", "LSTM is better on large data (D); a GRU vanishes there (A)", ("11c", "14a")),
        End("M", "GRU ends lower on 800,000 steps", ("27a",)),
    ),
    Pair(
        End("D", "r keeps the old state out of the candidate only", ("23",)),
        End("P A", "r discards the past", ("41",)),
    ),
    Pair(
        End("M", "the gates of an LSTM read the cell state", ("38",)),
        End("P Q5", "they read h, by the equations", denies=("38",)),
    ),
    Pair(
        End("M", "the hidden state is what forgets", ("39",)),
        End("P D A", "the cell is", denies=("39",)),
    ),
    Pair(
        End("D", "an LSTM's candidate sees the past without control", ("32b",)),
        End("Q5", "o controls it, as r does in a GRU", ("20",), ("32b",)),
    ),
    Pair(
        End("D M", "a GRU hands its whole state on without control", ("24",)),
        End("D P", "r controls it, where it is read", ("23",)),
    ),
    Pair(
        End("Q4", "GRU is faster for lack of a memory unit", ("10c",)),
        End("P", "it is faster for having fewer gates", denies=("10c",)),
    ),
    Pair(
        End("P", "a GRU can copy, which removes the risk of vanishing", ("3",)),
        End("A", "a GRU may vanish", ("14b",)),
    ),
    Pair(
        End("M", "an LSTM has four gates, a GRU no hidden state", denies=("26a", "26b")),
        End("P D A Q", "an LSTM has three gates, a GRU one hidden state", ("26a", "26b")),
    ),
    Pair(
        End("P", "the memory cell adds parameters", ("9b",)),
        End("", "counting says that the gates alone do", denies=("9b",)),
    ),
    Pair(
        End("P A", "the LSTM of 1997 could forget", ("43",)),
        End("", "Gers, Schmidhuber and Cummins added the forget gate in 2000", denies=("43",)),
    ),
    Pair(
        End("A", "an Elman network feeds back its outputs", ("33a",)),
        End("P M Q D", "it feeds back its hidden state, by the equations", denies=("33a",)),
    ),
    Pair(
        End("Q5", "a GRU is a strictly simplified LSTM", ("21",)),
        End(
            "Q5", "o of the step before stands where a GRU has r of this one, by its own time index", ("20",)
        ),
    ),
)
