"""Data to run and train the cells on; each task gives a `gatescope.datatypes.Batch`."""

from gatescope.tasks.adding import adding
from gatescope.tasks.characters import characters
from gatescope.tasks.chorales import chorales
from gatescope.tasks.copying import copying
from gatescope.tasks.counting import counting, counting_accepted, counting_of
from gatescope.tasks.delayed_xor import delayed_xor
from gatescope.tasks.digits import digits
from gatescope.tasks.flip_flop import flip_flop
from gatescope.tasks.laser import laser
from gatescope.tasks.long_series import long_series, long_series_prices, long_series_values
from gatescope.tasks.next_step import next_step
from gatescope.tasks.own import own
from gatescope.tasks.piano_roll import piano_roll
from gatescope.tasks.temporal_order import temporal_order

__all__ = [
    "adding",
    "characters",
    "chorales",
    "copying",
    "counting",
    "counting_accepted",
    "counting_of",
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
    "temporal_order",
]
