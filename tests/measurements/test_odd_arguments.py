"""Arguments of the wrong type, or without effect, are refused with a short message, whatever they are."""

import numpy as np
import pytest

import gatescope as gs

PARAMS = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
INPUTS = np.zeros((20, 1, 1))


class Odd:
    """Something that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no text")


FLAGS = {
    "progress of gradient_flow": lambda flag: gs.gradient_flow(PARAMS, INPUTS, progress=flag),
    "checks of lyapunov_spectrum": lambda flag: gs.lyapunov_spectrum(PARAMS, INPUTS, checks=flag),
    "vectors of gradient_paths": lambda flag: gs.gradient_paths(PARAMS, INPUTS, vectors=flag),
    "progress of compare": lambda flag: gs.compare({"a": PARAMS}, INPUTS, progress=flag),
    "fast_activations of run": lambda flag: gs.run(PARAMS, INPUTS, fast_activations=flag),
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(
    "flag", ["False", 0, 1.0, None, [], Odd()], ids=["text", "0", "1.0", "None", "list", "odd"]
)
def test_flags_are_true_or_false(name, flag):
    with pytest.raises(gs.ValueRangeError, match=rf"^{name.split()[0]}=.*must be True or False"):
        FLAGS[name](flag)


@pytest.mark.parametrize("measure", [gs.gradient_flow, gs.gradient_paths, gs.connectivity])
@pytest.mark.parametrize("unit", [99, 1, "all", None])
def test_a_unit_without_its_norm_is_refused(measure, unit):
    with pytest.raises(gs.ValueRangeError, match=r"^unit=.*has no effect with `norm`"):
        measure(PARAMS, INPUTS, norm="random", unit=unit)


ODD = {
    "text": "x" * 10**6,
    "number": 10**5000,
    "list": list(range(10**5)),
    "mapping": {"a" * 5000: 1},
    "odd": Odd(),
    "bytes": b"\x1b" * 10**5,
    "escapes": "\x1b[31m" * 999,
}


@pytest.mark.parametrize("name", ODD)
def test_messages_are_short_and_plain(name):
    odd = ODD[name]
    calls = [
        lambda: gs.init(odd, input_size=1, hidden_size=5),
        lambda: gs.init("lstm", input_size=odd, hidden_size=5),
        lambda: gs.gradient_flow(PARAMS, INPUTS, of=odd),
        lambda: gs.gradient_flow(PARAMS, INPUTS, max_lag=odd),
        lambda: gs.run(PARAMS, INPUTS, threads=odd),
        lambda: gs.run(PARAMS, INPUTS, clamp=odd),
        lambda: gs.run(PARAMS, INPUTS, device=odd),
        lambda: gs.load(str(odd) if isinstance(odd, str) else odd),
    ]
    for call in calls:
        with pytest.raises(gs.GatescopeError) as caught:
            call()
        assert len(str(caught.value)) < 500
        assert "\x1b" not in str(caught.value)
