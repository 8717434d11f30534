"""Functions that sweeps call; processes import them from here."""

import os
import signal
import time
from pathlib import Path

import numpy as np

import gatescope as gs


def noted(log, *words):
    """Add a line to a file, which all processes may do at once."""
    if log is not None:
        with open(log, "a") as stream:
            stream.write(" ".join(map(str, words)) + "\n")


def wave(gain, seed, log=None):
    noted(log, gain, seed)
    values = gain * np.random.default_rng(seed).standard_normal(100)
    return {"level": values.sum(), "largest": np.abs(values).max(), "first": values[:3]}


def rate(gain, seed):
    """Return what kernels compute."""
    params = gs.init(
        "lstm", input_size=1, hidden_size=5, seed=seed, dtype="float64", scheme=f"gaussian({gain})"
    )
    flow = gs.gradient_flow(params, np.ones((60, 1, 1)), threads=1)
    return flow.decay_rate().value[0]


def picky(x, log=None):
    noted(log, x)
    if x == 1:
        raise ValueError("no 1 \x1b[31m" + "!" * 1000)
    return x


def odd(x):
    returned = {0: np.ones(3), 1: object(), 2: {"x": 1}, 3: None, 4: {1: 2}, 5: True, 6: "text"}
    return returned[x]


def process(_):
    return os.getpid()


def deadly(x, log=None):
    """Kill the process at 2, each time."""
    noted(log, x)
    if x == 2:
        time.sleep(0.2)  # so that others are at work
        os._exit(3)
    return x


def dies_once(x, log):
    """Kill the process at 2, the first time; some time after it began."""
    noted(log, x)
    time.sleep(0.1)
    if x == 2 and Path(log).read_text().split().count("2") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.sqrt(x)


def interrupted(x, log):
    noted(log, x)
    if x == 2 and Path(log).read_text().split().count("2") == 1:
        raise KeyboardInterrupt
    return x


def endless(x, log):
    """Take for ever from 1 on, the first time."""
    noted(log, x, os.getpid())
    if x and len(Path(log).read_text().splitlines()) < 4:
        time.sleep(600)
    return x
