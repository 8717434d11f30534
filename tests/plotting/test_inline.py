"""What notebooks show of a result: its summary and table, and a small figure where one says more."""

import base64
import dataclasses
import re

import numpy as np
import pytest
from helpers.curves import made
from helpers.synthetic import make_connectivity, make_flow, make_paths, make_trace
from helpers.training_runs import make_run

import gatescope as gs
from gatescope.experiments.seeds.statistics import paired
from gatescope.plotting import _inline

MADE = {
    "GradientFlow": make_flow,
    "GradientPaths": make_paths,
    "Connectivity": lambda: make_connectivity(range(5), range(5)),
    "Trace": make_trace,
    "Saturation": lambda: gs.saturation(make_trace()),
    "TrainingRun": make_run,
}


@pytest.mark.parametrize("kind", MADE)
def test_a_notebook_shows_a_small_figure(kind):
    gs.Result  # noqa: B018  # the package puts the drawing in place when a name of it is first used
    result = MADE[kind]()
    assert type(result).__name__ == kind
    shown = result._repr_html_()
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]*)"', shown)
    png = base64.b64decode(encoded)
    assert png == _inline.png(result)
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert width < 600
    assert height < 400


@pytest.mark.parametrize(
    ("names", "wide"), [(("layers.0", "layers.1"), 1), (("layers.0.forward", "layers.0.backward"), 1.5)]
)
def test_a_result_of_each_layer_is_shown_in_a_panel_a_layer(names, wide):
    result = gs.ByLayer(names=names, results=(make_paths(),) * 2)
    png = _inline.png(result)
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert width == pytest.approx(wide * 6.2 * 80, abs=2)
    assert height == pytest.approx((1 if wide > 1 else 2) * 4.0 * 80, abs=2)
    assert (
        _inline.png(gs.ByLayer(names=names, results=(make_flow(),) * 2)) is None
    )  # which has no plot by layer


def test_names_are_escaped():
    shown = dataclasses.replace(make_flow(), cell="<b>$x$")._repr_html_()
    assert "<b>" not in shown
    assert "&lt;b&gt;$x$" in shown


def test_what_cannot_be_drawn_is_shown_as_numbers():
    empty = dataclasses.replace(make_flow(lags=0))
    assert _inline.png(empty) is None
    assert _inline.png(gs.init("gru", input_size=1, hidden_size=2, seed=0)) is None


def test_studies_are_shown_as_pictures_too():
    effect = paired(np.log([0.5, 0.6, 0.4]), margin=0.2, name="adding")
    curves = made(np.random.default_rng(0).random((2, 3, 30)) + 0.5)
    for result in (effect, curves):
        assert _inline.png(result).startswith(b"\x89PNG")


def test_every_row_is_a_result():
    assert all(issubclass(kind, gs.datatypes.Result) for kind in _inline.DRAWN)
    assert np.prod(_inline._SIZE) * _inline._DPI**2 < 200_000  # pixels
