"""What plots refuse, whichever result they draw."""

import numpy as np
import pytest
from helpers.synthetic import make_flow, make_trace
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes import GradientFlow
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.plotting._checks import check_labels, check_results


def test_one_result_or_several():
    flow = make_flow()
    assert check_results("flows", flow, GradientFlow, "gradient_flow") == [flow]
    assert check_results("flows", (flow, flow), GradientFlow, "gradient_flow") == [flow, flow]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([], ValueRangeError, "flows is empty; give at least one GradientFlow"),
        (
            3,
            DtypeError,
            "flows is an int; give a GradientFlow, as gatescope.gradient_flow returns it, or a seq",
        ),
        ("ab", DtypeError, "flows is a str"),
        (b"ab", DtypeError, "flows is a bytes"),
        ([make_flow(), 3], DtypeError, r"flows\[1\] is an int; give a GradientFlow"),
    ],
)
def test_no_results(value, error, message):
    with pytest.raises(error, match=message):
        check_results("flows", value, GradientFlow, "gradient_flow")


def test_labels_are_shown_as_they_are():
    assert check_labels(None, ["lstm"]) == ["lstm"]
    assert check_labels(("a$b", "_c"), ["lstm", "gru"]) == [r"a\$b", "\N{WORD JOINER}_c"]
    assert check_labels(("half \ud800",), ["lstm"]) == ["half ?"]
    with pytest.raises(ShapeError, match="labels holds 1 text, but there are 2 to label"):
        check_labels(["a"], ["lstm", "gru"])
    with pytest.raises(DtypeError, match="labels is a str"):
        check_labels("ab", ["lstm", "gru"])
    with pytest.raises(DtypeError, match="labels is a bytes"):
        check_labels(b"ab", ["lstm", "gru"])
    assert check_labels(np.array(["a", "b"]), ["lstm", "gru"]) == ["a", "b"]


def test_only_axes_and_figures_are_drawn_on():
    with pytest.raises(DtypeError, match="ax is a Figure; give a matplotlib Axes"):
        plotting.plot_gradient_flow(make_flow(), ax=Figure())
    with pytest.raises(DtypeError, match="fig is a str; give a matplotlib Figure or SubFigure"):
        plotting.plot_gate_trajectories(make_trace(), fig="here")
