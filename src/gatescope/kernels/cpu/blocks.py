"""How sequences are dealt out: in blocks, of which a thread takes one at a time.

A run and the adjoints give the same bits by any blocks.  Gradients are added over sequences, which is another number
for every order, so they are added in groups that depend on the batch and the size of the cell alone, as are the groups'
sums; a block is some groups: there are at least as many blocks as threads, if there are as many groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from gatescope.datatypes import Array

Blocks = list[tuple[int, int]]

# Sequences that a further thread is worth starting for: of few units (GRU of 16: 16 sequences in two halves took 1.2
# times as long), and of at least so many (1.05 to 1.4 times as fast from 8 each on).
_LEAST_SHARED, _LARGE_UNITS = (16, 8), 64
# Batches larger than this have many small groups, up to so many: each has a copy of the gradient.  Where so few units
# are that copies of it are in the caches, a half of what blocks have at least costs under 3 % on two cores; 64 units'
# backward sweeps took 1.04 to 1.06 times as long, 128 units' 1.09.
_FEW_SEQUENCES, _MOST_GROUPS, _SMALL_UNITS = 128, 64, 32
# Groups that a thread takes together have more of each weight's uses, and up to so many sequences' scratch is near.
_MOST_TOGETHER = 32


def blocks_for(batch: int, hidden_size: int, threads: int = 1) -> Blocks:
    """Return blocks of sequences (first, last): enough for threads, large enough to use each weight several times.

    `threads`: of a run that has them to itself, how many should have a block, if it can have some sequences.  Of
    adjoints, a thread more recomputes ahead, which is worth more.
    """
    count = max(1, min(8, batch // _smallest(hidden_size)))
    if threads > count:
        count = max(count, min(threads, batch // _LEAST_SHARED[hidden_size >= _LARGE_UNITS]))
    return [(batch * i // count, batch * (i + 1) // count) for i in range(count)]


def longest(blocks: Blocks) -> int:
    """Return the number of sequences in the longest block."""
    return max(end - begin for begin, end in blocks)


@dataclass(frozen=True)
class Groups:
    """Groups of sequences, and blocks of groups.

    Attributes
    ----------
    edges : tuple of int
        The first sequence of each group, and the number of sequences.
    blocks : tuple of (int, int)
        The first group of each block, and the first after.
    size : int
        Sequences of a group, of which the last may have fewer; 0: a block is a group of its own size.
    """

    edges: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    size: int

    def __len__(self) -> int:
        return len(self.edges) - 1

    @cached_property
    def sequences(self) -> Blocks:
        """The blocks as (first, last) sequences."""
        return [(self.edges[first], self.edges[last]) for first, last in self.blocks]

    def edges_of(self, block: int) -> Array:
        """Return the edges of the groups of a block, (groups + 1,) int64, as kernels read them."""
        first, last = self.blocks[block]
        return np.array(self.edges[first : last + 1], np.int64)

    def rows(self, block: int) -> int:
        """Return the sequences that a block's segments should be for: they decide the order of additions."""
        first, last = self.blocks[block]
        return self.size or self.edges[last] - self.edges[first]


@lru_cache(maxsize=256)
def groups_for(batch: int, hidden_size: int, threads: int = 1) -> Groups:
    """Return the groups whose gradients are added up apart, which do not depend on the threads, in blocks, which do."""
    if batch <= _FEW_SEQUENCES:
        return one_each(blocks_for(batch, hidden_size))
    smallest = 8 if hidden_size <= _SMALL_UNITS else _smallest(hidden_size)
    size = smallest * -(-batch // (smallest * _MOST_GROUPS))
    edges = (*range(0, batch, size), batch)
    groups = len(edges) - 1
    count = min(groups, threads * -(-batch // (_MOST_TOGETHER * threads)))  # as many for each thread
    return Groups(edges, tuple((groups * i // count, groups * (i + 1) // count) for i in range(count)), size)


def one_each(blocks: Blocks) -> Groups:
    """Return groups that are a block each."""
    edges = (0, *(end for _, end in blocks))
    return Groups(edges, tuple(pairwise(range(len(edges)))), 0)


def _smallest(hidden_size: int) -> int:
    return 16 if hidden_size <= 128 else 32
