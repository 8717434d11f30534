import hashlib
import os
import subprocess
import sys

import matplotlib
import pytest
from helpers.synthetic import make_flow, make_trace

import gatescope as gs
from gatescope import plotting
from gatescope.errors import DtypeError, OutputError, UnknownNameError, ValueRangeError

FIGURES = {
    "trajectories": lambda: plotting.plot_gate_trajectories(make_trace("rnn", steps=2000))[0],
    "heatmap": lambda: plotting.plot_gate_heatmap(make_trace("lstm"), "c").figure,
    "saturation": lambda: plotting.plot_saturation(gs.saturation(make_trace("lstm"))).figure,
    "decay": lambda: (
        plotting.plot_gradient_flow([make_flow("rnn", 9.0), make_flow("gru", zero_after=60)]).figure
    ),
}


@pytest.mark.parametrize("format", ["png", "svg", pytest.param("pdf", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FIGURES)
def test_the_same_figure_gives_the_same_bytes(name, format):
    fig = FIGURES[name]()
    first = plotting.render(fig, format, dpi=60)
    assert plotting.render(fig, format, dpi=60) == first  # drawn again
    assert plotting.render(FIGURES[name](), format, dpi=60) == first  # made again


def test_another_process_gives_the_same_bytes():
    script = (
        "import hashlib; from helpers.synthetic import make_flow; from gatescope import plotting;"
        "fig = plotting.plot_gradient_flow(make_flow()).figure;"
        "print(hashlib.sha256(plotting.render(fig, 'svg') + plotting.render(fig, 'png')).hexdigest())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    fig = plotting.plot_gradient_flow(make_flow()).figure
    here = hashlib.sha256(plotting.render(fig, "svg") + plotting.render(fig, "png")).hexdigest()
    assert done.stdout.strip() == here


def test_files_hold_no_date_and_no_version():
    fig = FIGURES["saturation"]()
    png, svg, pdf = (plotting.render(fig, format) for format in ("png", "svg", "pdf"))
    assert b"Software" not in png
    assert matplotlib.__version__.encode() not in svg
    assert matplotlib.__version__.encode() not in pdf
    assert b"date>" not in svg
    assert b"CreationDate" not in pdf


def test_a_notebook_shows_a_figure():
    fig, _ = plotting.plot_gate_trajectories(make_trace("rnn"))
    assert fig._repr_png_() == plotting.render(fig, dpi=100)


def test_clip_paths_of_an_svg_are_named_after_what_stands_in_them():
    """Matplotlib names them after all digits of a position, the last of which change from drawing to drawing."""
    fig = plotting.new_figure()
    axes = fig.add_subplot()
    axes.plot([0, 1])
    fig.set_layout_engine("none")
    axes.set_position((0.1, 0.1, 0.8, 0.8))
    first = plotting.render(fig, "svg")
    axes.set_position((0.1 + 1e-15, 0.1, 0.8, 0.8))
    assert plotting.render(fig, "svg") == first
    assert first.count(b"<clipPath id=") == 1


def test_the_fonts_of_a_pdf_are_true_type():
    pdf = plotting.render(FIGURES["saturation"](), "pdf")
    assert b"/FontFile2" in pdf  # what TrueType outlines are embedded as
    assert b"/Type3" not in pdf


def test_a_users_settings_do_not_change_the_picture():
    first = plotting.render(FIGURES["decay"]())
    with matplotlib.rc_context(
        {"font.size": 30, "axes.grid": False, "savefig.dpi": 20, "lines.linewidth": 9}
    ):
        assert plotting.render(FIGURES["decay"]()) == first


def test_save_figure_writes_each_format(tmp_path):
    fig = FIGURES["decay"]()
    paths = plotting.save_figure(fig, tmp_path / "gate.f")
    assert [path.name for path in paths] == ["gate.f.png", "gate.f.svg"]
    assert paths[0].read_bytes() == plotting.render(fig)
    assert paths[1].read_bytes() == plotting.render(fig, "svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate.f.png", "gate.f.svg"]
    (path,) = plotting.save_figure(plotting.new_figure(), tmp_path / "one", "png", dpi=50)
    assert int.from_bytes(path.read_bytes()[16:20], "big") == 360  # 7.2 inches


def test_nothing_is_written_if_a_format_is_not_known(tmp_path):
    with pytest.raises(UnknownNameError, match="formats='bmp' is not known; choose from png, svg, pdf"):
        plotting.save_figure(plotting.new_figure(), tmp_path / "x", ("png", "bmp"))
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        plotting.save_figure(plotting.new_figure(), tmp_path / "missing" / "x")
    with pytest.raises(DtypeError, match=r"fig is an Axes; give a matplotlib Figure; of axes, ax.figure"):
        plotting.save_figure(plotting.new_figure().add_subplot(), tmp_path / "x")
    with pytest.raises(ValueRangeError, match="dpi=0"):
        plotting.render(plotting.new_figure(), dpi=0)
