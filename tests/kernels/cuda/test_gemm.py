"""The dense products: against NumPy in float64, their order of additions, and what the assembler says of them."""

import numpy as np
import pytest
from numba import types

from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cuda import driver, gemm, gemm_narrow, gemm_tiled
from gatescope.kernels.cuda.gemm import Matrix

DTYPES = ["float32", "float64"]
CAPABILITIES = [(7, 5), (8, 0), (9, 0), (10, 0)]
GUARD = 7.0  # in what must not be touched


def rounding(dtype, roundings):
    """Largest error of a sum whose terms go through so many roundings, relative to the sum of their magnitudes."""
    return 1.01 * (roundings + 1) * np.finfo(dtype).eps / 2


def place(gpu, values, gap=0, offset=0, fill=np.nan):
    """Return a matrix on the device, with `gap` elements after each row, `offset` before the first, 3 at the end."""
    rows, cols = values.shape
    flat = np.full(offset + rows * (cols + gap) + 3, fill, values.dtype)
    flat[offset : offset + rows * (cols + gap)].reshape(rows, cols + gap)[:, :cols] = values
    return Matrix(gpu.to_device(flat), rows, cols, cols + gap, offset)


def read(gpu, matrix):
    """Return the matrix; what lies around it must be as it was."""
    flat = gpu.to_host(matrix.array).copy()
    inside = flat[matrix.offset : matrix.offset + matrix.rows * matrix.step].reshape(matrix.rows, matrix.step)
    values = inside[:, : matrix.cols].copy()
    inside[:, : matrix.cols] = GUARD
    assert (flat == GUARD).all(), "wrote beside the output"
    return values


def not_in_simulator(gpu, why):
    """Return a smaller set for the simulator; all for the emulator."""
    if gpu.name == "cudasim":
        pytest.skip(f"Numba's simulator {why}")


def drawn(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_sum(actual, dtype, roundings, *terms):
    """`actual` is the sum of products (a @ b of each pair), within the rounding of its additions."""
    exact = sum(a.astype(np.float64) @ b.astype(np.float64) for a, b in terms)
    size = sum(np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) for a, b in terms)
    # NumPy's own roundings are few and, against float32, of no account.
    assert (np.abs(actual - exact) <= rounding(dtype, roundings) * size + 1e-300).all()


def emulator_module():
    """Return the emulator; skips in the simulator, beside which it cannot run."""
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    from helpers import emulator

    return emulator


def choose(monkeypatch, shape):
    """Have matmul use one tile, whatever the sizes."""
    if shape is not None:
        monkeypatch.setattr(gemm, "_shape", lambda rows, cols, dtype: shape)


def by_turns(cases):
    """Give small cases one dtype each, by turns, and both to a tile that has one case alone: it differs with them."""
    tiles = [case[0] for case in cases]
    both = [tile is not None and tiles.count(tile) == 1 for tile in tiles]
    return [
        (*case, dtype)
        for number, (case, alone) in enumerate(zip(cases, both, strict=True))
        for dtype in (DTYPES if alone else [DTYPES[number % 2]])
    ]


# (tile, R, I, M): the first kind goes through the kernel without tiles.
AFFINE = [
    (None, 1, 1, 1),
    (None, 67, 1, 64),
    (None, 35, 3, 33),
    (None, 20, 8, 300),
    ("small", 37, 9, 35),
    ("small", 5, 17, 70),
    ("slim", 130, 10, 33),
    ("medium", 65, 20, 67),
    ("large", 129, 12, 66),
]


@pytest.mark.parametrize(("shape", "rows", "inputs", "outputs", "dtype"), by_turns(AFFINE))
def test_affine(gpu, monkeypatch, dtype, shape, rows, inputs, outputs):
    choose(monkeypatch, shape)
    x, w, bias = drawn(rows, dtype, (rows, inputs), (outputs, inputs), (1, outputs))
    out = place(gpu, np.zeros((rows, outputs), dtype) + GUARD, 5, 2, GUARD)
    gemm.affine(gpu, place(gpu, x, 3, 1), place(gpu, w, 2, 5), place(gpu, bias, 0, 4), out)
    ones = np.ones((rows, 1), dtype)
    assert_sum(read(gpu, out), dtype, inputs, (x, w.T), (ones, bias))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # 0 times infinity beyond the edge, which nobody stores
@pytest.mark.parametrize("inputs", [2, 11])
def test_affine_without_bias_keeps_nan_and_infinity_in_their_rows(gpu, inputs):
    x, w = drawn(0, "float32", (34, inputs), (40, inputs))
    x[3, 1], x[33, 0] = np.nan, np.inf
    out = place(gpu, np.full((34, 40), GUARD, "float32"), 0, 0, GUARD)
    gemm.affine(gpu, place(gpu, x), place(gpu, w), None, out)
    actual = read(gpu, out)
    assert np.isnan(actual[3]).all()
    assert np.isinf(actual[33]).all()
    keep = np.setdiff1d(np.arange(34), [3, 33])
    assert_sum(actual[keep], "float32", inputs, (x[keep], w.T))


PRODUCT = [
    (None, 1, 1, 1),
    (None, 70, 5, 1),
    (None, 33, 150, 3),
    (None, 9, 300, 5),
    (None, 35, 64, 8),
    ("small", 37, 35, 9),
    ("slim", 130, 18, 31),
    ("medium", 67, 20, 65),
    ("large", 129, 12, 66),
]


@pytest.mark.parametrize(("shape", "rows", "outputs", "inputs", "dtype"), by_turns(PRODUCT))
def test_product(gpu, monkeypatch, dtype, shape, rows, outputs, inputs):
    choose(monkeypatch, shape)
    d, w = drawn(rows, dtype, (rows, outputs), (outputs, inputs))
    out = place(gpu, np.full((rows, inputs), GUARD, dtype), 4, 1, GUARD)
    gemm.product(gpu, place(gpu, d, 7, 3), place(gpu, w, 1, 2), out)
    assert_sum(read(gpu, out), dtype, outputs, (d, w))


@pytest.fixture
def least_part(monkeypatch):
    """Set how many rows a part of a sum has at least: with fewer, a sum of few rows has several parts."""
    yield lambda rows: (monkeypatch.setattr(gemm, "_LEAST_PART", rows), gemm.plan_sum.cache_clear())
    gemm.plan_sum.cache_clear()


SLOW = pytest.mark.slow  # the parts' length that ships
# (least rows of a part, R, M, K): tiles are chosen by M and K.
GRADIENT = [
    (256, 1, 1, 1),
    (256, 0, 3, 2),
    (80, 210, 35, 1),
    (80, 100, 33, 8),
    (16, 43, 20, 10),
    (16, 27, 40, 17),
    (16, 11, 30, 40),
    (16, 11, 70, 35),
    pytest.param(16, 43, 20, 40, marks=SLOW),
    pytest.param(256, 700, 35, 1, marks=SLOW),
    pytest.param(256, 261, 40, 17, marks=SLOW),
]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("least", "rows", "outputs", "inputs"), GRADIENT)
def test_weight_gradient(gpu, least_part, dtype, least, rows, outputs, inputs):
    if rows * outputs * inputs > 20_000:
        not_in_simulator(gpu, "takes too long")
    least_part(least)
    d, x, before = drawn(rows, dtype, (rows, outputs), (rows, inputs), (outputs, inputs))
    operands = place(gpu, d, 3, 1), place(gpu, x, 5, 2)
    plan = gemm.plan_sum(rows, outputs, inputs, dtype)
    assert plan.parts == max(1, -(-rows // least))
    out = place(gpu, np.full((outputs, inputs), GUARD, dtype), 2, 3, GUARD)
    gemm.weight_gradient(gpu, *operands, out)
    assert_sum(read(gpu, out), dtype, plan.chain, (d.T, x))
    if plan.shape in ("medium", "large"):
        return  # the parts are added to what is there by the same kernel for every tile
    out = place(gpu, before, 2, 3, GUARD)
    gemm.weight_gradient(gpu, *operands, out, accumulate=True)
    assert_sum(read(gpu, out), dtype, plan.chain + 1, (d.T, x), (np.eye(outputs, dtype=dtype), before))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("least", "rows", "outputs"),
    [
        (256, 1, 1),
        (256, 0, 5),
        (80, 210, 33),
        (16, 520, 3),
        pytest.param(256, 600, 33, marks=SLOW),
        pytest.param(256, 2500, 3, marks=SLOW),
    ],
)
def test_column_sums(gpu, least_part, dtype, least, rows, outputs):
    if rows > 500:
        not_in_simulator(gpu, "takes too long")
    least_part(least)
    d, before = drawn(rows, dtype, (rows, outputs), (1, outputs))
    plan = gemm.plan_sum(rows, outputs, 0, dtype)
    ones = np.ones((1, rows), dtype)
    for accumulate in (False, True):
        start = before if accumulate else np.full_like(before, GUARD)
        out = place(gpu, start, 0, 2, GUARD)
        gemm.column_sums(gpu, place(gpu, d, 3, 1), out, accumulate=accumulate)
        terms = [(ones, d)] + [(np.ones((1, 1), dtype), before)] * accumulate
        assert_sum(read(gpu, out), dtype, plan.chain + 1, *terms)


def forget_sums():
    """Forget the plans and kernels that are made for one length of a chain."""
    for made in (gemm.plan_sum, gemm_tiled.make_product, gemm_narrow.make_sums):
        made.cache_clear()


@pytest.mark.parametrize("flush", [128, pytest.param(gemm_tiled.FLUSH, marks=SLOW)])
@pytest.mark.parametrize("cols", [1, 9])
def test_sums_run_in_chains_of_bounded_length(gpu, monkeypatch, flush, cols):
    not_in_simulator(gpu, "takes too long")
    # More rows than a chain takes, in one part: 1 + 2^-24 is 1 in float32, so one chain would stay at 1.
    monkeypatch.setattr(gemm, "_BLOCKS", 1)
    for module in (gemm_tiled, gemm_narrow):
        monkeypatch.setattr(module, "FLUSH", flush)
    forget_sums()
    try:
        rows = 2 * flush + 40
        plan = gemm.plan_sum(rows, 1, cols, "float32")
        assert plan.parts == 1
        assert plan.length > flush
        d, x = np.full((rows, 1), 2.0**-24, "float32"), np.ones((rows, cols), "float32")
        d[0] = 1
        d[[flush - 1, flush, 2 * flush, rows - 1]] = 2.0**-10  # none may be left out, or taken twice
        out = Matrix(gpu.empty((cols,), "float32"), 1, cols)
        gemm.weight_gradient(gpu, place(gpu, d), place(gpu, x), out)
        exact = d.sum(dtype=np.float64)
        # What the first chain loses is lost: FLUSH rows of it in a tile, an eighth of them in a strip.
        lost = flush * 2.0**-24 * (1 if cols > gemm_narrow.MOST else 1 / gemm_narrow.STRIPS)
        np.testing.assert_allclose(gpu.to_host(out.array), exact, rtol=0, atol=lost + 2e-7)
        assert gpu.to_host(out.array)[0] > 1 + 0.9 * flush * 2.0**-24 + 4 * 2.0**-10
    finally:
        forget_sums()


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_every_schedule(least_part, dtype):
    emulator = emulator_module()
    least_part(24)
    d, x, w, bias = drawn(5, dtype, (44, 20), (44, 10), (20, 10), (1, 20))
    results = []
    for seed in (0, 1):
        gpu = emulator.EmulatedGpu(seed=seed, multiprocessors=3 + seed)
        grad, small = Matrix(gpu.empty((200,), dtype), 20, 10), Matrix(gpu.empty((120,), dtype), 40, 3)
        rows, sums = Matrix(gpu.empty((800,), dtype), 40, 20), Matrix(gpu.empty((20,), dtype), 1, 20)
        on = [place(gpu, a) for a in (d, x, w, bias)]
        gemm.weight_gradient(gpu, on[0], on[1], grad)
        gemm.product(gpu, Matrix(on[0].array, 40, 20), Matrix(on[2].array, 20, 3, 10), small)
        gemm.affine(gpu, Matrix(on[1].array, 40, 10), on[2], on[3], rows)
        gemm.column_sums(gpu, on[0], sums)
        results.append([gpu.to_host(m.array).tobytes() for m in (grad, small, rows, sums)])
        assert gemm.plan_sum(44, 20, 10, dtype).parts == 2
    assert results[0] == results[1]


@pytest.mark.parametrize("inputs", [3, 9])
def test_affine_adds_ascending_from_the_bias_in_any_tile(gpu, monkeypatch, inputs):
    x, w, bias = drawn(1, "float64", (33, inputs), (34, inputs), (1, 34))
    expected = np.broadcast_to(bias, (33, 34)).copy()
    for i in range(inputs):
        expected += x[:, i : i + 1] * w[:, i]
    for shape in ("small", "slim"):
        choose(monkeypatch, shape)
        out = Matrix(gpu.empty((33 * 34,), "float64"), 33, 34)
        gemm.affine(gpu, place(gpu, x), place(gpu, w), place(gpu, bias), out)
        # A GPU fuses the multiplication with the addition; the emulator rounds between, as NumPy does.
        actual = gpu.to_host(out.array).reshape(33, 34)
        if gpu.name == "emulator":
            np.testing.assert_array_equal(actual, expected)
        else:
            size = np.abs(bias) + np.abs(x) @ np.abs(w).T
            assert np.all(np.abs(actual - expected) <= (inputs + 1) * 2.0**-53 * size)


def test_no_thread_reads_shared_memory_that_another_is_writing():
    emulator = emulator_module()
    gpu = emulator.EmulatedGpu(races=True)
    d, x = drawn(2, "float32", (70, 34), (70, 9))
    for cols in (9, 2):
        out = Matrix(gpu.empty((34 * cols,), "float32"), 34, cols)
        gemm.weight_gradient(gpu, place(gpu, d), Matrix(gpu.to_device(x.ravel()), 70, cols, 9), out)
    w = Matrix(gpu.to_device(np.ones(68, "float32")), 34, 2)
    gemm.product(gpu, place(gpu, d), w, Matrix(gpu.empty((140,), "float32"), 70, 2))


@pytest.mark.parametrize("rows", [1, 40, 800_000, 10**9])
@pytest.mark.parametrize(("outputs", "inputs"), [(64, 16), (64, 1), (1024, 256), (4096, 1024), (4096, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_plan_covers_the_rows_within_a_bounded_workspace(rows, outputs, inputs, dtype):
    plan = gemm.plan_sum(rows, outputs, inputs, dtype)
    assert (plan.parts - 1) * plan.length < rows <= plan.parts * plan.length
    assert plan.workspace <= 2**24
    assert plan.parts * plan.tiles <= max(1024, plan.tiles)
    assert plan.chain <= gemm_tiled.FLUSH + rows / (gemm_tiled.FLUSH * plan.parts) + plan.parts / 8 + 10


def test_errors_say_what_is_wrong(gpu):
    def zeros(rows, cols, dtype="float32"):
        return Matrix(gpu.zeros((rows * cols,), dtype), rows, cols)

    with pytest.raises(ShapeError, match=r"x has shape \(5, 4\), but with the others it must be 5 x 3"):
        gemm.affine(gpu, zeros(5, 4), zeros(6, 3), None, zeros(5, 6))
    with pytest.raises(
        ShapeError, match="d has 5 rows of 4, 4 apart from 1, which do not fit into 20 elements"
    ):
        gemm.product(gpu, Matrix(zeros(5, 4).array, 5, 4, 4, 1), zeros(4, 3), zeros(5, 3))
    with pytest.raises(DtypeError, match="x has dtype float64 where out has float32; give all in"):
        gemm.weight_gradient(gpu, zeros(5, 4), zeros(5, 3, "float64"), zeros(4, 3))


def signature(dtype, arrays=4):
    flat, integers = getattr(types, dtype)[::1], types.int64
    if arrays == 2:
        return types.void(flat, flat, types.UniTuple(integers, 3), types.UniTuple(integers, 3))
    return types.void(*[flat] * 4, types.UniTuple(integers, 7), types.UniTuple(integers, 4))


def assert_lean(built, dtype, most):
    assert (built.stack, built.spills) == (0, 0), built.log
    assert 0 < built.registers <= most, f"{built.registers} registers"
    if dtype == "float32":
        assert built.f64 == 0


ORIENTATIONS = [(True, True, "bias"), (True, False, "plain"), (False, False, "split")]


TILED = ["large", "medium", "slim", "small"]


def check_tile(built, dtype, shape):
    assert_lean(built, dtype, 255)
    assert built.registers * gemm_tiled.SHAPES[dtype][shape].threads <= 32768, (
        "two blocks must fit side by side"
    )


# Every shape in both dtypes, orientation and GPU by turns; the largest in float32 in all orientations below.
@pytest.mark.parametrize(
    ("orientation", "dtype", "shape", "turn"),
    [
        (orientation, dtype, shape, o + 2 * d + s)
        for o, orientation in enumerate(ORIENTATIONS)
        for d, dtype in enumerate(DTYPES)
        for s, shape in enumerate(TILED)
        if (o + d + s) % 3 == 1 and (dtype, shape) != ("float32", "large")
    ],
)
def test_machine_code_of_tiles(build, orientation, dtype, shape, turn):
    kernel = gemm_tiled.make_product(dtype, shape, *orientation)
    check_tile(build(kernel, signature(dtype), CAPABILITIES[turn % 4]), dtype, shape)


@pytest.mark.parametrize("columns", [1, 3, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_machine_code_without_tiles(build, dtype, columns):
    kernels = [
        (gemm_narrow.make_affine(dtype, columns, 64, True), 4, 96),
        (gemm_narrow.make_product(dtype, columns), 4, 128),
        (gemm_narrow.make_sums(dtype, columns), 4, 96),
    ]
    if columns == 1:
        kernels += [
            (gemm_narrow.make_sums(dtype, 0), 4, 64),
            (gemm_narrow.make_total(dtype, True), 2, 64),
        ]
    for turn, (kernel, arrays, most) in enumerate(kernels, columns + 2 * DTYPES.index(dtype)):
        assert_lean(build(kernel, signature(dtype, arrays), CAPABILITIES[turn % 4]), dtype, most)


@pytest.mark.parametrize("mode", ORIENTATIONS)
def test_fragments_are_loaded_16_bytes_at_a_time(build, mode):
    from helpers.machine_code import sass

    built = build(gemm_tiled.make_product("float32", "large", *mode), signature("float32"), (9, 0))
    check_tile(built, "float32", "large")
    counts = sass(built.cubin)
    if counts is None:
        pytest.skip("nvdisasm is not installed")
    steps = gemm_tiled.UNROLLED
    assert counts["FFMA"] == 64 * steps  # one for each element of a thread, and step of the unrolled loop
    assert counts["LDS.128"] >= 4 * steps  # two for each fragment
    assert not any(name.startswith("HMMA") for name in counts)
