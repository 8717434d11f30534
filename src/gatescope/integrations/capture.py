"""What each recurrent layer of a live model really receives."""

from __future__ import annotations

from typing import Any

from gatescope.datatypes.capture import Capture
from gatescope.errors import DtypeError
from gatescope.integrations import keras_calls, torch_calls
from gatescope.io.keras.live import is_live


def capture(module: Any, *batch: Any, **named: Any) -> Capture:
    """Run a model of PyTorch or Keras once, and return what each of its recurrent layers received.

    The model is run as it is in use: without gradients, without dropout, and where it was compiled as it was written.
    Nothing of it is changed: training flags, gradients, states of random generators (PyTorch's, NumPy's and Python's)
    are what they were before, and what looked at the layers is taken away again, also where the model fails.

    Parameters
    ----------
    module : torch.nn.Module, keras.Model or keras.Layer
        With ``torch.nn.LSTM``, ``GRU``, ``RNN`` or their cells in it, or Keras's LSTM, GRU, SimpleRNN, RNN,
        Bidirectional or cells; wrapped in DataParallel or by ``torch.compile``, or not.
    *batch, **named
        What the model is called with: ``module(*batch, **named)``.

    Returns
    -------
    Capture
        ``captured["encoder.lstm"]`` holds weights, inputs (T, B, I) whatever the order the model has, lengths where
        sequences were packed or masked, and the initial state where one was given:
        ``gs.run(one.model, **one.arguments)`` gives what the layer gave (of a layer of Keras that goes backwards in the
        order of the inputs).  A module that is called several times is there several times; calls that go on from the
        state that the one before left, as those of a cell in a loop, are one run.  Steps that a mask of Keras leaves
        out are taken out.

    Raises
    ------
    WeightFormatError
        If there is no recurrent module, or none that was called and can be read: it says why.
    DtypeError
        If `module` is no module of PyTorch or Keras.

    Examples
    --------
    Of a model of PyTorch with an embedding and two layers::

        captured = gs.capture(model, tokens)
        lstm = captured["encoder.lstm"]
        trace = gs.run(lstm.model, **lstm.arguments)
    """
    if is_live(module):
        return keras_calls.record(module, batch, named).captured()
    if torch_calls.is_module(module):
        return torch_calls.record(module, batch, named).captured()
    raise DtypeError(
        argument="module", seen=type(module), advice="give a module of PyTorch or a model of Keras"
    )
