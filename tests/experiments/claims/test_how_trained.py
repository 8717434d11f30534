"""How networks were trained, in words: a text a kind of run, whatever the arm and the seed."""

from helpers.arms import SPEC

from gatescope.experiments.claims.how_trained import how_trained


def test_arms_and_seeds_are_of_one_kind():
    arms = (
        SPEC,
        SPEC.with_(cell="gru", lr=0.3, scheme="keras", biases={"z": 1.0}),
        SPEC.with_(clamp={"f": 1.0}),
    )
    specs = [arm.with_(seed=seed) for arm in arms for seed in range(3)]
    (text,) = how_trained(specs)
    assert text == (
        "adding (steps 6, sequences 3, largest 1), 5 units: updates 40, optimizer adam, clip norm 1, "
        "validate every 10, target loss 0.1, dtype float64"
    )


def test_sizes_are_listed_and_other_settings_are_another_kind():
    deep = SPEC.with_(layers=4, hidden_size=3)
    noisy = SPEC.with_(label_noise=0.5, clip_norm=None, target_loss=None)
    first, second = how_trained([SPEC, deep, noisy])
    assert ", 5 units, 4 layers of 3 units: " in first
    assert second.endswith("clip norm –, validate every 10, label noise 0.5, dtype float64")
    assert how_trained([]) == ()
