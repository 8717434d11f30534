"""What the literature lets one expect of a statement; written before the full run, and read by no test of one."""

from __future__ import annotations

# By number.  Where a text gives numbers, they stand beside ours as `PublishedNumber`.
EXPECTED = {
    "1a": "It does: Bengio, Simard and Frasconi 1994, and Pascanu, Mikolov and Bengio 2013, bound it by powers of the "
    "largest singular value.",
    "1b": "It may, where that value is above 1 (Pascanu, Mikolov and Bengio 2013).",
    "2a": "Hochreiter and Schmidhuber 1997 keep it for cells whose gates stay open; Tallec and Ollivier 2018 find that "
    "biases of the order of ln T have to hold them so.",
    "4": "Addition alone did: Le, Jaitly and Hinton 2015 learn adding with T = 150 to 300 by a ReLU network that "
    "begins at the identity.",
    "6a": "No order of the two: Chung and others 2014 find neither better overall.",
    "7b": "Yes: in Chung and others 2014 GRU and LSTM change places between data sets.",
    "8a": "No: Greff and others 2017 find no variant of the LSTM better than it on all sets, nor it than all.",
    "8b": "No: in Chung and others 2014 by 0.13 nats a step on JSB chorales, but not on Nottingham, by 0.03.",
    "9a": "3/4, from the equations.",
    "10b": "Faster by 3.84 %, in the one run of each that M has.",
    "17a": "Weiss, Goldberg and Yahav 2018: an LSTM counts a^n b^n far beyond its training length, a GRU does not.",
    "27a": "Lower, 1.06 against 1.22, in the one run of each that M has.",
    "28a": "Yes, in the one run of each that M has: jumps of 0.2 to 0.4 from epoch 590 on.",
    "33b": "Not as published: Elman 1990 copies the state back, and the error of a step goes through that step alone.",
    "34": "Greff and others 2017: without the output activation all their sets get worse; without the input activation "
    "JSB chorales do not.",
    "36": "It can: Le, Jaitly and Hinton 2015 learn adding with T = 150 to 300 by a ReLU network from the identity.",
    "37": "Chung and others 2014: by 0.43 and 0.56 nats a step on JSB chorales; on Nottingham a plain RNN was best.",
    "42": "Greff and others 2017: forget gate and output activation matter most; coupled gates and no peepholes cost "
    "nothing.",
    "43": "The forget gate is of Gers, Schmidhuber and Cummins 2000, for streams that have no ends.",
}
