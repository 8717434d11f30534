"""What the tests of ``device="cuda"`` share: small cases, a user's cell, and arrays of another library."""

from typing import Any

import numpy as np
from numba.extending import register_jitable

from gatescope.cells.activations import complement, sigmoid, zero
from helpers.cases import Case
from helpers.counting_gpu import CountingGpu, DeviceArray

LENGTHS = [6, 2, 4]  # of the sequences of `case_of`


def case_of(cell: str, dtype: str = "float64", **sizes: int) -> Case:
    return Case(cell, **{"T": 6, "B": 3, "I": 2, "H": 5, **sizes}, dtype=dtype)


def assert_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


class Slim:
    """More gates than it keeps or has states: a z-mixed sum of two sigmoid terms; its third gate has no R."""

    NAME, GATES, STATES, SAVED = "slim_test", ("a", "b", "n"), ("h",), ("a", "b")

    @staticmethod
    @register_jitable
    def step(wx, rh, states):
        (h,) = states
        a = sigmoid(wx[0] + rh[0])
        b = sigmoid(wx[1] + rh[1])
        return (a * h + complement(a) * b + wx[2],), (a, b)

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        a, b = saved
        (h,) = states
        (d_h,) = adjoint
        d_a = d_h * (h - b) * a * complement(a)
        d_b = d_h * complement(a) * b * complement(b)
        return (d_a, d_b, d_h), (d_a, d_b, zero(d_h)), (d_h * a,)


class Foreign:
    """An array of another library on the GPU, as far as its interface describes it."""

    def __init__(self, array: np.ndarray, **more: Any):
        self._array = array  # keeps it alive
        pointer = (array.__array_interface__["data"][0], False)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "strides": None if array.flags.c_contiguous else array.strides,
            "data": pointer,
            "version": 3,
            **more,
        }


class Adopting(CountingGpu):
    """A `CountingGpu` that takes `Foreign` arrays."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.adopted = 0

    def adopt(self, value: Foreign) -> np.ndarray:
        if not isinstance(value, Foreign):
            return super().adopt(value)
        self.adopted += 1
        return value._array.view(DeviceArray)
