"""The dense products before and after the sweeps: projections, gradients of inputs and of weights, sums over rows.

Operands are matrices inside flat device arrays, with rows any distance apart.  All products compute in their arrays'
dtype with plain fused multiply-adds.  The order of the additions depends on the sizes only, not on the GPU, and
nothing is added atomically, so results are the same bits every time.

Sums over a run's rows, of which there may be 1e9, are cut into parts, for there to be enough blocks at work; a part
adds `gemm_tiled.FLUSH` rows in a chain, from 0, and adds the chains' sums one after another.  The parts' sums lie in a
workspace and are added in a fixed order: eight strips take every eighth part each, and are then added pairwise.  So a
number goes through at most `SumPlan.chain` roundings, some hundreds or thousands where one chain over all rows would
have 1e9, and the error of a sum is at most about chain * u * (sum of magnitudes), with u = 2^-24 in float32; as
roundings go both ways it is nearer to the square root of that.  Pairwise addition all the way would save little more,
and cost a pass over the workspace for every level.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cuda import gemm_narrow
from gatescope.kernels.cuda import gemm_tiled as tiles

if TYPE_CHECKING:
    from gatescope.kernels.cuda.backend import Backend

_GRID_LIMIT = 2**31 - 1
_BUSY = 256  # tiles that keep a large GPU busy; with fewer, smaller tiles are better
_BLOCKS = 1024  # of a sum over rows: enough for any GPU, and what bounds the workspace
_LEAST_PART = 256  # rows; shorter parts cost more to add up than they gain


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows inside a flat device array: element (r, c) is array[offset + r * stride + c].

    Attributes
    ----------
    array : 1-D device array
    rows, cols : int
    stride : int
        Elements from one row to the next; 0 for `cols`, rows that follow each other closely.
    offset : int
        Elements before the first.
    """

    array: Any
    rows: int
    cols: int
    stride: int = 0
    offset: int = 0

    @property
    def step(self) -> int:
        """Elements from one row to the next."""
        return self.stride or self.cols


Operands = tuple[Matrix, Matrix, Matrix | None, Matrix]  # a, b, bias, out


@dataclass(frozen=True, slots=True)
class SumPlan:
    """How a sum over rows is cut.

    Attributes
    ----------
    shape : str
        Of the tile; empty for at most `gemm_narrow.MOST` columns.
    tiles : int
        Blocks a part.
    parts, length : int
        Number of parts, and rows in each but the last.
    workspace : int
        Elements of the workspace.
    chain : int
        Most roundings between a product and the result.
    """

    shape: str
    tiles: int
    parts: int
    length: int
    workspace: int
    chain: int


@functools.lru_cache(maxsize=256)
def plan_sum(rows: int, out_rows: int, out_cols: int, dtype: str) -> SumPlan:
    """Return how d.T @ x, (rows, out_rows).T @ (rows, out_cols), is cut; out_cols 0 stands for sums of d's columns."""
    cols = max(out_cols, 1)
    if cols <= gemm_narrow.MOST:
        shape, blocks = "", -(-out_rows // 32)
    else:
        wide = "large" if out_rows > 64 else "medium"
        slim = "slim" if out_rows > 32 else "small"
        shape = wide if cols > 32 else slim
        blocks = _tiles(out_rows, cols, shape, dtype)
    most = min(-(-rows // _LEAST_PART), max(1, _BLOCKS // blocks))
    length = -(-rows // max(most, 1) // tiles.DEPTH) * tiles.DEPTH or tiles.DEPTH
    parts = max(1, -(-rows // length))
    flushes = -(-length // tiles.FLUSH)
    in_chain = min(length, tiles.FLUSH)
    if not shape:  # a strip has an eighth of it, and strips are added pairwise
        in_chain = -(-in_chain // gemm_narrow.STRIPS) + 3
    chain = in_chain + flushes + -(-parts // gemm_narrow.STRIPS) + 3 + 1
    return SumPlan(shape, blocks, parts, length, parts * out_rows * cols, chain)


def affine(backend: Backend, x: Matrix, w: Matrix, bias: Matrix | None, out: Matrix) -> None:
    """Compute out[r, m] = bias[m] + sum_i x[r, i] * w[m, i], added up in that order.

    Shapes: x (R, I), w (M, I), bias (1, M), out (R, M).

    Raises
    ------
    ShapeError
        If sizes do not fit each other or their arrays; so do the other products.
    DtypeError
        If dtypes differ, or are not float32 or float64.
    """
    dtype = _check(x=x, w=w, bias=bias, out=out)
    _same("x", x, (out.rows, w.cols))
    _same("out", out, (x.rows, w.rows))
    if bias is not None:
        _same("bias", bias, (1, w.rows))
    if x.cols <= gemm_narrow.MOST:
        width = next((n for n in (32, 64, 128) if n >= w.rows), gemm_narrow.THREADS)
        kernel = gemm_narrow.make_affine(dtype, x.cols, width, bias is not None)
        grid = -(-w.rows // width) * -(-x.rows // gemm_narrow.rows_a_block(width))
        _launch(backend, kernel, grid, gemm_narrow.THREADS, (x, w, bias, out), x.cols)
        return
    _launch_tiled(backend, dtype, True, (x, w, bias, out), x.cols)


def product(backend: Backend, d: Matrix, w: Matrix, out: Matrix) -> None:
    """Compute out[r, i] = sum_m d[r, m] * w[m, i]: gradients of inputs from those of pre-activations.

    m ascends, but with at most `gemm_narrow.MOST` columns, where 32 sums of every 32nd m are then added pairwise.
    Shapes: d (R, M), w (M, I), out (R, I).
    """
    dtype = _check(d=d, w=w, out=out)
    _same("d", d, (out.rows, w.rows))
    _same("out", out, (d.rows, w.cols))
    if w.cols <= gemm_narrow.MOST:
        kernel = gemm_narrow.make_product(dtype, w.cols)
        grid = -(-d.rows // (gemm_narrow.STRIPS * gemm_narrow.rows_a_warp(w.cols)))
        _launch(backend, kernel, grid, gemm_narrow.THREADS, (d, w, None, out), d.cols)
        return
    _launch_tiled(backend, dtype, False, (d, w, None, out), d.cols)


def weight_gradient(backend: Backend, d: Matrix, x: Matrix, out: Matrix, *, accumulate: bool = False) -> None:
    """Compute out[m, k] = sum_r d[r, m] * x[r, k], d (R, M) and x (R, K), or add it to `out` (M, K)."""
    dtype = _check(d=d, x=x, out=out)
    _same("x", x, (d.rows, out.cols))
    _same("out", out, (d.cols, x.cols))
    plan = plan_sum(d.rows, d.cols, x.cols, dtype)
    if plan.shape:
        kernel = tiles.make_product(dtype, plan.shape, False, False, "split")
        threads = tiles.SHAPES[dtype][plan.shape].threads
    else:
        kernel, threads = gemm_narrow.make_sums(dtype, x.cols), gemm_narrow.THREADS
    _sum(backend, kernel, threads, plan, d, x, out, accumulate)


def column_sums(backend: Backend, d: Matrix, out: Matrix, *, accumulate: bool = False) -> None:
    """Compute out[m] = sum_r d[r, m], d (R, M), the gradient of a bias (1, M), or add it to `out`."""
    dtype = _check(d=d, out=out)
    _same("out", out, (1, d.cols))
    plan = plan_sum(d.rows, d.cols, 0, dtype)
    upright = Matrix(out.array, d.cols, 1, 1, out.offset)
    kernel = gemm_narrow.make_sums(dtype, 0)
    _sum(backend, kernel, gemm_narrow.THREADS, plan, d, d, upright, accumulate)


def _sum(
    backend: Backend,
    kernel: Any,
    threads: int,
    plan: SumPlan,
    d: Matrix,
    x: Matrix,
    out: Matrix,
    accumulate: bool,
) -> None:
    """Write the parts' sums into the workspace, then their sum into out."""
    if out.rows == 0:
        return
    workspace = backend.empty((plan.workspace,), out.array.dtype)
    layout = (d.offset, d.step, x.offset, x.step, 0, 0, out.cols)
    sizes = (out.rows, out.cols, d.rows, plan.length)
    operands = (d.array, x.array, x.array, workspace, layout, sizes)
    backend.launch(kernel, plan.parts * plan.tiles, threads, operands)
    total = gemm_narrow.make_total(str(out.array.dtype), accumulate)
    sums = (workspace, out.array, (0, out.offset, out.step), (out.rows, out.cols, plan.parts))
    backend.launch(total, -(-out.rows * out.cols // 32), gemm_narrow.THREADS, sums)


def _launch_tiled(backend: Backend, dtype: str, b_by_depth: bool, operands: Operands, depth: int) -> None:
    _, _, bias, out = operands
    rows, cols = out.rows, out.cols
    shape = _shape(rows, cols, dtype)
    kernel = tiles.make_product(dtype, shape, True, b_by_depth, "plain" if bias is None else "bias")
    threads = tiles.SHAPES[dtype][shape].threads
    _launch(backend, kernel, _tiles(rows, cols, shape, dtype), threads, operands, depth)


def _launch(backend: Backend, kernel: Any, grid: int, block: int, operands: Operands, depth: int) -> None:
    a, b, bias, out = operands
    if out.rows == 0:
        return
    if grid > _GRID_LIMIT:
        raise ShapeError(
            f"has {out.rows} rows, too many for one launch", argument="out", advice="compute it in segments"
        )
    start = b if bias is None else bias  # never read where there is no bias
    layout = (a.offset, a.step, b.offset, b.step, start.offset, out.offset, out.step)
    args = (a.array, b.array, start.array, out.array, layout, (out.rows, out.cols, depth, depth))
    backend.launch(kernel, grid, block, args)


def _tiles(rows: int, cols: int, shape: str, dtype: str) -> int:
    height, width = tiles.SHAPES[dtype][shape].tile(4 if dtype == "float32" else 8)
    return -(-rows // height) * -(-cols // width)


@functools.lru_cache(maxsize=256)
def _shape(rows: int, cols: int, dtype: str) -> str:
    """Return the widest tile that leaves a GPU's multiprocessors enough to do and little of itself unused."""
    for shape in ("large", "medium") if cols > 32 else ("slim",):
        if _tiles(rows, cols, shape, dtype) >= _BUSY:
            return shape
    return "small"


def _check(**matrices: Matrix | None) -> str:
    """Return the dtype of all; each must lie inside its array."""
    dtype = str(matrices["out"].array.dtype)  # type: ignore[union-attr]
    for name, m in matrices.items():
        if m is None:
            continue
        if str(m.array.dtype) != dtype or dtype not in tiles.SHAPES:
            raise DtypeError(
                f"where out has {dtype}",
                argument=name,
                seen=m.array.dtype,
                advice="give all in float32, or all in float64",
            )
        end = m.offset + (m.rows - 1) * m.step + m.cols if m.rows else 0
        if m.cols < 1 or m.rows < 0 or m.offset < 0 or m.step < m.cols or end > m.array.size:
            raise ShapeError(
                f"has {m.rows} rows of {m.cols}, {m.step} apart from {m.offset}, which do not fit into {m.array.size} "
                "elements",
                argument=name,
                advice="check rows, cols, stride and offset",
            )
    return dtype


def _same(name: str, matrix: Matrix, shape: tuple[int, int]) -> None:
    if (matrix.rows, matrix.cols) != shape:
        raise ShapeError(
            f"with the others it must be {shape[0]} x {shape[1]}",
            argument=name,
            seen=(matrix.rows, matrix.cols),
        )
