import base64
import dataclasses
import gzip
import json

import numpy as np
import pytest
from helpers.html_page import Page

import gatescope as gs
from gatescope.datatypes import Trace
from gatescope.errors import GatescopeError
from gatescope.explorer.explore import Explorer, holds_every_step
from gatescope.explorer.views import by_step

INPUTS = np.random.default_rng(0).standard_normal((50, 2, 1))
HOSTILE = '</script><img src=x onerror=alert(1)> "quoted"\n%DATA% %TITLE% <!--'


@pytest.fixture(scope="module")
def params():
    return gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")


@pytest.fixture(scope="module")
def trace(params):
    return gs.run(params, INPUTS)


@pytest.fixture(scope="module")
def flow(params):
    return gs.gradient_flow(params, INPUTS, of="joint", wrt="joint")


class Reader(Page):
    """What the data of a page say."""

    def __init__(self, html):
        super().__init__(html)
        self.data = json.loads(html.split('id="data">')[1].split("</script>")[0])
        self.views = self.data["views"]

    def values(self, block, part="mean"):
        coding, codes = block["coding"], block["codes"][part]
        raw = gzip.decompress(base64.b64decode(codes))
        array = np.frombuffer(raw, "<u2" if coding["codes"] > 255 else "u1").reshape(block["series"], -1)
        coded = coding["low"] + (coding["high"] - coding["low"]) * (array - 1.0) / (coding["codes"] - 1)
        return 1 / (1 + np.exp(-coded)) if coding["scale"] == "odds" else coded


def test_the_page_holds_every_step_of_the_sequence(trace):
    page = Reader(gs.explore(trace, sequence=1).html)
    (view,) = page.views
    assert (view["label"], view["steps"], view["units"], view["chosen"]) == ("lstm", 50, 5, "f")
    assert [row["name"] for row in view["rows"]] == ["i", "f", "g", "o", "h", "c"]
    assert [row["keeps"] for row in view["rows"]] == [0, 1, 0, 0, 0, 0]
    for row in view["rows"]:
        expected = trace.gate(row["name"]) if row["kind"] == "gate" else trace.state(row["name"])[1:]
        np.testing.assert_allclose(page.values(row).T, expected[:, 1], rtol=0, atol=row["coding"]["error"])
    np.testing.assert_allclose(page.values(view["inputs"])[0], INPUTS[:, 1, 0], rtol=0, atol=1e-4)  # 16 bits
    assert "16 bits" in page.data["detail"]


def test_the_numbers_of_units_are_of_every_step(trace):
    (view,) = Reader(gs.explore(trace).html).views
    gate = view["rows"][1]
    np.testing.assert_allclose(gate["mean"], trace.gate("f")[:, 0].mean(axis=0), rtol=1e-5)  # six digits
    np.testing.assert_allclose(gate["open"], gs.saturation(only(trace, 0)).gate("f")[1], rtol=1e-5)
    assert view["rows"][4]["open"] is None


def only(trace, b):
    arrays = {name: getattr(trace, name)[:, b : b + 1] for name in ("inputs", "states", "gates")}
    return dataclasses.replace(trace, **arrays, lengths=trace.lengths[b : b + 1])


def test_a_shorter_sequence_ends_where_it_ends(params):
    trace = gs.run(params, INPUTS, lengths=[50, 30])
    assert Reader(gs.explore(trace, sequence=1).html).views[0]["steps"] == 30


def test_gradients_lie_at_the_steps_whose_states_they_are_by(trace, flow):
    line = by_step(flow.sequence(1), 50)
    for lag in (0, 3, 49):
        assert line[50 - lag - 1] == flow.log_norm[lag, 1]
    thinned = dataclasses.replace(flow, lag=flow.lag[::7], log_norm=flow.log_norm[::7])
    assert by_step(thinned.sequence(1), 50)[50 - 7 - 1] == flow.log_norm[7, 1]
    (view,) = Reader(gs.explore(trace, {None: flow, 3: flow}, sequence=1).html).views
    whole, unit = view["gradients"]
    assert (whole["unit"], unit["unit"]) == (None, 3)
    assert whole["words"].startswith(
        f"Of the whole gradient half is gone after {flow.steps_to_half()[1]:.4g} step"
    )
    assert unit["words"].startswith("Of the gradient of unit 3 half")


def test_a_gradient_of_zero_has_no_logarithm():
    flow = gs.GradientFlow(
        cell="rnn", lag=np.arange(4), log_norm=np.array([[0.0], [-1], [-np.inf], [-np.inf]]), of="h", wrt="h",
        source_step=4, norm="random",
    )  # fmt: skip
    np.testing.assert_array_equal(by_step(flow, 4), [np.nan, np.nan, -1, 0])


def test_several_runs_and_layers(params, trace, flow):
    deep = gs.Stack(layers=(params, gs.init("gru", input_size=5, hidden_size=5, seed=1, dtype="float64")))
    both = {"before": trace, "deep": gs.run(deep, INPUTS)}
    views = Reader(gs.explore(both, {"before": flow}).html).views
    assert [view["label"] for view in views] == ["before", "deep, layers.0", "deep, layers.1"]
    assert [len(view["gradients"]) for view in views] == [1, 0, 0]
    assert [view["chosen"] for view in views] == ["f", "f", "z"]


def test_a_comparison_brings_its_gradients(params):
    comparison = gs.compare({"a": params, "b": params}, INPUTS[:, :1], timing_runs=1)
    views = Reader(gs.explore(comparison).html).views
    assert [(view["label"], len(view["gradients"])) for view in views] == [("a", 1), ("b", 1)]


def test_a_comparison_that_is_too_long_for_every_step_has_no_page_of_its_own(params, monkeypatch):
    comparison = gs.compare({"a": params}, INPUTS[:, :1], timing_runs=1)
    assert holds_every_step(comparison)
    monkeypatch.setattr("gatescope.explorer.explore.BUDGET", 1000)
    assert not holds_every_step(comparison)


def test_a_cell_without_gates(params):
    trace = gs.run(gs.init("rnn", input_size=1, hidden_size=5, seed=0, dtype="float64"), INPUTS)
    (view,) = Reader(gs.explore(trace).html).views
    assert [row["name"] for row in view["rows"]] == ["h"]
    assert view["equations"] == [["h'", "tanh(W x + R h + b)", True]]


def test_what_is_too_long_has_least_mean_and_greatest(trace, monkeypatch):
    monkeypatch.setattr("gatescope.explorer.explore.BUDGET", 1000)
    page = Reader(gs.explore(trace).html)
    (view,) = page.views
    every, gate = view["every"], view["rows"][1]
    assert every > 1
    assert f"runs of {every} steps" in page.data["detail"]
    for part, function in (("min", np.min), ("mean", np.mean), ("max", np.max)):
        expected = [function(trace.gate("f")[k : k + every, 0], axis=0) for k in range(0, 50, every)]
        np.testing.assert_allclose(page.values(gate, part).T, expected, rtol=0, atol=gate["coding"]["error"])


def test_the_page_loads_nothing_and_every_text_is_text(trace):
    page = Reader(gs.explore({HOSTILE: trace}, marks={3: HOSTILE}, tokens=[HOSTILE] * 50).html)
    assert not page.named("img")
    assert len(page.named("script")) == 2
    (policy,) = [attrs["content"] for attrs in page.named("meta") if "http-equiv" in attrs]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy
    (view,) = page.views
    assert view["label"] == HOSTILE
    assert view["tokens"][0] == HOSTILE.replace(" ", "␣").replace("\n", "↲")
    assert view["marks"][0][1] == " ".join(HOSTILE.split())[:40]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]


def test_the_text_of_a_trace_is_its_tokens(trace):
    text = dataclasses.replace(trace, provenance={"inputs_text": "ab" * 25})
    assert Reader(gs.explore(text).html).views[0]["tokens"][:3] == ["a", "b", "a"]


def test_it_is_written_whole_and_a_notebook_shows_it(trace, tmp_path):
    page = gs.explore(trace, path=tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html == gs.explore(trace).html
    assert page._repr_html_().startswith("<iframe srcdoc=")
    assert "sandbox" in page._repr_html_()
    long = Explorer(page.html + " " * 5_000_000, page.path)
    assert "page.html" in long._repr_html_()
    assert len(long._repr_html_()) < 500


WRONG = {
    "gs.explore(3)": "traces",
    "gs.explore({})": "traces",
    "gs.explore({3: trace})": "label",
    "gs.explore({'a': 3})": "traces['a']",
    "gs.explore(trace, 3)": "flow",
    "gs.explore({'a': trace}, {'b': flow})": "flow",
    "gs.explore(trace, {9: flow})": "flow",
    "gs.explore(trace, {3: 3})": "flow[3]",
    "gs.explore(short, flow)": "flow",
    "gs.explore(trace, sequence=2)": "sequence",
    "gs.explore(trace, marks={99: 'late'})": "marks",
    "gs.explore(trace, tokens=['a'])": "tokens",
    "gs.explore(trace, path='no/folder/a.html')": "no/folder",
}


@pytest.mark.parametrize(("call", "argument"), WRONG.items(), ids=WRONG)
def test_what_is_refused(call, argument, params, trace, flow):
    names = {"gs": gs, "trace": trace, "flow": flow, "short": gs.run(params, INPUTS[:9])}
    with pytest.raises(GatescopeError) as error:
        eval(call, names)
    assert argument in str(error.value)
    assert isinstance(trace, Trace)
