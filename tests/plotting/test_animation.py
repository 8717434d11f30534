import base64
import gc
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from helpers.synthetic import make_trace
from matplotlib.animation import FFMpegWriter
from matplotlib.figure import Figure
from PIL import Image

from gatescope.errors import DtypeError, OutputError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.plotting._save_animation import save_animation
from gatescope.plotting.animation import animate_gates, animate_steps

# Of each animation that is not saved; matplotlib cannot know that a test looks at what it draws.
pytestmark = pytest.mark.filterwarnings("ignore:Animation was deleted without rendering:UserWarning")


def traces(cell="gru", count=4, **keywords):
    return [make_trace(cell, steps=20, seed=seed, **keywords) for seed in range(count)]


def frame(animation, number):
    """Draw one frame as the players do; return the figure."""
    list(animation.new_frame_seq())[number]
    animation._draw_frame(number)
    return animation._fig


def on_top(animation):
    return animation._fig.legends[0].get_title().get_text().replace("\n", " ")


def small(count=4, **keywords):
    return animate_gates(
        traces(count=count), range(count), gates="z", losses=np.arange(count) / 7, **keywords
    )


def test_each_frame_shows_its_trace_and_axes_stand_still():
    listed = traces("lstm")
    animation = animate_gates(
        listed, [0, 5, 10, 15], gates=["f", "c"], losses=[1, 0.5, 0.25, np.nan], units=[4, 1]
    )
    assert len(list(animation.new_frame_seq())) == 4
    limits = set()
    for k, trace in enumerate(listed):
        figure = frame(animation, k)
        history, side, state = figure.axes[:3]
        for ax, values in ((history, trace.gate("f")[:, 0]), (state, trace.state("c")[1:, 0])):
            lines = [line for line in ax.lines if line.get_label().startswith("unit")]
            for line, unit in zip(lines, [4, 1], strict=True):
                np.testing.assert_array_equal(line.get_ydata(), values[:, unit])
        counts = np.histogram(trace.gate("f"), np.linspace(0, 1, 41))[0]
        np.testing.assert_allclose(side.patches[0].get_data().values, 100 * counts / counts.sum(), rtol=1e-12)
        limits.add(str([(ax.get_xlim(), ax.get_ylim(), ax.get_position().bounds) for ax in figure.axes]))
        loss = ["", ", loss 1", ", loss 0.5", ", loss 0.25"][(k + 1) % 4]
        assert history.get_title(loc="left") == f"epoch {5 * k} of 15{loss}"
        assert "epochs shown" not in figure.legends[0].get_title().get_text()
        # In grey, what the first frame was.
        np.testing.assert_array_equal(history.lines[0].get_ydata(), listed[0].gate("f")[:, 0, 4])
    assert len(limits) == 1


def test_a_long_run_is_thinned_and_the_line_on_top_says_so():
    listed = [make_trace("rnn", steps=5, batch=1, seed=seed) for seed in range(9)]
    animation = animate_gates(listed, range(9), frames=3)
    assert len(list(animation.new_frame_seq())) == 3
    titles = [frame(animation, k).axes[0].get_title(loc="left") for k in range(3)]
    assert titles == [f"epoch {epoch} of 8" for epoch in (0, 4, 8)]
    assert on_top(animation).endswith("grey: epoch 0; 3 of 9 epochs shown")
    line = frame(animation, 1).axes[0].lines[-1]
    unit = int(line.get_label().split()[1])
    np.testing.assert_array_equal(line.get_ydata(), listed[4].h[1:, 0, unit])
    assert (
        frame(animate_gates(listed, range(9), frames=1), 0)
        .axes[0]
        .get_title(loc="left")
        .startswith("epoch 8")
    )


def test_the_window_moves_from_the_first_step_to_the_last():
    trace = make_trace("gru", steps=60, lengths=[60, 50])
    animation = animate_steps(
        trace, gates=["z", "h"], window=20, units=[3], sequence=1, steps=slice(4, 60), frames=3
    )
    assert len(list(animation.new_frame_seq())) == 3
    for k, begin in enumerate((4, 17, 30)):
        gate, state = frame(animation, k).axes
        np.testing.assert_array_equal(gate.lines[0].get_xdata(), np.arange(begin, begin + 20))
        np.testing.assert_array_equal(gate.lines[0].get_ydata(), trace.gate("z")[begin : begin + 20, 1, 3])
        np.testing.assert_array_equal(state.lines[0].get_ydata(), trace.h[begin + 1 : begin + 21, 1, 3])
        assert gate.get_xlim() == (begin - 0.5, begin + 19.5)
        title = gate.get_title(loc="left")
        assert title == f"steps {begin} to {begin + 19} of 50"
    assert on_top(animation).endswith("; the window moves 13 steps a frame")


def test_a_heat_map_moves_too():
    trace = make_trace("lstm", steps=30, batch=1)
    animation = animate_steps(trace, gates="f", kind="heatmap", window=10, frames=100)
    assert len(list(animation.new_frame_seq())) == 21
    (image,) = frame(animation, 20).axes[0].images
    np.testing.assert_array_equal(image.get_array(), trace.gate("f")[20:, 0].T)
    assert image.get_extent()[:2] == [19.5, 29.5]
    assert image.get_clim() == tuple(np.quantile(trace.gate("f"), (0.005, 0.995)))
    some = animate_steps(trace, gates="f", kind="heatmap", units=[5, 0], window=10, vmin=0, vmax=1)
    (image,) = frame(some, 0).axes[0].images
    np.testing.assert_array_equal(image.get_array(), trace.gate("f")[:10, 0][:, [5, 0]].T)
    assert image.get_clim() == (0, 1)


def test_a_window_of_more_steps_than_pixels_is_averaged_and_the_label_says_so():
    trace = make_trace("lstm", steps=1200, batch=1)
    animation = animate_steps(trace, gates="f", kind="heatmap", window=1000, frames=2)
    ax = frame(animation, 1).axes[0]
    (image,) = ax.images
    assert image.get_array().shape == (6, 500)
    np.testing.assert_allclose(image.get_array()[:, 0], trace.gate("f")[200:202, 0].mean(axis=0), rtol=1e-13)
    assert image.get_extent()[:2] == [199.5, 1199.5]
    assert ax.get_xlabel() == "step (each column is the mean of 2 steps)"


def test_more_units_than_pixels_are_averaged_and_the_label_says_so():
    trace = make_trace("rnn", steps=30, batch=1, hidden_size=1000)
    animation = animate_steps(trace, kind="heatmap", window=10, frames=3)
    figure = frame(animation, 2)
    ax, (image,) = figure.axes[0], figure.axes[0].images
    rows, size = image.get_array().shape[0], -(-1000 // image.get_array().shape[0])
    assert ax.get_window_extent().height >= rows
    np.testing.assert_allclose(image.get_array()[0], trace.h[21:, 0, :size].mean(axis=1), rtol=1e-13)
    assert f"; each row is the mean of {size};" in figure.get_suptitle().replace("\n", " ")
    assert ax.get_ylim() == (999.5, -0.5)


@pytest.mark.parametrize(("cell", "kind"), [("rnn", "heatmap"), ("gru", "lines")])
def test_one_unit_and_one_step(cell, kind, tmp_path):
    trace = make_trace(cell, steps=1, batch=1, hidden_size=1)
    for animation in (animate_gates([trace], [0]), animate_steps(trace, kind=kind)):
        with Image.open(save_animation(animation, tmp_path / "x.gif", dpi=30)) as image:
            assert getattr(image, "n_frames", 1) == 1


def test_a_gif_has_all_frames_and_the_same_bytes_again(tmp_path):
    animation = small()
    first = save_animation(animation, tmp_path / "a.gif", fps=5, dpi=40).read_bytes()
    assert save_animation(animation, tmp_path / "b.GIF", fps=5, dpi=40).read_bytes() == first
    assert save_animation(small(), tmp_path / "c.gif", fps=5, dpi=40).read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.GIF", "c.gif"]
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.n_frames, image.info["duration"]) == ("GIF", 4, 200)
        seen = []
        for k in range(4):
            image.seek(k)
            seen.append(np.asarray(image.convert("RGB")))
            assert tuple(seen[k][-1, 0]) == (255, 255, 255)  # paper is white
    assert all(not np.array_equal(seen[0], other) for other in seen[1:])


def test_a_page_holds_all_frames_and_loads_nothing(tmp_path):
    path = save_animation(small(), tmp_path / "a<b.html", dpi=40)
    text = path.read_text("utf-8")
    assert save_animation(small(), tmp_path / "a<b.html", dpi=40).read_text("utf-8") == text
    frames = re.findall(r'^"([\w+/=]+)"', text, re.MULTILINE)
    assert len(frames) == 4
    for coded in frames:
        with Image.open(io.BytesIO(base64.b64decode(coded))) as image:
            assert image.format == "PNG"
            assert f'width="{image.width}" height="{image.height}"' in text
    assert "<title>a&lt;b</title>" in text
    assert not re.search(r"https?:|<link|@import|\ssrc=\"(?!data:)|%[A-Z]+%", text)


class Player(HTMLParser):
    """What a notebook's cell shows of an animation."""

    def __init__(self, animation):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(animation._repr_html_())
        self.page = dict(self.tags[0][1])["srcdoc"]
        self.frames = re.findall(r'^"([\w+/=]+)"', self.page, re.MULTILINE)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def test_a_notebook_plays_an_animation(recwarn):
    gc.collect()  # of what other tests have left
    recwarn.clear()
    settings = dict(matplotlib.rcParams)
    animation = small()
    player = Player(animation)
    assert [tag for tag, _ in player.tags] == ["iframe"]  # the page is the value of an attribute, escaped
    assert dict(player.tags[0][1])["sandbox"] == "allow-scripts"
    assert len(set(player.frames)) == 4
    assert not re.search(r"https?:|<link|@import|\ssrc=\"(?!data:)|%[A-Z]+%", player.page)
    assert player.text == ""
    assert dict(matplotlib.rcParams) == settings
    assert animation._fig.axes[0].get_title(loc="left").startswith("epoch 0 ")  # and may still be saved
    del animation
    gc.collect()
    assert not [warning for warning in recwarn if "deleted without rendering" in str(warning.message)]


def test_what_a_notebook_keeps_is_bounded(monkeypatch):
    module = "gatescope.plotting._save_animation"
    monkeypatch.setattr(f"{module}._NOTEBOOK_FRAMES", 3)
    monkeypatch.setattr(f"{module}._NOTEBOOK_PIXELS", 10_000)
    player = Player(small(7))
    assert len(player.frames) == 3
    assert player.text == "3 of 7 frames; save_animation writes all of them."
    with Image.open(io.BytesIO(base64.b64decode(player.frames[0]))) as image:
        assert image.width * image.height < 10_500
    monkeypatch.setattr(f"{module}._NOTEBOOK_BYTES", 1)
    assert len(Player(small(7)).frames) == 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg here")
def test_an_mp4_is_a_film_with_even_sizes(tmp_path):
    figure = Figure(figsize=(4.01, 3.03))
    path = save_animation(small(fig=figure), tmp_path / "a.mp4", fps=2.5, dpi=100)
    assert path.read_bytes()[4:8] == b"ftyp"
    assert tuple(figure.get_size_inches()) == (4.01, 3.03)
    report = subprocess.run(["ffmpeg", "-i", path], capture_output=True, text=True, check=False).stderr
    assert "400x302" in report
    assert "2.50 fps" in report


def test_without_ffmpeg_an_mp4_is_refused_and_nothing_written(tmp_path, monkeypatch):
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(OutputError, match=r"needs the program ffmpeg.*install it.*or write a .gif or .html"):
        save_animation(small(), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_an_ffmpeg_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    old = tmp_path / "a.mp4"
    old.write_bytes(b"old")
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: True))
    monkeypatch.setattr(FFMpegWriter, "bin_path", classmethod(lambda cls: shutil.which("false")))
    with pytest.raises(OutputError, match=r"ffmpeg failed.*write a .gif or .html instead"):
        save_animation(small(), old, dpi=40)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_drawing_that_fails_leaves_the_old_file(tmp_path):
    old = tmp_path / "a.gif"
    old.write_bytes(b"old")
    animation = small()
    animation._func = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        save_animation(animation, old)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((make_trace(), [0]), {}, DtypeError, "traces is a Trace; .*with animate_steps"),
        (([], []), {}, ValueRangeError, "traces is empty"),
        (([make_trace(), make_trace("gru")], [0, 1]), {}, ShapeError, r"traces\[1\] is of a 'gru'"),
        (([make_trace()], [0, 1]), {}, ShapeError, r"epochs has shape \(2,\), but should have \(1,\)"),
        (([make_trace()], [0.5]), {}, DtypeError, "epochs has dtype float64; give whole numbers"),
        (([make_trace()] * 2, [1, 0]), {}, ValueRangeError, "epochs does not ascend"),
        (([make_trace()], [0]), {"losses": [1, 2]}, ShapeError, r"losses has shape \(2,\)"),
        (([make_trace()], [0]), {"frames": 0}, ValueRangeError, "frames=0 must be"),
        (([make_trace()], [0]), {"fig": 3}, DtypeError, "fig is an int; give a whole matplotlib Figure"),
    ],
)
def test_bad_arguments_over_training(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        animate_gates(*arguments, **keywords)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"kind": "film"}, UnknownNameError, "kind='film' is not known"),
        ({"window": 0}, ValueRangeError, "window=0 must be a whole number from 1 to 1000"),
        ({"window": 1001}, ValueRangeError, "window=1001"),
        ({"steps": slice(0, 9, 2)}, ValueRangeError, "has a stride"),
        ({"fig": Figure().subfigures()}, DtypeError, "give a whole matplotlib Figure"),
    ],
)
def test_bad_arguments_over_time(keywords, error, message):
    with pytest.raises(error, match=message):
        animate_steps(make_trace(), **keywords)


def test_bad_files(tmp_path):
    animation = small()
    with pytest.raises(DtypeError, match=r"animation is a Figure; give a matplotlib Animation"):
        save_animation(Figure(), tmp_path / "x.gif")
    with pytest.raises(ValueRangeError, match=r"must end in one of .gif, .mp4, .html"):
        save_animation(animation, tmp_path / "x.avi")
    for name in ("fps", "dpi"):
        with pytest.raises(ValueRangeError, match=f"{name}=0 must be a finite number"):
            save_animation(animation, tmp_path / "x.gif", **{name: 0})
    with pytest.raises(OutputError, match="cannot be written"):
        save_animation(animation, tmp_path / "missing" / "x.gif")
    assert not list(tmp_path.iterdir())


def test_settings_stay_and_pyplot_is_not_loaded(tmp_path):
    before = dict(matplotlib.rcParams)
    save_animation(small(1), tmp_path / "x.html", dpi=30)
    assert dict(matplotlib.rcParams) == before
    script = (
        "import sys; from helpers.synthetic import make_trace; from gatescope.plotting.animation import animate_steps;"
        "from gatescope.plotting._save_animation import save_animation;"
        "save_animation(animate_steps(make_trace('rnn'), window=49), sys.argv[1], dpi=30);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "y.gif")]
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "", "HOME": str(tmp_path)}
    subprocess.run(command, env=environment, check=True)


def test_a_title_is_text_and_the_page_loads_nothing(tmp_path):
    text = save_animation(small(1), tmp_path / "%FRAMES%<i>.html", dpi=30).read_text("utf-8")
    assert "<title>%FRAMES%&lt;i&gt;</title>" in text
    assert """content="default-src 'none'; img-src data:;""" in text
