"""Train, be killed at random moments, go on, and compare with training that never was: run by test_resume.py."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import gatescope as gs
from helpers.train_cases import make_batch, make_stack, same, train

KILLS, EPOCHS = 10, 12


def options(path):
    return {
        "model": make_stack(),
        "epochs": EPOCHS,
        "batch_size": 3,
        "bptt_steps": 5,
        "stateful": True,
        "weight_noise": 0.01,
        "validation": make_batch(1),
        "probe_every": 10,
        "snapshot_every": 5,
        "checkpoint": path,
        "checkpoint_seconds": 0,
        "threads": 1,
    }


def main(folder):
    whole = train(**{**options(folder / "whole"), "checkpoint_seconds": 60})
    path, rng, reached = folder / "killed", np.random.default_rng(0), []
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            train(**options(path))
            os._exit(0)
        time.sleep(rng.uniform(0.02, 0.15))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):  # it was faster
            break
        if path.exists():
            reached.append(int(np.load(path)["counters"][3]))
    run = train(**{**options(path), "checkpoint_seconds": 60})
    assert reached == sorted(reached), reached
    assert reached, "no kill came before the end and after the beginning"
    assert run.status == gs.Status.FINISHED
    assert same(run, whole)
    print(f"killed after {reached} of {whole.history.updates[-1]} updates")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
