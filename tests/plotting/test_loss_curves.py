import dataclasses

import matplotlib
import numpy as np
import pytest
from helpers.leaky import Leaky
from helpers.synthetic import legend_lines
from helpers.training_runs import make_run
from matplotlib.figure import Figure

import gatescope as gs
from gatescope import plotting
from gatescope.errors import DtypeError, GatescopeError, UnknownNameError, ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting.loss_curves import plot_loss_curves
from gatescope.plotting.training_gradients import plot_training_gradients


def losses(seeds, epochs=10):
    return [np.exp(-0.1 * np.arange(epochs)) * (1 + seed) for seed in range(seeds)]


def label_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def title(ax):
    return " ".join(ax.get_legend().get_title().get_text().split())


def test_the_line_is_the_median_of_the_seeds_and_the_band_two_of_their_quantiles():
    table = losses(11)
    ax = plot_loss_curves({"lstm": [make_run("lstm", 10, loss=row) for row in table]})
    (line,) = legend_lines(ax)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 11))
    np.testing.assert_array_equal(line.get_ydata(), table[5])
    assert line.get_color() == _palette.CELLS["lstm"].color
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    first = corners[corners[:, 0] == 1, 1]
    assert (first.min(), first.max()) == (table[1][0], table[9][0])  # of 11 seeds, the 2nd and the 10th
    assert label_texts(ax) == ["lstm (11 seeds)"]
    assert title(ax) == "line: median of the seeds; band: 10 to 90 % of them"
    assert ax.get_yscale() == "log"


def test_one_run_has_no_band_and_one_epoch_shows_a_mark():
    ax = plot_loss_curves({"gru": make_run("gru", 1)}, scale="linear")
    (line,) = legend_lines(ax)
    assert not ax.collections
    assert line.get_marker() == _palette.CELLS["gru"].marker
    assert ax.get_yscale() == "linear"
    assert label_texts(ax) == ["gru"]
    assert title(ax) == ""


def test_validation_is_dashed_and_can_be_left_out():
    runs = {"lstm": [make_run("lstm", 10, loss=row, validate_every=5) for row in losses(3)]}
    ax = plot_loss_curves(runs)
    training, validation = ax.lines
    assert training.get_linestyle() == "-"
    assert validation.get_linestyle() == "--"
    assert validation.get_markerfacecolor() == "white"
    assert validation.get_color() == training.get_color()
    np.testing.assert_array_equal(validation.get_xdata(), [5, 10])
    np.testing.assert_array_equal(validation.get_ydata(), 1.3 * losses(3)[1][[4, 9]])
    assert title(ax).endswith("dashed: validation")
    assert len(plot_loss_curves(runs, validation=False).lines) == 1


def test_a_seed_that_diverged_counts_as_worse_than_any_and_is_marked():
    table = losses(3)
    # Without the first, the best, the median of the later epochs is that of the third.
    runs = [make_run("lstm", 4, loss=[*table[0][:3], np.nan], status="diverged")]
    runs += [make_run("lstm", 10, loss=row) for row in table[1:]]
    ax = plot_loss_curves({"lstm": runs}, band=(0, 1))
    (line,) = legend_lines(ax)
    np.testing.assert_array_equal(line.get_ydata(), [*table[1][:3], *table[2][3:]])
    cross = ax.lines[1]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (3, table[0][2])
    assert label_texts(ax) == ["lstm (3 seeds, 1 diverged)"]
    assert title(ax).endswith("cross: diverged")
    # From there on the band reaches to the upper edge, faintly.
    faint = ax.collections[1]
    assert faint.get_alpha() < ax.collections[0].get_alpha()
    assert faint.get_paths()[0].vertices[:, 1].max() == ax.get_ylim()[1]


def test_a_seed_that_stopped_early_keeps_its_last_loss():
    table = losses(3)
    runs = [make_run("lstm", 4, loss=table[1][:4], status="early-stopped")]
    runs += [make_run("lstm", 10, loss=table[k]) for k in (0, 2)]
    ax = plot_loss_curves({"lstm": runs})
    expected = np.median([table[0], np.append(table[1][:4], [table[1][3]] * 6), table[2]], axis=0)
    np.testing.assert_array_equal(legend_lines(ax)[0].get_ydata(), expected)
    assert not np.array_equal(expected, np.median([table[0], table[2]], axis=0))
    assert label_texts(ax) == ["lstm (3 seeds, 1 stopped early)"]


def test_a_run_that_diverged_at_once_has_its_entry_and_is_named():
    runs = {"rnn": make_run("rnn", 0, status="diverged"), "gru": make_run("gru", 5)}
    ax = plot_loss_curves(runs)
    assert label_texts(ax) == ["rnn (diverged)", "gru"]
    assert title(ax) == "without an epoch: rnn seed 0 (diverged)"
    _, axes = plot_training_gradients(runs)
    assert label_texts(axes["norm"]) == ["rnn (diverged)", "gru"]
    assert title(axes["norm"]).endswith("; without an epoch: rnn seed 0 (diverged)")


def test_seeds_without_an_epoch_are_left_out_if_interrupted_and_the_worst_if_diverged():
    table = losses(3)
    runs = [make_run("lstm", 10, loss=row, seed=seed) for seed, row in enumerate(table)]
    stopped = [make_run("lstm", 0, status="interrupted", seed=seed) for seed in range(3, 10)]
    ax = plot_loss_curves({"a$b": [*stopped, *runs], "only": stopped[:1]})
    assert label_texts(ax) == [r"a\$b (3 seeds)"]
    np.testing.assert_array_equal(legend_lines(ax)[0].get_ydata(), table[1])
    assert title(ax).endswith(
        r"; without an epoch: a\$b seeds 3, 4, 5, 6, 7 and 2 more (interrupted), only seed 3 (interrupted)"
    )
    _, axes = plot_training_gradients({"a$b": [*stopped, *runs], "only": stopped[:1]})
    assert label_texts(axes["norm"]) == [r"a\$b (3 seeds)"]
    plotting.render(ax.figure, dpi=40)
    worst = make_run("lstm", 0, status="diverged", seed=9)
    ax = plot_loss_curves({"lstm": [*runs[:2], worst]})  # not the mean of the two that are left
    assert label_texts(ax) == ["lstm (3 seeds, 1 diverged)"]
    np.testing.assert_array_equal(legend_lines(ax)[0].get_ydata(), table[1])
    assert title(ax).endswith("without an epoch: lstm seed 9 (diverged)")


@pytest.mark.parametrize("draw", [plot_loss_curves, plot_training_gradients])
def test_nothing_is_drawn_of_runs_without_an_epoch(draw):
    why = "diverged: the loss is nan at update 1"
    at_once = make_run("rnn", 0, status="diverged", message=why, probe_every=1)
    with pytest.raises(
        ValueRangeError, match=rf"^runs\['rnn'\] has no epoch to draw: it ended so: {why}; train"
    ):
        draw({"rnn": at_once})
    with pytest.raises(
        ValueRangeError, match=r"nor has any other of the 3 runs: it ended so: interrupted; train"
    ):
        draw({"gru": make_run("gru", 0, status="interrupted"), "rnn": [at_once, at_once]})


def test_the_baseline_is_a_line_with_its_name():
    ax = plot_loss_curves({"lstm": make_run()}, baseline=0.1767, baseline_label="always $1")
    assert label_texts(ax)[1] == r"always \$1: 0.1767"
    assert list(ax.lines[1].get_ydata()) == [0.1767, 0.1767]
    assert ax.get_ylim()[0] < 0.1767 < ax.get_ylim()[1]
    assert len(plot_loss_curves({"lstm": make_run()}, baseline=float("nan")).lines) == 1


def test_every_cell_has_its_color_whatever_its_label():
    gs.cells.register(Leaky)
    runs = {"a": make_run("gru"), "b": make_run("lstm"), "c": make_run(("lstm", Leaky.NAME))}
    colors = [line.get_color() for line in legend_lines(plot_loss_curves(runs))]
    assert colors[:2] == [_palette.CELLS["gru"].color, _palette.CELLS["lstm"].color]
    assert len(set(colors)) == 3


def test_many_epochs_are_averaged_and_the_axis_says_so():
    table = np.random.default_rng(0).uniform(1, 2, (3, 4001))
    ax = plot_loss_curves({"lstm": [make_run("lstm", 4001, loss=row) for row in table]})
    (line,) = legend_lines(ax)
    assert ax.get_xlabel() == "epoch (means of 3 epochs)"
    # Sums in another order differ by rounding.
    np.testing.assert_allclose(line.get_ydata()[1], np.median(table[:, 3:6].mean(axis=1)), rtol=1e-13)
    assert line.get_xdata()[1] == 5


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_losses_without_a_range_can_be_drawn(scale):
    for value in (0.0, 1.0, np.nan):
        ax = plot_loss_curves({"lstm": [make_run("lstm", 3, loss=np.full(3, value))] * 2}, scale=scale)
        plotting.render(ax.figure, dpi=40)
        assert np.isfinite(ax.get_ylim()).all()


def test_panels_of_the_gradients():
    runs = [make_run("lstm", 10, seed=s, probe_every=5) for s in range(3)]
    mine = Figure()
    fig, axes = plot_training_gradients({"lstm": runs}, fig=mine, lw=3)
    assert fig is mine
    assert list(axes) == ["norm", "clipped", "half_life"]
    mean, largest, limit = axes["norm"].lines
    for line, name in ((mean, "gradient_norm"), (largest, "largest_gradient_norm")):
        expected = np.median([getattr(run.history, name) for run in runs], axis=0)
        np.testing.assert_array_equal(line.get_ydata(), expected)
    assert mean.get_linewidth() == 3
    assert largest.is_dashed()
    assert not mean.is_dashed()
    assert list(limit.get_ydata()) == [1.0, 1.0]
    assert [text.get_text() for text in axes["norm"].texts] == ["clip 1"]
    expected = np.median([run.history.clipped for run in runs], axis=0)
    np.testing.assert_array_equal(axes["clipped"].lines[0].get_ydata(), expected)
    expected = np.median([run.history.half_life[:, 0] for run in runs], axis=0)
    np.testing.assert_array_equal(axes["half_life"].lines[0].get_ydata(), expected)
    np.testing.assert_array_equal(axes["half_life"].lines[0].get_xdata(), [0, 5, 10])


def test_an_infinite_half_life_is_at_the_upper_edge_and_named():
    life = [[10.0], [np.inf], [np.nan], [30.0]]
    _, axes = plot_training_gradients({"gru": make_run("gru", 6, probe_every=2, half_life=life)})
    ax = axes["half_life"]
    line, hollow = ax.lines[:2]
    top = ax.get_ylim()[1]
    assert top > 40
    np.testing.assert_array_equal(line.get_ydata(), [10, top, np.nan, 30])
    assert (list(hollow.get_xdata()), list(hollow.get_ydata())) == ([2], [top])
    assert hollow.get_markerfacecolor() == "white"
    assert [text.get_text() for text in ax.texts] == ["infinite"]
    plotting.render(ax.figure, dpi=40)
    _, axes = plot_training_gradients(
        {"gru": make_run("gru", 2, probe_every=1, half_life=np.full((3, 1), np.inf))}
    )
    assert len(axes["half_life"].lines[1].get_xdata()) == 3


def test_half_lives_are_a_line_a_layer():
    runs = {"both": make_run(("lstm", "gru"), 10, probe_every=1), "one": make_run("rnn", 10, probe_every=1)}
    _, axes = plot_training_gradients(runs)
    drawn = [line for line in axes["half_life"].lines if len(line.get_xdata()) == 11]
    assert [line.get_linestyle() for line in drawn] == ["-", "--", "-"]
    assert label_texts(axes["half_life"]) == ["layer 0", "layer 1"]


def test_half_lives_are_named_by_layer_and_direction_of_all_models():
    deep = make_run(("lstm", "lstm"), 4, probe_every=1)
    two = gs.Bidirectional(
        forward=deep.model.layers[0],
        backward=dataclasses.replace(deep.model.layers[0], reverse=True),
        merge="sum",
    )
    both = dataclasses.replace(deep, model=dataclasses.replace(deep.model, layers=(two,)))
    without = make_run(("gru", "gru", "gru"), 4)
    _, axes = plot_training_gradients({"deep": deep, "both": both, "no probes": without})
    assert label_texts(axes["half_life"]) == ["layer 0 or layer 0 forward", "layer 1 or layer 0 backward"]


def test_without_probes_and_without_clipping():
    _, axes = plot_training_gradients({"lstm": make_run(config={"clip_norm": None})})
    assert list(axes) == ["norm", "clipped"]
    assert not axes["norm"].texts


@pytest.mark.parametrize("draw", [plot_loss_curves, plot_training_gradients])
@pytest.mark.parametrize(
    ("runs", "error", "message"),
    [
        ({}, ValueRangeError, "runs is empty"),
        ({"lstm": []}, ValueRangeError, r"runs\['lstm'\] is empty"),
        ({"lstm": 3}, DtypeError, r"runs\['lstm'\] is an int; give a TrainingRun"),
        ([], DtypeError, "runs is a list; give a mapping of labels"),
    ],
)
def test_bad_runs(draw, runs, error, message):
    with pytest.raises(error, match=message):
        draw(runs)


@pytest.mark.parametrize("band", [(0.9, 0.1), (0.1, 1.1), 3, "ab", (0.1,), (0.1, float("nan")), (True, 1)])
def test_bad_bands(band):
    with pytest.raises(GatescopeError, match=r"^band"):
        plot_loss_curves({"lstm": make_run()}, band=band)
    with pytest.raises(GatescopeError, match=r"^band"):
        plot_training_gradients({"lstm": make_run()}, band=band)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"scale": "symlog"}, UnknownNameError, "scale='symlog' is not known"),
        ({"baseline": "low"}, ValueRangeError, "baseline='low' must be a finite number"),
    ],
)
def test_bad_arguments(keywords, error, message):
    with pytest.raises(error, match=message):
        plot_loss_curves({"lstm": make_run()}, **keywords)


@pytest.mark.filterwarnings("error:constrained_layout:UserWarning")
def test_both_find_room_beside_each_other():
    runs = {
        name: [make_run(name, seed=s, probe_every=2, validate_every=2) for s in range(3)]
        for name in ("lstm", "gru")
    }
    fig = plotting.new_figure(12, 5)
    left, right = fig.subfigures(1, 2)
    plot_loss_curves(runs, ax=left.subplots(), baseline=0.1)
    plot_training_gradients(runs, fig=right)
    plotting.render(fig, dpi=40)
    assert min(ax.get_position().width for ax in left.axes + right.axes) > 0.6


def test_settings_stay():
    before = dict(matplotlib.rcParams)
    runs = {"lstm": [make_run("lstm", probe_every=4, validate_every=4)]}
    plot_loss_curves(runs)
    plot_training_gradients(runs)
    assert dict(matplotlib.rcParams) == before


def test_a_baseline_is_one_number():
    with pytest.raises(GatescopeError, match="baseline"):
        plot_loss_curves({"lstm": make_run("lstm")}, baseline=np.ones(3))
    with pytest.raises(ValueRangeError, match="baseline=5e-324 holds a number that no axis can show"):
        plot_loss_curves({"lstm": make_run("lstm")}, baseline=5e-324)
