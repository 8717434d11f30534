"""What axes and arrays of results are called, and in which units they are, for libraries that label their arrays.

A letter means the same axis in most results; one whose letters mean something else says so (``Result._dims``).
"""

from __future__ import annotations

AXES = {
    "T": "time",
    "B": "batch",
    "I": "feature",
    "H": "unit",
    "S": "state",
    "G": "gate",
    "K": "gate",
    "L": "lag",
    "P": "path",
    "O": "output",
    "E": "epoch",
    "k": "exponent",
    "2": "side",
}
SIDES = ("shut", "open")  # of a gate, below and above the thresholds

# Long name and unit of arrays, by their names, which mean the same in all results.  An s is no "seconds": xarray would
# read numbers in these as durations.
WORDS = {
    "time": ("step, counted from 1", "steps"),
    "lag": ("lag", "steps"),
    "source_step": ("step of the input", "steps"),
    "target_step": ("step of the output", "steps"),
    "running_step": ("step of the running estimate", "steps"),
    "epoch": ("epoch", "epochs"),
    "validation_epoch": ("epoch of the validation", "epochs"),
    "probe_epoch": ("epoch of the probe", "epochs"),
    "snapshot_epoch": ("epoch of the snapshot", "epochs"),
    "step": ("update", "updates"),
    "updates": ("updates", "updates"),
    "validation_update": ("update of the validation", "updates"),
    "lengths": ("length of the sequence", "steps"),
    "transients": ("steps that do not count", "steps"),
    "source_steps": ("step whose gradient is followed", "steps"),
    "probe_steps": ("length of the probe", "steps"),
    "cut_step": ("step that cuts the memory", "steps"),
    "mask": ("whether the step belongs to the sequence", "1"),
    "inputs": ("input", "1"),
    "targets": ("target", "1"),
    "outputs": ("output", "1"),
    "states": ("state", "1"),
    "gates": ("gate", "1"),
    "clamp": ("value at which the gate is clamped", "1"),
    "shut": ("fraction of steps at which the gate is shut", "1"),
    "open": ("fraction of steps at which the gate is open", "1"),
    "saturation": ("fraction of gate values that are shut or open", "1"),
    "mean": ("mean", "1"),
    "quantiles": ("quantile of the gate", "1"),
    "log_norm": ("log-norm of the gradient", "nats"),
    "total_log_norm": ("log-norm of the whole gradient", "nats"),
    "fraction": ("fraction of the gradient", "1"),
    "log_singular": ("logarithm of the singular value", "nats"),
    "decay_rate": ("decay rate of the gradient", "nats/step"),
    "gate_rate": ("decay rate by the memory gate", "nats/step"),
    "gate_error": ("standard error of the rate by the memory gate", "nats/step"),
    "adjoint_rate": ("decay rate by the adjoint", "nats/step"),
    "adjoint_error": ("standard error of the rate by the adjoint", "nats/step"),
    "exponent_rate": ("decay rate by the leading exponent", "nats/step"),
    "exponent_error": ("standard error of the exponent", "nats/step"),
    "rate": ("decay rate by the memory gate", "nats/step"),
    "time_constant": ("time constant by the memory gate", "steps"),
    "half_life": ("asymptotic half-life", "steps"),
    "by_gate": ("half-life by the memory gate", "steps"),
    "by_adjoint": ("half-life by the adjoint", "steps"),
    "by_exponent": ("half-life by the leading exponent", "steps"),
    "steps_to_half": ("lag from which on half of the gradient is gone", "steps"),
    "exponents": ("Lyapunov exponent", "nats/step"),
    "exponent": ("Lyapunov exponent", "nats/step"),
    "error": ("standard error of the exponent", "nats/step"),
    "running": ("running estimate of the exponent", "nats/step"),
    "start_error": ("difference of two starts of the directions", "nats/step"),
    "between": ("exponent between the steps that cut the memory", "nats/step"),
    "between_error": ("standard error of the exponent between cuts", "nats/step"),
    "log_det": ("mean logarithm of |det J|", "nats/step"),
    "log_det_sum": ("sum of all exponents", "nats/step"),
    "perturbation": ("growth of a small perturbation", "nats/step"),
    "perturbation_reference": ("leading exponent over the same steps", "nats/step"),
    "clamped_exponent": ("leading exponent with the gate clamped", "nats/step"),
    "clamped_error": ("standard error of that exponent", "nats/step"),
    "r_squared": ("R² of the fit", "1"),
    "loss": ("training loss", "1"),
    "head_loss": ("training loss of the head", "1"),
    "training_loss": ("training loss", "1"),
    "validation_loss": ("validation loss", "1"),
    "accuracy": ("training accuracy", "1"),
    "validation_accuracy": ("validation accuracy", "1"),
    "gradient_norm": ("global norm of the gradient", "1"),
    "largest_gradient_norm": ("largest norm of the gradient", "1"),
    "clipped": ("fraction of updates that were clipped", "1"),
    "learning_rate": ("learning rate", "1"),
    "seconds": ("wall-clock time", "s"),
    "loop_seconds": ("wall-clock time of the loop between readings", "s"),
}


def words(name: str, what: str = "") -> dict[str, str]:
    """Return the attributes of an array: its long name, and its unit if it is known to have one.

    `what` is the array of which `name` is a part, as a gate is of the gates.

    Examples
    --------
    >>> from gatescope.datatypes.vocabulary import words
    >>> words("log_norm"), words("found_by"), words("f", "gates")["long_name"]
    ({'long_name': 'log-norm of the gradient', 'units': 'nats'}, {'long_name': 'found by'}, 'gate f')
    """
    if what and what != name:
        whole, unit = WORDS.get(what, (what.replace("_", " "), ""))
        known = (f"{whole} {name}", unit)
    else:
        known = WORDS.get(name, (name.replace("_", " "), ""))
    return {"long_name": known[0], **({"units": known[1]} if known[1] else {})}
