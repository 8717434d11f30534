import numpy as np
from helpers.synthetic import make_trace

from gatescope import plotting


def test_the_line_is_the_input_and_events_are_marked():
    trace = make_trace("gru", steps=40, lengths=[40, 12])
    trace.inputs[:] = np.arange(80.0).reshape(40, 2, 1)
    ax = plotting.plot_inputs(trace, sequence=1, marks={3: "onset"})
    curve, mark = ax.lines
    np.testing.assert_array_equal(curve.get_ydata(), trace.inputs[:12, 1, 0])
    assert mark.get_xdata()[0] == 3
    assert [text.get_text() for text in ax.texts] == ["onset"]


def test_a_long_series_is_averaged_and_the_label_says_so():
    trace = make_trace("rnn", steps=4001, batch=1)
    trace.inputs[:, 0, 0] = np.arange(4001.0)
    ax = plotting.plot_inputs(trace)
    assert "means of 14 steps; band: least to greatest" in ax.get_xlabel()
    np.testing.assert_allclose(ax.lines[0].get_ydata()[0], np.arange(14).mean())
