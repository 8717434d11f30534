"""The tiled product: right for every tile and extent, and the same bits whatever the tile."""

import numpy as np
import pytest
from numba import njit

from gatescope.kernels.cpu import layout
from gatescope.kernels.simd import product as product_module
from gatescope.kernels.simd.product import dot, product

LANES = {"float32": 16, "float64": 8}


def make(rows, across, gates, split, lanes, ahead=0):
    @njit(error_model="numpy")
    def multiply(out, start, weight, x, extent, start_row):
        vectors, depth = extent[1:3]
        row = vectors * gates * lanes
        product(
            (out, 0, row),
            (start, 0, start_row),
            (weight, 0, gates * lanes, depth * gates * lanes),
            (x, 0, depth, 1),
            extent,
            (rows, across, gates, split, lanes, ahead),
        )

    return multiply


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "across", "gates", "split"),
    [(1, 4, 4, 2), (3, 3, 3, 2), (6, 4, 1, 1), (2, 4, 2, 4), (4, 2, 4, 2), (8, 1, 3, 4), (2, 2, 6, 1)],
)
def test_against_numpy(rows, across, gates, split, dtype):
    lanes = LANES[dtype]
    multiply = make(rows, across, gates, split, lanes)
    rng = np.random.default_rng(0)
    for n, vectors, depth in [(1, 4, 1), (7, 4, 5), (12, 8, 33), (5, 4, 0)]:
        units = vectors * lanes
        weight = rng.standard_normal((gates * units, depth)).astype(dtype)
        x = rng.standard_normal((n, depth)).astype(dtype)
        bias = rng.standard_normal(gates * units).astype(dtype)
        out = np.full((n, vectors * gates * lanes), np.nan, dtype)
        panel = layout.forward_panel(weight, gates, lanes) if depth else np.zeros(1, dtype)
        multiply(out, layout.bias_panel(bias, gates, lanes), panel, x, (n, vectors, depth), 0)
        seen = layout.unpack_gradient(out.reshape(1, n, vectors * gates, lanes), gates, units).T
        # depth additions of products of size about 1, each rounded once
        tolerance = 4 * np.finfo(dtype).eps * max(1, depth)
        np.testing.assert_allclose(seen, x @ weight.T + bias, rtol=0, atol=tolerance)


def test_neither_the_tile_nor_the_order_of_groups_changes_the_bits():
    rng = np.random.default_rng(1)
    gates, lanes, n, vectors, depth = 2, 16, 11, 4, 37
    weight = rng.standard_normal((gates * vectors * lanes, depth)).astype("float32")
    panel, x = layout.forward_panel(weight, gates, lanes), rng.standard_normal((n, depth)).astype("float32")
    zeros = np.zeros(vectors * gates * lanes, "float32")
    results = []
    tiles = [(1, 2, ()), (2, 2, (0,)), (3, 4, (1,)), (4, 8, ()), (1, 2, (1,)), (1, 1, ()), (6, 1, (1,))]
    for rows, across, turned in tiles:
        for ahead in (0, 1):
            out = np.full((n, vectors * gates * lanes), np.nan, "float32")
            make(rows, across, gates, 4, lanes, ahead)(out, zeros, panel, x, (n, vectors, depth, *turned), 0)
            results.append(out)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_a_tile_is_whole_groups_or_a_part_of_one():
    zeros = np.zeros(96, "float32")
    with pytest.raises(
        Exception, match="a tile of 2 vectors is neither whole groups of 3 nor an equal part of one"
    ):
        make(1, 2, 3, 1, 16)(zeros, zeros, zeros, zeros.reshape(1, -1), (1, 2, 0), 0)


def test_start_may_be_out():
    rng = np.random.default_rng(2)
    out = rng.standard_normal((6, 32)).astype("float32")
    before = out.copy()
    weight, x = rng.standard_normal((32, 3)).astype("float32"), rng.standard_normal((6, 3)).astype("float32")
    make(2, 1, 1, 1, 16)(out, out, layout.forward_panel(weight, 1, 16), x, (6, 2, 3), 32)
    np.testing.assert_allclose(
        out, before + x @ weight.T, rtol=0, atol=2e-6
    )  # three products of size about 1


def test_groups_of_sums_may_lie_apart():
    lanes, rows, groups, depth = 8, 5, 3, 7
    rng = np.random.default_rng(4)
    weight, x = rng.standard_normal((groups * lanes, depth)), rng.standard_normal((rows, depth))
    panels = layout.forward_panel(weight, 1, lanes)

    @njit(error_model="numpy")
    def multiply(out, weight, x):
        sums = (out, 0, lanes, rows * lanes)
        product(
            sums,
            sums,
            (weight, 0, lanes, depth * lanes),
            (x, 0, depth, 1),
            (rows, groups, depth),
            (2, 1, 1, 1, lanes),
        )

    out = np.zeros((groups, rows, 1, lanes))
    for k in (1, 2):  # the second time added to what is there
        multiply(out.reshape(-1), panels, x)
        np.testing.assert_allclose(
            layout.unpack_gradient(out, 1, groups * lanes).T, k * (x @ weight.T), rtol=0, atol=1e-13
        )


def test_a_tile_of_several_groups_finds_their_sums_together():
    zeros = np.zeros(96, "float32")

    @njit
    def multiply(a, x):
        product((a, 0, 16, 16), (a, 0, 16, 16), (a, 0, 16, 16), (x, 0, 0, 1), (1, 2, 0), (1, 2, 1, 1, 16))

    with pytest.raises(Exception, match="groups of 1 that lie apart are not what a tile of 2 vectors fits"):
        multiply(zeros, zeros)


def test_dot():
    @njit
    def run(a, b, count):
        return dot(a, 8, b, 0, count, 8)

    rng = np.random.default_rng(3)
    a, b = rng.standard_normal(40), rng.standard_normal(32)
    assert run(a, b, 4) == pytest.approx(a[8:40] @ b, rel=1e-14)
    assert run(a, b, 0) == 0


@pytest.mark.parametrize(("units", "gates", "columns"), [(1, 1, 1), (16, 4, 3), (17, 3, 20), (33, 2, 1)])
def test_panels_hold_each_weight_once(units, gates, columns):
    lanes = 16
    weight = np.arange(1.0, gates * units * columns + 1).reshape(gates * units, columns).astype("float32")
    for panel in (
        layout.forward_panel(weight, gates, lanes),
        layout.adjoint_panel(weight, gates, lanes),
        layout.dot_rows(weight, gates, lanes),
    ):
        np.testing.assert_array_equal(np.sort(panel[panel != 0]), weight.reshape(-1))
        assert panel.ctypes.data % 64 == 0
    vectors = layout.vectors_for(units, lanes)
    for width in (1, gates, gates * vectors):
        panels = layout.forward_panel(weight, gates, lanes, width).reshape(-1, columns, width, lanes)
        np.testing.assert_array_equal(layout.unpack_gradient(panels, gates, units), weight)
        wide = layout.vectors_for(columns, lanes)
        panels = layout.adjoint_panel(weight, gates, lanes, wide).reshape(-1, wide * lanes)[:, :columns]
        np.testing.assert_array_equal(np.sort(panels[panels != 0]), weight.reshape(-1))


@pytest.mark.parametrize(("registers", "lanes"), [(32, 16), (32, 8), (16, 8), (16, 4)])
def test_tiles_fit_the_registers_and_split_does_not_see_the_batch(monkeypatch, registers, lanes):
    monkeypatch.setattr(layout, "host_registers", lambda: registers)
    monkeypatch.setattr(product_module, "host_registers", lambda: registers)
    for cached in (layout.tiles_for, layout.tile_for):
        monkeypatch.setattr(layout, cached.__name__, cached.__wrapped__)
    for gates in (1, 2, 3, 4, 5):
        rows, across = layout.input_tile(gates)
        assert rows * across + across < registers
        assert gates % across == 0
        assert rows < 8  # of which the addresses would not fit
        for hidden in (1, 16, 33, 64, 100, 128, 512):
            vectors = layout.vectors_for(hidden, lanes)
            tiles = [layout.tiles_for(gates, hidden, lanes, rows) for rows in (1, 2, 5, 20, 64)]
            for tile in tiles:
                for count, (rows, across, split, width, _) in (
                    (gates * vectors, tile.forward),
                    (vectors, tile.adjoint),
                    (gates * vectors, tile.gradient),
                ):
                    at_once = product_module.sets_at_once(rows, across, split)
                    assert rows * across * at_once + across < registers
                    assert split % at_once == 0
                    # Panels are all that there is; a tile is whole ones, which divide that, or an equal part of one.
                    assert count % width == 0
                    assert width % across == 0 or (across % width == 0 and count % across == 0)
                assert tile.gradient.width == tile.gradient.vectors
            # Additions and panels are the same for every batch, for which rows alone may differ.
            same = {tuple((t.split, t.width, t.ahead) for t in (one.forward, one.adjoint)) for one in tiles}
            assert len(same) == len({one.gradient for one in tiles}) == 1


def test_with_few_registers_a_tile_is_smaller(monkeypatch):
    """With 16 registers a tile of 24 accumulators is written to memory and read again at every k."""
    sizes = {}
    for registers in (16, 32):
        monkeypatch.setattr(layout, "host_registers", lambda registers=registers: registers)
        monkeypatch.setattr(product_module, "host_registers", lambda registers=registers: registers)
        sizes[registers] = layout.tile_for.__wrapped__(4, 32, 1, 16, small=False)
    assert sizes[16] == (4, 2, 1)
    assert sizes[32] == (4, 4, 1)
