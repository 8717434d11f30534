"""The oracle of training: the whole model in PyTorch, written out step by step, and its gradients by autograd.

Nothing here is taken from gatescope but the arrays: cells, losses and dropout are written down once more, so that an
error in one of them cannot hide in both.  `outputs_by_layers` builds the same model from torch.nn's own layers.
"""

from typing import NamedTuple

import numpy as np
import torch

from gatescope.datatypes import Head

STATES = {"rnn": 1, "rnn_relu": 1, "lstm": 2, "gru": 1, "gru_reset_before": 1}
PARAMS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Masks(NamedTuple):
    """What dropout multiplies with: 0, or 1 / (1 - p); None where nothing is dropped.

    inputs (T, B, I); between: a (T, B, H) for every layer but the uppermost; outputs (T, B, H); recurrent: a (B, H) for
    every layer, the same at all steps.
    """

    inputs: np.ndarray | None = None
    between: tuple[np.ndarray | None, ...] | None = None
    outputs: np.ndarray | None = None
    recurrent: tuple[np.ndarray | None, ...] | None = None


def leaves(stack):
    """Return the model's weights as tensors that want a gradient, by name, in the order of ``Stack.flat``."""
    return {name: torch.tensor(value, requires_grad=True) for name, value in stack.weights().items()}


def flat(tensors):
    """One NumPy vector of tensors by name, or of their gradients."""
    return np.concatenate([value.detach().numpy().reshape(-1) for value in tensors.values()])


def gradients(weights):
    """One NumPy vector of the gradients that ``backward`` left."""
    return flat({name: value.grad for name, value in weights.items()})


def _step(cell, wx, rx, states, dropped):
    """Return new states; ``wx`` is W x + b_W, ``rx(h)`` is R h + b_R, ``dropped(h)`` is h as that product sees it."""
    h = states[0]
    if cell == "rnn":
        return (torch.tanh(wx + rx(dropped(h))),)
    if cell == "rnn_relu":
        return (torch.relu(wx + rx(dropped(h))),)
    if cell == "lstm":
        i, f, g, o = (wx + rx(dropped(h))).chunk(4, dim=1)
        c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    x_r, x_z, x_n = wx.chunk(3, dim=1)
    h_r, h_z, h_n = rx(dropped(h)).chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    if cell == "gru_reset_before":  # a second product, of what the reset gate leaves of h
        n = torch.tanh(x_n + rx(dropped(r * h)).chunk(3, dim=1)[2])
        return ((1 - z) * n + z * h,)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def zero_states(stack, sequences):
    """One tuple of (B, H) zeros a layer."""
    return [
        tuple(
            torch.zeros(sequences, layer.hidden_size, dtype=torch.float64) for _ in range(STATES[layer.cell])
        )
        for layer in stack.layers
    ]


def _times(x, mask):
    return x if mask is None else x * torch.tensor(mask)


def outputs(cells, weights, inputs, states, masks=None):
    """Return outputs (T, B, O), and the states after the last step, a tuple a layer."""
    masks = masks or Masks()
    x = _times(torch.tensor(inputs), masks.inputs)
    finals = []
    for k, cell in enumerate(cells):
        w = {name: weights[f"layers.{k}.{name}"] for name in PARAMS}
        mask = None if masks.recurrent is None else masks.recurrent[k]
        state, over_time = states[k], []
        for x_t in x:
            state = _step(
                cell,
                x_t @ w["weight_ih"].T + w["bias_ih"],
                lambda h, w=w: h @ w["weight_hh"].T + w["bias_hh"],
                state,
                lambda h, mask=mask: _times(h, mask),
            )
            over_time.append(state[0])
        finals.append(state)
        x = torch.stack(over_time)
        uppermost = k + 1 == len(cells)
        if uppermost:
            x = _times(x, masks.outputs)
        elif masks.between is not None:
            x = _times(x, masks.between[k])
    return x @ weights["readout_weight"].T + weights["readout_bias"], finals


def states_over_time(stack, inputs):
    """Return states[direction][t][state], (B, H) tensors that later ones are computed from, of a run over (T, B, I).

    Directions have the names that the stack gives them, and take the steps in their own order.  Also the outputs
    (T, B, H) of the uppermost layer, which are differentiated.
    """
    x, over_time = torch.tensor(inputs), {}
    for k, layer in enumerate(stack.layers):
        outputs = []
        for prefix in stack.prefixes(k).values():
            params = stack.directions()[prefix]
            w = {name: torch.tensor(getattr(params, name)) for name in PARAMS}
            zeros = torch.zeros(x.shape[1], params.hidden_size, dtype=torch.float64)
            over_time[prefix] = [tuple(zeros.clone().requires_grad_() for _ in range(STATES[params.cell]))]
            for x_t in x.flip(0) if params.reverse else x:
                wx = x_t @ w["weight_ih"].T + w["bias_ih"]
                over_time[prefix].append(
                    _step(
                        params.cell,
                        wx,
                        lambda h, w=w: h @ w["weight_hh"].T + w["bias_hh"],
                        over_time[prefix][-1],
                        lambda h: h,
                    )
                )
            h = torch.stack([states[0] for states in over_time[prefix][1:]])
            outputs.append(h.flip(0) if params.reverse else h)
        x = sum(outputs) if getattr(layer, "merge", "sum") == "sum" else torch.cat(outputs, dim=2)
    return over_time, x


def outputs_by_layers(stack, weights, inputs):
    """Return outputs (T, B, O) of torch.nn's layers and functional read-out, with no dropout."""
    x = torch.tensor(inputs)
    for k, layer in enumerate(stack.layers):
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[layer.cell]
        module = kind(layer.input_size, layer.hidden_size).double()
        named = {f"{name}_l0": weights[f"layers.{k}.{name}"] for name in PARAMS}
        x, _ = torch.func.functional_call(module, named, (x,))
    return torch.nn.functional.linear(x, weights["readout_weight"], weights["readout_bias"])


def head_losses(heads, y, targets, counted):
    """Each head's loss, the mean over the steps that count, by torch's own functions."""
    functional = torch.nn.functional
    y, targets = y[torch.tensor(counted)], torch.tensor(targets)[torch.tensor(counted)]
    losses, at, column = [], 0, 0
    for head in map(Head._make, heads):
        part = y[:, at : at + head.size]
        target = targets[:, column : column + head.columns]
        at, column = at + head.size, column + head.columns
        if head.loss == "mse":
            losses.append(functional.mse_loss(part, target))
        elif head.loss == "cross_entropy":
            losses.append(functional.cross_entropy(part, target[:, 0].long()))
        else:
            total = functional.binary_cross_entropy_with_logits(part, target, reduction="sum")
            losses.append(total / len(part))
    return losses


def loss(heads, y, targets, counted):
    """Return what is trained on: the heads' losses times their weights, added up."""
    losses = head_losses(heads, y, targets, counted)
    return sum(head.weight * value for head, value in zip(heads, losses, strict=True))


def train(stack, data, optimizer, *, updates, clip_norm=None, window=None, masks=None):
    """Weights (N,) after so many updates, with ``torch.nn.utils.clip_grad_norm_`` and an optimizer of torch.optim.

    ``data``: inputs, targets, counted (T, B).  ``optimizer(weights)`` makes the optimizer.  With a ``window``, updates
    go through the data window by window, with the states carried over and detached, and begin again after the last one.
    ``masks(update)`` gives the dropout of an update.
    """
    inputs, targets, counted = data
    weights = leaves(stack)
    stepper = optimizer(list(weights.values()))
    steps, sequences = inputs.shape[:2]
    length = window or steps
    begins = range(0, steps, length)
    states = None
    for update in range(updates):
        begin = begins[update % len(begins)]
        part = slice(begin, min(begin + length, steps))
        if begin == 0:
            states = zero_states(stack, sequences)
        stepper.zero_grad()
        drop = masks(update) if masks else None
        y, states = outputs(stack.cells, weights, inputs[part], states, drop)
        states = [tuple(s.detach() for s in layer) for layer in states]
        loss(stack.heads, y, targets[part], counted[part]).backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(weights.values(), clip_norm)
        stepper.step()
    return flat(weights)
