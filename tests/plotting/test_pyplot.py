"""Figures that plots make are pyplot's where the caller shows figures with it, and nowhere else."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers.synthetic import make_trace

from gatescope import plotting
from gatescope.plotting import _figure

# A backend that shows figures, as a program's own or a notebook's would: it writes down what it was asked to show.
BACKEND = """
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

class FigureManager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, **keywords):
        from matplotlib import pyplot
        print("shown", [tuple(pyplot.figure(k).get_size_inches().tolist()) for k in pyplot.get_fignums()])

class FigureCanvas(FigureCanvasAgg):
    manager_class = FigureManager
"""
DRAW = """
import gatescope as gs, numpy as np
from helpers.synthetic import make_flow, make_trace
ax = gs.plotting.plot_gradient_flow(make_flow())
fig, _ = gs.plotting.plot_gate_trajectories(make_trace("rnn"))
"""


def run(script, tmp_path, **environment):
    (tmp_path / "shown_backend.py").write_text(BACKEND)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_show_shows_new_figures_and_leaves_the_callers_state(tmp_path):
    script = f"""
import matplotlib; matplotlib.use("module://shown_backend")
import matplotlib.pyplot as plt
mine, axes = plt.subplots()
before = dict(matplotlib.rcParams)
{DRAW}
gs.plotting.plot_gradient_flow(make_flow(), ax=axes)
assert dict(matplotlib.rcParams) == before
assert plt.get_fignums() == [1, 2, 3] and plt.figure(1) is mine and plt.figure(2) is ax.figure
gs.plotting.plot_gate_heatmap(make_trace("gru"), "z", ax=gs.plotting.new_figure().add_subplot())
make_flow()._repr_html_()
plt.show()
"""
    assert run(script, tmp_path) == "shown [(6.4, 4.8), (7.2, 4.6), (7.2, 2.25)]\n"


def test_a_notebook_shows_axes_that_a_cell_ends_with(tmp_path):
    script = f"""
import sys, types; sys.modules["ipykernel"] = types.ModuleType("ipykernel")  # what says that this is a notebook
{DRAW}
import matplotlib.pyplot as plt
plt.show()
"""
    assert run(script, tmp_path, MPLBACKEND="module://shown_backend").startswith("shown [(7.2, 4.6)")


@pytest.mark.filterwarnings("ignore:Animation was deleted without rendering:UserWarning")
def test_a_notebook_shows_no_picture_of_an_animation_beside_its_player(monkeypatch):
    made = []

    def figure(FigureClass, **keywords):
        made.append(FigureClass(**keywords))
        return made[-1]

    monkeypatch.setattr(_figure, "_pyplot", lambda: SimpleNamespace(figure=figure))
    monkeypatch.setattr("matplotlib.get_backend", lambda: "module://matplotlib_inline.backend_inline")
    plotting.animate_steps(make_trace("rnn"), window=10, frames=2)
    assert made == []
    fig, _ = plotting.plot_gate_trajectories(make_trace("rnn"))
    assert made == [fig]


def test_without_a_screen_pyplot_keeps_nothing(tmp_path):
    script = f"""
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt
{DRAW}
assert not plt.get_fignums()
assert fig._repr_png_().startswith(b"\\x89PNG")
"""
    run(script, tmp_path)
