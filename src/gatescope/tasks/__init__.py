"""Data to run and train the cells on; each task gives a `gatescope.Batch`.

Every maker checks its arguments before it does anything: a number that is not allowed, or a batch of more than 4 GiB,
is a `ValueRangeError`, a split or another name that is not known an `UnknownNameError`, a wrong type or dtype a
`DtypeError`.
"""

from gatescope.tasks._adding import adding
from gatescope.tasks._characters import characters
from gatescope.tasks._chorales import chorales
from gatescope.tasks._copying import copying
from gatescope.tasks._counting import counting, counting_accepted, counting_of
from gatescope.tasks._counting_stream import counting_stream
from gatescope.tasks._delayed_xor import delayed_xor
from gatescope.tasks._digits import digits
from gatescope.tasks._flip_flop import flip_flop
from gatescope.tasks._laser import laser
from gatescope.tasks._long_series import long_series, long_series_prices, long_series_values
from gatescope.tasks._next_step import next_step
from gatescope.tasks._own import own
from gatescope.tasks._piano_roll import piano_roll
from gatescope.tasks._teacher import teacher
from gatescope.tasks._temporal_order import temporal_order

__all__ = [
    "adding",
    "characters",
    "chorales",
    "copying",
    "counting",
    "counting_accepted",
    "counting_of",
    "counting_stream",
    "delayed_xor",
    "digits",
    "flip_flop",
    "laser",
    "long_series",
    "long_series_prices",
    "long_series_values",
    "next_step",
    "own",
    "piano_roll",
    "teacher",
    "temporal_order",
]
