"""What a process takes of the machine, and what others take."""

import os

import numpy as np

from gatescope.experiments import machine


def test_children_are_no_others(monkeypatch):
    # 10 s were computed: 7 by a child that ended, 3 by one that goes on.
    busy, goes_on, ended = iter((0.0, 10.0)), iter((1.0, 4.0)), iter((0.0, 7.0))
    monkeypatch.setattr(machine, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(machine, "_seconds_of", lambda _: next(goes_on))
    monkeypatch.setattr(os, "times", lambda: os.times_result((0, 0, next(ended), 0, 0)))
    with machine.others_share(lambda: [7]) as share:
        pass
    assert share == [0]


def test_the_peak_holds_what_was_there():
    array = np.ones(1 << 23)
    size = array.nbytes
    assert size < machine.peak_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    del array
    assert machine.peak_memory() > size
