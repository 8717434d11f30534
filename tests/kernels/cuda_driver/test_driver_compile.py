"""Kernels are compiled with both lines of NumPy: before 2.5, and from 2.5 on, which takes np.row_stack away."""

import pytest
from helpers.subprocess_python import python

from gatescope.kernels.cuda import driver

WITHOUT = """
import numpy as np
import scipy.linalg, numba.np.arrayobj  # of their own versions for this NumPy, they know that it has the name
if hasattr(np, "row_stack"):
    del np.row_stack
    np.__all__ = [name for name in np.__all__ if name != "row_stack"]
"""
COMPILE = """
import math, types
import numpy as np
from numba import float32, void
from numba.extending import register_jitable
import numba.cuda.dispatcher as dispatcher
dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=(9, 0))

def squash(x): ...

def with_squash(overload):
    @overload(squash)
    def compiled(x):
        one = np.float32(1)
        return lambda x: one / (one + math.exp(-x))

@register_jitable
def step(x):
    return squash(x)

def kernel(x):
    x[cuda.threadIdx.x] = step(x[cuda.threadIdx.x])

def ptx():
    return cuda.compile_ptx(kernel, void(float32[::1]), cc=(9, 0))[0]
"""
OUR_WAY = "from gatescope.kernels.cuda import driver; cuda = driver.cuda\n"
PLAIN_WAY = "from numba import cuda\n"


@pytest.fixture(autouse=True)
def _compilers():
    if driver.simulated:
        pytest.skip("Numba's simulator is on (NUMBA_ENABLE_CUDASIM), and has no compiler")
    if driver._VERSION is None or driver._compiler_version() is None:
        pytest.skip('nothing to compile with: pip install "gatescope[cuda]"')


@pytest.mark.parametrize("before", ["", WITHOUT], ids=["this NumPy", "as NumPy 2.5"])
def test_a_kernel_compiles(before):
    after = (
        "with_squash(driver.overload)\n"
        "text = ptx()\n"
        "print('.target sm_90' in text, '.entry' in text, 'ex2' in text, '.f64' in text)\n"
    )
    assert python(before + OUR_WAY + COMPILE + after) == "True True True False"


def test_nothing_is_left_behind_in_numpy():
    after = "import numba.cuda.np.arrayobj; print('row_stack' in vars(np))"
    assert python(WITHOUT + OUR_WAY + after) == "False"
    untouched = "import numpy as np; had = 'row_stack' in vars(np)\n"
    assert python(untouched + OUR_WAY + "print(had == ('row_stack' in vars(np)))") == "True"


def test_without_the_door_it_fails():
    """The control: a release of numba-cuda that mends this makes this test fail, and the shim can go."""
    after = "try: ptx()\nexcept AttributeError as error: print(error)"
    assert "has no attribute 'row_stack'" in python(WITHOUT + PLAIN_WAY + COMPILE + after)
