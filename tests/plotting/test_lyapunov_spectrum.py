import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting.lyapunov_spectrum import plot_lyapunov_convergence, plot_lyapunov_spectrum


def make_spectrum(
    exponents=(0.2, 0.0, -0.1, -0.5), cell="gru", *, estimates=40, batch=1, error=0.01, size=None
):
    """Estimates that approach the exponents as 1/T; those of sequence b are shifted by -b."""
    ends = np.array(exponents, float) - np.arange(batch)[:, None]
    step = 100 * np.arange(1, estimates + 1)
    with np.errstate(invalid="ignore"):
        running = ends + 5 / step[:, None, None] * (-1.0) ** np.arange(len(exponents))
        running[-1] = ends
    unknown = np.full(batch, np.nan)
    return LyapunovSpectrum(
        cell=cell,
        exponents=ends,
        error=np.full(ends.shape, float(error)),
        running=running,
        running_step=step,
        transient=50,
        qr_every=1,
        steps=int(step[-1]) + 50,
        size=size or len(exponents),
        smallest_sine=np.full(batch, 0.5),
        rounding=np.full(batch, 1e-16),
        log_det=unknown,
        log_det_sum=unknown,
        perturbation=unknown,
        perturbation_reference=unknown,
    )


def stars(ax):
    return [line for line in ax.lines if line.get_marker() == "*"]


def band_heights(ax):
    """Least and greatest height of each filled band."""
    boxes = [collection.get_paths()[0].vertices[:, 1] for collection in ax.collections]
    return [(box.min(), box.max()) for box in boxes]


def test_lines_are_the_running_estimates():
    spectrum = make_spectrum(batch=2)
    ax = plot_lyapunov_convergence(spectrum, ks=(0, -1), sequence=1)
    lines = legend_lines(ax)
    assert len(lines) == 2
    for line, k in zip(lines, (0, 3), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), spectrum.running_step)
        np.testing.assert_array_equal(line.get_ydata(), spectrum.running[:, 1, k])
    assert lines[0].get_label() == r"$\lambda_{1}$: −0.8 ± 0.01"
    assert lines[1].get_label().startswith(r"$\lambda_{4}$: −1.5")


def test_the_band_is_the_error_on_both_sides():
    ax = plot_lyapunov_convergence(make_spectrum(error=0.03), ks=(2,))
    ((low, high),) = band_heights(ax)
    assert (low, high) == (pytest.approx(-0.13, rel=1e-12), pytest.approx(-0.07, rel=1e-12))
    unknown = plot_lyapunov_convergence(make_spectrum(error=np.nan), ks=(2,))
    assert not unknown.collections
    assert legend_lines(unknown)[0].get_label() == r"$\lambda_{3}$: −0.1"


@pytest.mark.parametrize("plot", [plot_lyapunov_convergence, plot_lyapunov_spectrum])
@pytest.mark.parametrize("field", ["exponents", "error", "running"])
def test_numbers_that_no_axis_can_show_are_refused(plot, field):
    spectrum = make_spectrum((1e300, -1e300))
    plotting.render(plot(spectrum).figure, dpi=40)
    array = getattr(spectrum, field).copy()
    array[0] = 1e308
    with pytest.raises(
        ValueRangeError, match=r"=1e\+308 holds a number that no axis can show; .* up to 1e\+300"
    ):
        plot(dataclasses.replace(spectrum, **{field: array}))


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (3, [1, 2, 3]), (128, [1, 33, 65, 96, 128])])
def test_by_default_the_leading_and_a_few_spread_ones(count, expected):
    ax = plot_lyapunov_convergence(make_spectrum(-0.01 * np.arange(count)))
    assert [line.get_label().partition(":")[0] for line in legend_lines(ax)] == [
        rf"$\lambda_{{{k}}}$" for k in expected
    ]


def test_the_verdict_is_the_title_and_the_warm_up_is_reported():
    spectrum = make_spectrum(batch=2)
    ax = plot_lyapunov_convergence(spectrum, sequence=1)
    assert " ".join(ax.get_title("left").split()) == " ".join(spectrum.verdict()[1].split())
    assert "the first 50 not counted" in ax.get_xlabel()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_zero_is_in_sight_unless_it_would_flatten_the_estimates(scale):
    for exponents, near in (
        ((-1.0, -4.0), True),
        ((3.0, 1.0), True),
        ((-3.0, -np.inf), False),
        ((3.0,), False),
    ):
        ax = plot_lyapunov_convergence(make_spectrum(exponents), scale=scale)
        low, high = ax.get_ylim()
        assert (low < 0 < high) == near
        assert ax.get_xscale() == scale
        assert sum(line.get_gid() == "zero" for line in ax.lines) == 1
    plotting.render(ax.figure, dpi=40)


def test_how_the_estimates_began_does_not_stretch_the_axis():
    spectrum = make_spectrum(estimates=200)
    spectrum.running[0] = 1e3
    assert plot_lyapunov_convergence(spectrum).get_ylim()[1] < 1


def test_the_title_and_the_legend_lie_inside_the_figure():
    ax = plot_lyapunov_convergence(make_spectrum(-0.01 * np.arange(64)))
    with plotting.style():
        ax.figure.draw_without_rendering()
    for artist in (ax._left_title, ax.get_legend()):
        assert artist.get_window_extent().x1 <= ax.figure.bbox.x1
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1


def test_one_estimate_is_a_point():
    ax = plot_lyapunov_convergence(make_spectrum(estimates=1))
    assert all(line.get_marker() != "None" for line in legend_lines(ax))
    plotting.render(ax.figure, dpi=40)


def test_all_exponents_with_their_errors():
    spectrum = make_spectrum(error=0.02)
    ax = plot_lyapunov_spectrum(spectrum)
    (line,) = legend_lines(ax)
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(line.get_ydata(), spectrum.exponents[0])
    assert line.get_color() == _palette.CELLS["gru"].color
    (bars,) = ax.containers[0].lines[2]
    for segment, value in zip(bars.get_segments(), spectrum.exponents[0], strict=True):
        np.testing.assert_allclose(segment[:, 1], [value - 0.02, value + 0.02], rtol=1e-12)
    many = make_spectrum(-0.1 - 0.01 * np.arange(64), error=0.02)
    ((low, high),) = band_heights(plot_lyapunov_spectrum(many))
    assert (low, high) == (pytest.approx(-0.75, rel=1e-12), pytest.approx(-0.08, rel=1e-12))


def test_the_dimension_is_a_star_on_the_zero_line():
    ax = plot_lyapunov_spectrum(make_spectrum())  # 0.2 + 0 - 0.1 = 0.1, and a fifth of 0.5 more
    (star,) = stars(ax)
    np.testing.assert_allclose([star.get_xdata()[0], star.get_ydata()[0]], [3.2, 0], rtol=1e-12)
    assert legend_lines(ax)[0].get_label() == "gru: 3.2"


def test_no_star_where_the_dimension_is_zero_or_not_known():
    ax = plot_lyapunov_spectrum(make_spectrum((-0.1, -0.2)))
    assert not stars(ax)
    assert legend_lines(ax)[0].get_label() == "gru: 0"
    ax = plot_lyapunov_spectrum(make_spectrum((0.5, 0.1), size=6))
    assert not stars(ax)
    assert legend_lines(ax)[0].get_label() == "gru: not known, more exponents needed"


def test_exponents_of_minus_infinity_are_counted_not_drawn():
    ax = plot_lyapunov_spectrum(make_spectrum((-0.1, -np.inf, -np.inf)))
    (line,) = legend_lines(ax)
    np.testing.assert_array_equal(np.isfinite(line.get_ydata()), [True, False, False])
    assert line.get_label().endswith("2 exponents are minus infinity")
    plotting.render(ax.figure, dpi=40)


def test_several_spectra_share_one_zero_line():
    spectra = [make_spectrum(cell="rnn"), make_spectrum((-0.1, -0.2), "lstm")]
    ax = plot_lyapunov_spectrum(spectra, labels=["a$b", "_c"], lw=3)
    assert [line.get_label().partition(": ")[0] for line in legend_lines(ax)] == [
        r"a\$b",
        "\N{WORD JOINER}_c",
    ]
    assert {line.get_linewidth() for line in legend_lines(ax)} == {3}
    assert sum(line.get_gid() == "zero" for line in ax.lines) == 1
    mine = Figure().add_subplot()
    assert plot_lyapunov_spectrum(spectra[0], ax=mine) is mine
    plot_lyapunov_spectrum(spectra[1], ax=mine)
    assert sum(line.get_gid() == "zero" for line in mine.lines) == 1


@pytest.mark.parametrize("ks", [(4,), (-5,), (), "0", 0, (0.5,), (True,)])
def test_no_such_exponent(ks):
    with pytest.raises((DtypeError, ValueRangeError), match="ks"):
        plot_lyapunov_convergence(make_spectrum(), ks=ks)


def test_bad_arguments():
    spectrum = make_spectrum()
    with pytest.raises(DtypeError, match="spectrum is an int; give a LyapunovSpectrum"):
        plot_lyapunov_convergence(3)
    with pytest.raises(UnknownNameError, match="scale='cubic' is not known"):
        plot_lyapunov_convergence(spectrum, scale="cubic")
    for draw in (plot_lyapunov_convergence, plot_lyapunov_spectrum):
        with pytest.raises(ValueRangeError, match="sequence=1 is out of range"):
            draw(spectrum, sequence=1)
        with pytest.raises(ShapeError, match="does not fit"):
            draw(dataclasses.replace(spectrum, exponents=np.zeros((1, 0))))
    with pytest.raises(ShapeError, match="labels holds 2 texts"):
        plot_lyapunov_spectrum(spectrum, labels=["a", "b"])
