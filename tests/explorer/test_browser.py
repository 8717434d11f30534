"""The explorer in Chromium: every control, no message, no request, two widths."""

import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import chromium, resize, until

import gatescope as gs

pytestmark = pytest.mark.slow
HOSTILE = '<img src=x onerror=alert(1)> "quoted"\nline'
STEPS = 3000


@pytest.fixture(scope="module")
def trace():
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64", scheme="chrono(500)")
    return params, np.random.default_rng(0).standard_normal((STEPS, 1))


@pytest.fixture(scope="module")
def file(trace, tmp_path_factory):
    params, inputs = trace
    run = gs.run(params, inputs)
    flow = gs.gradient_flow(params, inputs, of="joint", wrt="joint")
    own = gs.gradient_flow(params, inputs, norm="unit", unit=3, wrt="c")
    gru = gs.run(gs.init("gru", input_size=1, hidden_size=5, seed=0, dtype="float64"), inputs)
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    gs.explore(
        {HOSTILE: run, "gru": gru},
        {HOSTILE: {None: flow, 3: own}},
        path=path,
        marks={100: HOSTILE},
        tokens=[HOSTILE, " "] * (STEPS // 2),
    )
    return path


@pytest.fixture(scope="module")
def browser():
    page = chromium(1280, 1400)
    yield page
    page.quit()


@pytest.fixture
def page(browser, file):
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(file.as_uri())
    until(browser, "document.documentElement.dataset.ready")
    yield browser
    assert browser.get_log("browser") == []  # no message, whatever was done
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url.partition("#")[0] for url in urls if not url.startswith(("data:", "blob:"))} <= {
        file.as_uri()
    }


def settle(page):
    """Wait until all is drawn, and the address says what is shown."""
    page.execute_script(
        "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    until(page, "!resting")


def found(page, selector):
    return page.find_element("css selector", selector)


def state(page):
    settle(page)
    return page.execute_script("return state")


def key(page, name, **more):
    event = "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, ...arguments[1]})"
    page.execute_script(f"document.body.dispatchEvent({event})", name, more)
    return state(page)


def choose(page, name, value):
    script = "const f = document.getElementById('controls').elements[arguments[0]]; f.value = arguments[1];"
    page.execute_script(script + "f.dispatchEvent(new Event('change', {bubbles: true}))", name, value)
    return state(page)


def pointer(page, *events):
    """Send events to the panels: a type, and where."""
    script = """
    const canvas = sides[0].canvas, box = canvas.getBoundingClientRect();
    canvas.setPointerCapture = () => {};
    for (const [type, x, y, id, extra] of arguments[0]) canvas.dispatchEvent(type === "wheel"
      ? new WheelEvent(type, {clientX: box.x + x, clientY: box.y + y, cancelable: true, ...extra})
      : new PointerEvent(type, {clientX: box.x + x, clientY: box.y + y, pointerId: id ?? 1, ...extra}));"""
    page.execute_script(script, [[*event, *(None,) * (5 - len(event))] for event in events])
    return state(page)


def panel(page, name=None):
    """Return where a map lies, or without a name the overview."""
    wanted = "p.units && p.row.name === arguments[0]" if name else "p.whole"
    box = "y: p.y, height: p.height, x: LEFT, width: sides[0].plan.inner"
    return page.execute_script(
        f"const p = sides[0].plan.panels.find((p) => {wanted}); return {{{box}}}", name
    )


def test_values_are_those_of_the_trace(page, trace):
    params, inputs = trace
    run = gs.run(params, inputs)
    for step, unit in ((0, 0), (1234, 3), (STEPS - 1, 4)):
        page.execute_script("change({step: arguments[0], unit: arguments[1]})", step, unit)
        settle(page)
        rows = page.execute_script(
            "return [...document.querySelectorAll('.values tbody tr')].map((r) => r.innerText)"
        )
        shown = [float(row.split("\t")[1].replace("−", "-").replace(",", "")) for row in rows]
        gates, states = run.gates[step, 0, :, unit], run.states[step + 1, 0, :, unit]
        np.testing.assert_allclose(
            shown, [*gates, *states], rtol=0, atol=1e-4
        )  # of 16 bits over a range below 6
        text = found(page, ".equations").text
        assert f"c' = f * c + i * g = {rows[1].split(chr(9))[1]} * " in text
        assert f"Unit {unit}, step" in found(page, ".reading").text


def test_clicks_and_keys_choose(page):
    maps = panel(page, "c")
    at = [maps["x"] + maps["width"] / 2, maps["y"] + maps["height"] * 0.7]
    after = pointer(page, ["pointerdown", *at], ["pointerup", *at])
    assert (after["unit"], after["gate"]) == (3, "c")
    assert abs(after["step"] - STEPS / 2) < 5
    assert key(page, "ArrowRight")["step"] == after["step"] + 1
    assert key(page, "ArrowLeft", shiftKey=True)["step"] == after["step"] + 1 - STEPS // 10
    assert key(page, "ArrowUp")["unit"] == 2
    assert key(page, "ArrowDown")["unit"] == 3
    key(page, "/")
    assert page.switch_to.active_element.get_attribute("name") == "unit"
    page.execute_script("document.activeElement.blur()")
    hover = pointer(page, ["pointermove", maps["x"] + 5, maps["y"] + 2])
    assert hover["unit"] == 3
    assert "unit 0, c = " in found(page, ".pointed").text


def test_zoom_and_pan_change_all_panels(page):
    maps = panel(page, "f")
    middle, y = maps["x"] + maps["width"] / 2, maps["y"] + 5
    near = pointer(page, ["wheel", middle, y, 0, {"deltaY": -100}])
    assert near["last"] - near["first"] == pytest.approx(0.75 * STEPS)
    assert (near["first"] + near["last"]) / 2 == pytest.approx(STEPS / 2, rel=0.01)
    moved = pointer(
        page, ["pointerdown", middle, y], ["pointermove", middle + 100, y], ["pointerup", middle + 100, y]
    )
    assert moved["first"] == pytest.approx(
        near["first"] - 100 / maps["width"] * (near["last"] - near["first"])
    )
    assert moved["step"] == near["step"]  # a drag is no click
    side = pointer(page, ["wheel", middle, y, 0, {"deltaX": 50}])
    assert side["first"] > moved["first"]
    strip = panel(page)
    brushed = pointer(
        page,
        ["pointerdown", middle, strip["y"] + 3],
        ["pointermove", middle - 30, strip["y"] + 3],
        ["pointerup", middle - 30, strip["y"] + 3],
    )
    assert brushed["first"] == pytest.approx(max(0, side["first"] - 30 / maps["width"] * STEPS))
    pinched = pointer(
        page,
        ["pointerdown", middle - 50, y, 1],
        ["pointerdown", middle + 50, y, 2],
        ["pointermove", middle + 150, y, 2],
        ["pointerup", middle + 150, y, 2],
        ["pointerup", middle - 50, y, 1],
    )
    assert pinched["last"] - pinched["first"] == pytest.approx((brushed["last"] - brushed["first"]) / 2)
    for name, factor in (("+", 0.5), ("-", 1.0), ("0", None)):
        now = key(page, name)
        expected = STEPS if factor is None else factor * (pinched["last"] - pinched["first"])
        assert now["last"] - now["first"] == pytest.approx(expected)
    assert "a column holds" in found(page, ".detail").text


def test_every_field_and_the_address(page, file):
    for name, value in [
        ("scale", "odds"), ("how", "max"), ("contrast", "middle"), ("order", "time"), ("theme", "dark"), ("gate", "i"),
        ("unit", "4"), ("order", "saturation"), ("order", "now"), ("order", "mean"), ("theme", "light"), ("how", "min"),
    ]:  # fmt: skip
        assert str(choose(page, name, value)[name]) == value
    page.execute_script("change({first: 500, last: 700, step: 600})")
    settle(page)
    before, address = state(page), page.current_url
    page.get("about:blank")
    page.get(address)
    until(page, "document.documentElement.dataset.ready")
    assert state(page) == before
    assert before["scale"] == "odds"


def test_another_run_is_shown_as_text(page):
    assert page.execute_script("return document.documentElement.dataset.ready") == HOSTILE
    choose(page, "view", "1")
    until(page, "document.documentElement.dataset.ready === 'gru'")
    assert (state(page)["view"], state(page)["gate"]) == (1, "z")
    assert not page.execute_script("return document.querySelectorAll('img').length")


def places(page):
    """Return where the two panels' canvases are, and how wide the page is."""
    boxes = "[...document.querySelectorAll('.panels canvas')].map((c) => c.getBoundingClientRect().toJSON())"
    return page.execute_script(f"return [{boxes}, document.documentElement.scrollWidth]")


@pytest.mark.parametrize(("width", "beside"), [(390, False), (1000, True), (1280, True)])
def test_two_runs_together_share_steps_unit_and_scales(page, width, beside):
    resize(page, width, 1400)
    try:
        choose(page, "beside", "1")
        until(page, "sides.length === 2")
        settle(page)
        (one, other), whole = places(page)
        assert whole <= width
        assert one["width"] == other["width"]
        if beside:
            assert one["top"] == other["top"]
            assert one["right"] < other["left"]
        else:
            assert one["left"] == other["left"]
            assert one["bottom"] < other["top"]
        page.execute_script("change({first: 100, last: 300})")
        # A click in the one on the right moves the scrub line and the unit of both.
        script = """const side = sides[1], box = side.canvas.getBoundingClientRect();
        const map = side.plan.panels.find((p) => p.units);
        side.canvas.setPointerCapture = () => {};
        for (const type of ["pointerdown", "pointerup"]) side.canvas.dispatchEvent(new PointerEvent(type,
          {clientX: box.x + 46 + side.plan.inner / 2, clientY: box.y + map.y + map.height * 0.9, pointerId: 1}));"""
        settle(page)
        page.execute_script(script)
        assert (state(page)["step"], state(page)["unit"]) == (200, 4)
        shown = page.execute_script(
            "return sides.map((side) => [side.state.step, side.state.unit, side.window])"
        )
        assert shown[0] == shown[1]
        assert [each.text for each in page.find_elements("css selector", ".reading")] == [
            "Unit 4, step 200"
        ] * 2
        text = page.execute_async_script(SAVED % "svg")[1]
        assert text.count("<g transform=") == 2
        choose(page, "beside", "")
        assert len(places(page)[0]) == 1
    finally:
        resize(page, 1280, 1400)


def test_the_units_own_gradient_and_scatter(page):
    page.execute_script("change({unit: 3})")
    settle(page)
    assert "gradient of unit 3" in found(page, ".notes").text
    assert page.execute_script("return sides[0].plan.panels.at(-2).curves.length") == 2
    script = """const box = document.querySelector(".scatter"), row = gateOf(sides[0].view, state.gate);
    const places = row.shut.map((_, unit) => scatterPlace(row, unit)), [x, y] = places[1];
    const at = box.getBoundingClientRect();
    box.dispatchEvent(new MouseEvent("click", {clientX: at.x + x, clientY: at.y + y}));
    return places.findIndex(([a, b]) => a === x && b === y);"""
    assert page.execute_script(script) == state(page)["unit"]


SAVED = """
const done = arguments[0], make = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  URL.createObjectURL = make;
  blob.text().then((text) => done([blob.type, text]));
  return make(blob);
};
document.getElementById("%s").click();"""


def test_pictures_of_this_view(page):
    kind, text = page.execute_async_script(SAVED % "svg")
    assert kind == "image/svg+xml"
    assert "&lt;img src=x" in text  # the label of a mark
    assert "<img" not in text
    broken = "new DOMParser().parseFromString(arguments[0], 'image/svg+xml').querySelector('parsererror')"
    assert page.execute_script(f"return {broken}", text) is None
    kind, text = page.execute_async_script(SAVED % "png")
    assert kind == "image/png"
    assert text[1:4] == "PNG"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_at_two_widths(page, width):
    resize(page, width, 1400)
    try:
        time.sleep(0.3)
        settle(page)
        script = "return [document.documentElement.scrollWidth, document.querySelector('.panels canvas').offsetWidth]"
        whole, canvas = page.execute_script(script)
        assert whole <= width
        assert canvas > 0.5 * width
    finally:
        resize(page, 1280, 1400)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_wrong(page, width, scheme):
    """With axe-core's rules, those for WCAG 2.2 and those for good practice; two runs beside each other as well."""
    # Of the package only the file of axe-core is used: it is not imported, and Playwright need not be there.
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    axe = Path(package.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    resize(page, width, 1400)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    try:
        page.execute_script(axe)
        for beside in ("", "1"):
            choose(page, "beside", beside)
            result = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
            assert result["passes"]
            wrong = [(rule["id"], rule["nodes"][0]["html"]) for rule in result["violations"]]
            assert wrong == []
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        resize(page, 1280, 1400)
