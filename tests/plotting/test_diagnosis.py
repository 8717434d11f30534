"""The page of a diagnosis: every panel shows the result's numbers, and nothing lies over anything else."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from helpers.synthetic import make_flow
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes.diagnosis import Diagnosis
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.errors import DtypeError, GatescopeError
from gatescope.plotting.diagnosis import PANELS, plot_diagnosis

EXPONENTS = np.array([-0.1, -0.2, -0.35])


def make_spectrum(batch, exponents):
    values = np.repeat(exponents[None], batch, axis=0)
    nothing = np.full(batch, np.nan)
    return LyapunovSpectrum(
        cell="lstm",
        exponents=values,
        error=np.full(values.shape, 0.01),
        running=values[None],
        running_step=np.array([90]),
        transient=10,
        qr_every=1,
        steps=90,
        size=6,
        smallest_sine=np.ones(batch),
        rounding=np.zeros(batch),
        log_det=nothing,
        log_det_sum=nothing,
        perturbation=nothing,
        perturbation_reference=nothing,
    )


def make_life(batch):
    rate = np.full(batch, 0.1)
    return HalfLife.from_rates(
        cell="lstm",
        gate="f",
        gate_rate=np.full((batch, 3), 0.1),
        gate_error=np.full((batch, 3), 0.001),
        adjoint_rate=rate,
        adjoint_error=rate / 100,
        exponent_rate=rate,
        exponent_error=rate / 100,
        r_squared=np.ones(batch),
        steps=100,
        transient=10,
    )


def make_paths(names, batch, alive=True):
    lag = np.arange(1, 60)
    norms = np.log(np.arange(1.0, len(names) + 1))[None, :, None] - 0.1 * lag[:, None, None] + np.zeros(batch)
    whole = np.logaddexp.reduce(norms, axis=1)
    return GradientPaths(
        cell="lstm",
        lag=lag,
        paths=names,
        log_norm=norms if alive else np.full_like(norms, -np.inf),
        fraction=np.exp(norms - whole[:, None]),
        total_log_norm=whole,
        of="h",
        wrt="c",
        source_step=100,
        norm="random",
    )


def make_diagnosis(gates=("i", "f", "g", "o"), *, batch=1, exponents=EXPONENTS, alive=True, **fields):
    """Gates in (0, 1) but for g; each is clamped open and at its mean."""
    signed = np.array([gate == "g" for gate in gates], bool)
    count = len(gates)
    shut = np.where(signed, np.nan, 0.25)
    spread = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    clamped = [(gate, at) for gate in gates for at in (("mean",) if gate == "g" else ("open", "mean"))]
    defaults = {
        "cell": "lstm",
        "verdict": "vanishing",
        "numbers": dict(
            exponent=-0.1, bound=0.01, half_life_exponent=6.93, reach=80.0, resolution=1e-7, suggested_exponent=-0.01,
            suggested_half_life_exponent=69.3,
            **{f"clamped_{gate}_{at}": -0.05 * (k + 1) for k, (gate, at) in enumerate(clamped)},
        ),
        "steps": 100,
        "window": 100,
        "transient": 10,
        "sequences": batch,
        "target_half_life": 69.3,
        "flow": make_flow("lstm", rate=0.1, lags=201, batch=batch),
        "spectrum": make_spectrum(batch, exponents),
        "half_life": make_life(batch),
        "paths": make_paths(("direct", *gates), batch, alive),
        "gates": gates,
        "mean": np.full(count, 0.5),
        "shut": shut,
        "open": shut / 2,
        "quantiles": np.where(signed[:, None], 2 * spread - 1, spread),
        "clamped_gate": tuple(gate for gate, _ in clamped),
        "clamped_at": tuple(at for _, at in clamped),
        "clamped_exponent": -0.05 * np.arange(1.0, len(clamped) + 1),
        "clamped_error": np.full(len(clamped), 0.01),
        "gate": gates[0] if gates else "",
        "tried_gates": gates[:1],
        "suggestion": "bias" if gates else "gain",
        "suggested_gate": gates[0] if gates else "",
        "suggested_value": 1.234,
        "reached": True,
        "suggested_half_life": make_life(batch),
        "provenance": {"dtype": "float32"},
    }  # fmt: skip
    return Diagnosis(**{**defaults, **fields})


def test_the_panels_show_the_results_numbers():
    result = make_diagnosis()
    fig, axes = plot_diagnosis(result)
    assert isinstance(fig, Figure)
    assert tuple(axes) == PANELS
    assert axes["sentences"].get_title(loc="left") == "lstm: vanishing"
    shown = axes["sentences"].texts[0].get_text()
    assert " ".join(shown.replace("•", " ").split()) == " ".join(" ".join(result.sentences).split())
    labels = [text.get_text() for text in axes["flow"].get_legend().get_texts()]
    assert labels[1:] == ["half-life by the exponent: 6.93 steps", "below what float32 can tell: 80 steps"]
    assert [line.get_xdata()[0] for line in axes["flow"].lines if line.get_label() in labels[1:]] == [
        6.93,
        80.0,
    ]
    (points, *_), *_ = axes["exponents"].containers
    np.testing.assert_array_equal(points.get_ydata(), EXPONENTS)
    bars = axes["clamped"].patches[1:]  # after the band
    widths = [bar.get_width() for bar in bars]
    np.testing.assert_allclose(widths, [-0.1, *result.clamped_exponent, -0.01], rtol=1e-15)
    names = [text.get_text() for text in axes["clamped"].get_yticklabels()]
    assert names[:3] == ["as it is", "i clamped open", "i clamped at its mean"]
    assert names[-1] == "+1.234 on the bias of i"
    assert [text.get_text() for text in axes["gates"].texts] == ["shut 25%\nopen 12%"] * 3
    assert axes["gates"].get_xlim() == (-1, 1)
    assert len(axes["paths"].collections) == 5


def test_a_cell_without_gates():
    fig, axes = plot_diagnosis(
        make_diagnosis(
            (),
            verdict="chaotic",
            numbers=dict(
                exponent=0.2, doubling=3.5, bound=0.01, suggested_exponent=0.01, suggested_doubling=69.3
            ),
        )
    )
    assert axes["gates"].texts[0].get_text() == "no values of gates are saved for this cell"
    assert [text.get_text() for text in axes["clamped"].get_yticklabels()] == [
        "as it is",
        "weight_hh × 1.234",
    ]
    assert len(axes["flow"].get_legend().get_texts()) == 1  # no half-life, and no end of what can be told
    plotting.render(fig, dpi=40)


def test_what_rounding_leaves_of_0_is_0():
    result = make_diagnosis(clamped_exponent=np.array([5.551e-18, -1e-16, -1.0, -1.0, -2.0, -1.0, -1.0]))
    _, axes = plot_diagnosis(result)
    assert [text.get_text() for text in axes["clamped"].texts[1:4]] == ["0", "0", "−1"]
    rows = [row[1] for row in result.table().rows if row[0].startswith("leading exponent")]
    assert [text.split()[0] for text in rows[:3]] == ["0", "0", "−1"]


def test_what_is_infinite_or_missing_is_said():
    numbers = {"exponent": -np.inf, "bound": 0.01, "longest_lag": 5.0, "tried_gain": 2.0, "tried_bias": 16.0}
    result = make_diagnosis(
        exponents=np.full(3, -np.inf), numbers=numbers, gate="", suggestion="", alive=False, suggested_half_life=None,
        clamped_exponent=np.array([np.nan, -np.inf, -1.0, -1.0, -2.0, -1.0, -1.0]),
    )  # fmt: skip
    fig, axes = plot_diagnosis(result)
    assert "no gradient is left" in axes["paths"].texts[0].get_text()
    assert axes["exponents"].texts[0].get_text() == "all are\nminus infinity"
    assert [text.get_text() for text in axes["clamped"].texts[:3]] == [
        "−∞",
        "states not finite",
        "−∞",
    ]
    plotting.render(fig, dpi=40)


@pytest.mark.parametrize(
    "result",
    [
        make_diagnosis(),
        make_diagnosis(batch=3),
        make_diagnosis(()),
        make_diagnosis(("a",)),
        make_diagnosis(clamped_exponent=-1e-5 * np.arange(1.0, 8), exponents=-1e-4 * np.arange(1, 6)),
    ],
    ids=["lstm", "batch", "rnn", "one gate", "small numbers"],
)
def test_nothing_overlaps(result):
    fig, axes = plot_diagnosis(result)
    canvas = FigureCanvasAgg(fig)
    with plotting.style():
        canvas.draw()
    renderer = canvas.get_renderer()
    boxes = {name: ax.get_tightbbox(renderer) for name, ax in axes.items()}
    boxes["sentences"] = axes["sentences"].texts[0].get_window_extent(renderer)
    for one, other in combinations(boxes, 2):
        assert not _overlap(boxes[one], boxes[other]), (one, other)
    for name, box in boxes.items():
        assert fig.bbox.x0 - 1 <= box.x0, name
        assert box.x1 <= fig.bbox.x1 + 1, name
    for ax in axes.values():
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [
                text.get_window_extent(renderer)
                for text in axis.get_ticklabels()
                if ax.axison and text.get_text() and text.get_visible()
            ]
            assert not any(_overlap(*pair) for pair in combinations(ticks, 2))


def _overlap(one, other):
    # By more than a pixel: boxes that touch are rounded apart or together.
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across > 1 and up > 1


def test_a_given_figure_is_used():
    mine = Figure(figsize=(14, 12), layout="constrained")
    left, _ = mine.subfigures(1, 2)
    fig, axes = plot_diagnosis(make_diagnosis(), fig=left)
    assert fig is left
    assert axes["flow"].figure is left
    plotting.render(mine)


def test_bad_arguments():
    with pytest.raises(DtypeError, match="result is a NoneType; give a Diagnosis"):
        plot_diagnosis(None)


def test_a_verdict_is_one_of_those_that_there_are():
    for change in ({"verdict": "x"}, {"clamped_at": ("ajar",)}, {"clamped_at": None}, {"numbers": {}}):
        with pytest.raises(GatescopeError, match=next(iter(change))):
            dataclasses.replace(make_diagnosis(), **change)
