"""What results of measurements say of themselves: a title, a table as wide as its header, sentences."""

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs

CASE = Case("lstm", T=40, B=2, I=2, H=5)
RESULTS = {
    "jacobian_spectrum": (
        lambda: gs.jacobian_spectrum(CASE.params, CASE.inputs, lags=[0, 1, 30]),
        "singular values, log10, of d joint by an earlier joint, lstm, from step 40, sequence 0",
        "the largest falls by",
    ),
    "lyapunov_spectrum": (
        lambda: gs.lyapunov_spectrum(CASE.params, CASE.inputs, qr_every=1),
        "Lyapunov exponents of lstm over 36 steps, after 4 that do not count; QR every 1 step",
        "nats per step over 36 steps",
    ),
    "connectivity": (
        lambda: gs.connectivity(CASE.params, CASE.inputs, target_steps=[3, 39], norm="unit"),
        "log10 of || d output / d input || (unit) of lstm, geometric mean over pairs",
        "44 pairs of 2 outputs and 40 inputs",
    ),
    "fixed_points": (
        lambda: gs.fixed_points(CASE.params, [0.5, 1.0], starts=9),
        "fixed points of lstm under the constant input 0.5, 1",
        "from 9 starts",
    ),
    "phase_diagram": (
        lambda: gs.phase_diagram("rnn", gain=[0.5, 3.0], hidden_size=5, inputs=np.zeros((60, 1))),
        "phases of rnn with 5 units over 60 steps, 2 gains",
        "of 2 points",
    ),
    "saturation": (
        lambda: gs.saturation(CASE.run()),
        "gates of lstm, 5 units over 80 steps: shut below 0.1, open above 0.9",
        "of all gate values are saturated",
    ),
    "memory_estimate": (
        lambda: gs.estimate_memory("gradient_flow", CASE.params, steps=40, batch=2, threads=1),
        "gradient flow of lstm with 5 units in float64, 40 steps, 2 sequences: 1 segment of 40 steps",
        "together",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_title_a_table_and_sentences(name):
    make, title, sentence = RESULTS[name]
    result = make()
    table = result.table()
    first, *rest = result.summary().splitlines()
    assert table.title == first == title
    assert sentence in rest[-1]
    assert table.rows
    assert {len(row) for row in table.texts()} == {len(table.header)}
    assert result._repr_html_().count("<tr>") == len(table.rows) + 1


def test_a_sequence_that_has_none_of_the_lags():
    lag, nothing = np.array([1, 2]), np.full((2, 1, 3), np.nan)
    spectrum = gs.JacobianSpectrum(cell="lstm", lag=lag, log_singular=nothing, of="h", wrt="h", source_step=9)
    assert spectrum.summary().startswith("singular values, log10, of d h by an earlier h, lstm, from step 9")
    assert spectrum._repr_html_()
    with pytest.raises(gs.ValueRangeError, match=r"^sequence=0 has none of the lags"):
        gs.plotting.plot_jacobian_spectrum(spectrum)
