"""The callbacks of Keras and Lightning: a watch that begins with the training; without the frameworks, an error."""

import logging
import os
import sys

import numpy as np
import pytest

import gatescope as gs
from gatescope.integrations import keras as of_keras
from gatescope.integrations import lightning as of_lightning
from gatescope.integrations import watch as watching

os.environ.setdefault("KERAS_BACKEND", "torch")
INPUTS = np.random.default_rng(0).normal(size=(16, 20, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _every_reading_is_affordable(monkeypatch):
    monkeypatch.setattr(watching.Budget, "steps", lambda budget: budget._most)


def test_keras():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.LSTM(5, name="lstm"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    logged = []
    callback = of_keras.WatchCallback(INPUTS[:4], every=2, log=logged.append)
    assert isinstance(callback, keras.callbacks.Callback)
    with pytest.raises(gs.ValueRangeError, match="begins when training does"):
        _ = callback.history
    model.fit(INPUTS, INPUTS[:, 0, :1], batch_size=4, epochs=2, verbose=0, callbacks=[callback])
    history = callback.history
    assert (history.layers, history.step.tolist()) == (("lstm",), [0, 2, 4, 6, 8])
    assert [numbers["step"] for numbers in logged] == [0, 2, 4, 6, 8]
    assert not any(history.failures)
    network = gs.capture(model, INPUTS[:4])["lstm"]
    model = network.model.astype("float64")
    rate = gs.gradient_flow(model, **network.arguments, of="joint", wrt="joint").decay_rate()
    np.testing.assert_allclose(history.decay_rate[-1, 0], rate.value.mean(), rtol=1e-12, atol=0)


def test_lightning():
    lightning = pytest.importorskip("lightning")
    torch = pytest.importorskip("torch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    inputs = torch.from_numpy(INPUTS)

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(3, 5, batch_first=True)

        def forward(self, inputs):
            return self.gru(inputs)[0]

        def training_step(self, batch, number):
            return self(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    class Logger(lightning.pytorch.loggers.logger.DummyLogger):
        logged = []  # noqa: RUF012

        def log_metrics(self, metrics, step=None):
            if "gru/half_life" in metrics:
                self.logged.append((metrics["step"], step))

    own = []
    callback = of_lightning.WatchCallback(inputs[:4], every=2, log=own.append)
    assert isinstance(callback, lightning.pytorch.Callback)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[callback],
        logger=Logger(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.utils.data.TensorDataset(inputs)
    trainer.fit(Model(), torch.utils.data.DataLoader(data, batch_size=4))
    history = callback.history
    assert (history.layers, history.step.tolist()) == (("gru",), [0, 2, 4, 6, 8])
    assert not any(history.failures)
    assert Logger.logged == [(step, step) for step in (0, 2, 4, 6, 8)]
    assert len(own) == 5


@pytest.mark.parametrize("callbacks", [of_keras, of_lightning])
def test_without_the_framework_the_package_is_named(callbacks, monkeypatch):
    package = callbacks.__name__.rpartition(".")[2]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "pytorch_lightning", raising=False)
    callbacks._callback.cache_clear()
    with pytest.raises(gs.MissingPackageError, match=f"a callback of, cannot be .*; pip install {package}$"):
        _ = callbacks.WatchCallback
    with pytest.raises(AttributeError, match="has no attribute 'Callback'"):
        _ = callbacks.Callback
