"""How fast can a step be on this machine?  Measures what bounds it, and says which bound each row is at.

    python -m benchmarks.floor [--rows PATTERN ...] [--json FILE]

Every bound below is a lower bound on the time of a step; the floor of a pass is the largest of them.  With
G gates, S states, K saved values, b = B / cores sequences on each core, w = bytes of a number:

    products     forward B G H (H + I) multiply-adds; backward twice that (the adjoints, then the weights'
                 gradients); divided by the cores' measured rate
    activations  how many sigmoids and tanhs a step takes, B H times, at the measured time of gatescope's own
    loads        a product of an m x n tile kept in registers loads m + n vectors for m n multiply-adds;
                 the best tile that fits the registers, at the first-level cache's measured rate; for the
                 recurrent product (B G H H of each pass) n <= b, the others may tile over the steps as well
    weights      G H H w bytes once a step for each core: what fits a cache level at that level's rate
    stored       forward w B H (S + K) bytes; backward w B (H S + I); at the measured rate of writing
    latency      one sequence waits for itself.  The product of the last vector of h (a share 1/V of the
                 loads and products, V vectors in H) must follow the step before and precede the activations
                 of this one: latency = chain + max(products, loads) / V, of the recurrent product alone, with
                 the chain of the cell's own equations measured with a diagonal matrix in place of the product

Of layers one on top of another, each with the units of the one below as its I, the bounds are added up; they can
wait for themselves at the same time, so of the latency the largest counts.

The bounds are not reached together: activations and products need the same units, for example.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from benchmarks import floor_kernels as kernels
from benchmarks.results_file import write_json
from benchmarks.rows import FORWARD, TRAIN, Row, select
from gatescope.cells import get
from gatescope.checks.numbers import default_threads
from gatescope.kernels.simd.vector import host_lanes

# (sigmoids, tanhs) of a unit in `step` and in `step_vjp`; an LSTM's backward step computes tanh(c) again.
ACTIVATIONS = {"rnn": ((0, 1), (0, 0)), "lstm": ((3, 2), (0, 1)), "gru": ((2, 1), (0, 0))}

# Result arrays above this come from new memory in every call, below it from memory used before: glibc raises
# the size from which it asks the system for a new mapping up to this and no further.
NEW_PAGES = 32 << 20

_CHAIN_STEPS = 20_000
_GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Rates of one core in one precision, unless said otherwise.

    Attributes
    ----------
    lanes, registers : int
        Numbers in a vector register; how many registers there are.
    fma : float
        Multiply-adds a second.
    load : dict
        Bytes a second from the first-, second- and third-level cache.
    cache : dict
        Bytes of those caches; a third level is shared by the cores.
    write_new, write_used : float
        Bytes a second written to pages never used before and to an array used before, all cores together.
    activation : dict
        Elements a second of sigmoid and tanh.
    chain : dict
        Seconds a step of each cell, forward and backward.
    """

    dtype: str
    cores: int
    lanes: int
    registers: int
    fma: float
    load: dict[str, float]
    cache: dict[str, int]
    write_new: float
    write_used: float
    activation: dict[str, float]
    chain: dict[str, dict[str, float]]


def _best(call: Callable[[], Any], repeat: int = 7) -> float:
    """Seconds of the fastest of several calls, after one that compiles: a floor is what can be reached."""
    call()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def cache_sizes() -> dict[str, int]:
    """Bytes of the data caches as the system tells them, or sizes that are common."""
    sizes = {"1": 32 << 10, "2": 1 << 20, "3": 16 << 20}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
            if kind != "Instruction" and level in sizes:
                sizes[level] = int(size.rstrip("KM")) * (1 << 20 if size.endswith("M") else 1 << 10)
        except (OSError, ValueError):
            continue
    return sizes


def _write_rates(dtype: np.dtype[Any], threads: int) -> tuple[float, float]:
    """Bytes a second to new pages and to an array used before, `threads` at once."""
    new, used = 2 * NEW_PAGES, NEW_PAGES // 8
    arrays = [np.zeros(used // dtype.itemsize, dtype) for _ in range(threads)]
    value = dtype.type(1)
    with ThreadPoolExecutor(threads) as pool:

        def write_used() -> None:
            list(pool.map(lambda array: [kernels.fill(array, value) for _ in range(8)], arrays))

        def write_new() -> None:
            list(
                pool.map(
                    lambda _: kernels.fill(np.empty(new // dtype.itemsize, dtype), value), range(threads)
                )
            )

        return threads * new / _best(write_new), threads * 8 * used / _best(write_used)


def measure(dtype_name: str, threads: int) -> Machine:
    """Measure this machine's rates; about two seconds, most of them compiling."""
    dtype = np.dtype(dtype_name)
    lanes, sizes = host_lanes(dtype), cache_sizes()
    source, sink = kernels.source_array(dtype, lanes), np.zeros(16 * lanes, dtype)

    n = 100_000
    fma = n * kernels.CHAINS * lanes / _best(partial(kernels.fma_loop(lanes), n, source, sink))

    load = {}
    for level, size in sizes.items():
        vectors = size // 2 // (lanes * dtype.itemsize) // kernels.UNROLLED * kernels.UNROLLED
        buffer = kernels.source_array(dtype, lanes, vectors)
        n = max(1, (32 << 20) // buffer.nbytes)
        load[level] = n * buffer.nbytes / _best(partial(kernels.load_loop(lanes), n, buffer, sink))

    activation = {}
    arguments = np.random.default_rng(0).uniform(-4, 4, 64 * lanes).astype(dtype)
    for name in ("sigmoid", "tanh"):
        call = partial(kernels.activation_loop(lanes, name), 200, arguments, np.empty_like(arguments))
        activation[name] = 200 * arguments.size / _best(call)

    chain = {}
    for cell in ACTIVATIONS:
        loops = {
            "forward": kernels.forward_chain(cell, lanes),
            "backward": kernels.backward_chain(cell, lanes),
        }
        chain[cell] = {
            which: _best(partial(loop, _CHAIN_STEPS, source, sink)) / _CHAIN_STEPS
            for which, loop in loops.items()
        }

    write_new, write_used = _write_rates(dtype, threads)
    return Machine(
        dtype=dtype_name,
        cores=threads,
        lanes=lanes,
        registers=32 if llvm.get_host_cpu_features().get("avx512f") else 16,
        fma=fma,
        load=load,
        cache=sizes,
        write_new=write_new,
        write_used=write_used,
        activation=activation,
        chain=chain,
    )


def _loads_per_fma(registers: int, sequences: float) -> float:
    """Vector loads a vector multiply-add, with the best tile of m weights and n sequences in registers."""
    tiles = [(m, n) for m in range(1, registers) for n in range(1, registers) if m * n + m + 1 <= registers]
    return min((m + n) / (m * n) for m, n in tiles if n <= max(1, sequences))


def _weights_seconds(machine: Machine, size: float) -> float:
    """Read `size` bytes once, each from the nearest cache that has room for it."""
    seconds = 0.0
    for level in ("1", "2", "3"):
        from_level = min(size, machine.cache[level]) if level != "3" else size
        seconds += from_level / machine.load[level]
        size -= from_level
    return seconds


def _store_seconds(machine: Machine, row: Row, size: int) -> float:
    """Write `size` bytes a step to one result array."""
    return size / (machine.write_new if row.steps * size > NEW_PAGES else machine.write_used)


def bounds(row: Row, machine: Machine) -> dict[str, dict[str, float]]:
    """Seconds a step that each bound allows, for the forward and the backward pass."""
    layers = [_bounds_of_layer(row, input_size, machine) for input_size in row.input_sizes]
    # A layer adds to what there is to do; it does not wait for the whole series of the one below.
    return {
        which: {
            name: (max if name == "latency" else sum)(layer[which][name] for layer in layers)
            for name in times
        }
        for which, times in layers[0].items()
    }


def _bounds_of_layer(row: Row, input_size: int, machine: Machine) -> dict[str, dict[str, float]]:
    """Return what `bounds` does, of one layer."""
    cell, itemsize = get(row.cell), np.dtype(row.dtype).itemsize
    gates, states, saved = len(cell.gates), len(cell.states), len(cell.saved)
    batch, units = row.batch, row.hidden_size
    used = min(machine.cores, batch)  # a sequence is one thread's work
    vectors = -(-units // machine.lanes)
    recurrent = batch * gates * units * units
    # Numbers a step in each array that a pass returns.
    returned = {
        "forward": (batch * units * states, batch * units * saved),
        "backward": (batch * units * states, batch * input_size),
    }
    result = {}
    for which, products in (("forward", 1), ("backward", 2)):
        multiply_adds = products * batch * gates * units * (units + input_size)
        sigmoids, tanhs = ACTIVATIONS[row.cell][which == "backward"]
        per_unit = sigmoids / machine.activation["sigmoid"] + tanhs / machine.activation["tanh"]
        recurrent_loads = recurrent * _loads_per_fma(machine.registers, batch / used)
        other_loads = (multiply_adds - recurrent) * _loads_per_fma(machine.registers, machine.registers)
        load_rate = machine.load["1"] * used / itemsize
        times = {
            "products": multiply_adds / (machine.fma * used),
            "activations": batch * units * per_unit / used,
            "loads": (recurrent_loads + other_loads) / load_rate,
            "weights": _weights_seconds(machine, gates * units * units * itemsize),
            "stored": sum(_store_seconds(machine, row, count * itemsize) for count in returned[which]),
        }
        if batch == 1:
            product = max(recurrent / machine.fma, recurrent_loads / load_rate)
            times["latency"] = machine.chain[row.cell][which] + product / vectors
        result[which] = times
    return result


def floor(row: Row, machine: Machine) -> dict[str, dict[str, Any]]:
    """Floor in us a step and the bound that sets it, by pass; forward+backward is one after the other."""
    each: dict[str, dict[str, Any]] = {}
    for which, times in bounds(row, machine).items():
        limit = max(times, key=lambda name: times[name])
        each[which] = {"us_per_step": times[limit] * 1e6, "limit": limit}
    forward, backward = each["forward"], each["backward"]
    both = {
        "us_per_step": forward["us_per_step"] + backward["us_per_step"],
        "limit": f"{forward['limit']}, {backward['limit']}",
    }
    return {FORWARD: forward, TRAIN: both}


def describe(machine: Machine) -> str:
    """Return the measured rates in a few lines."""
    load, act, size = machine.load, machine.activation, machine.cache
    chains = ", ".join(
        f"{cell} {1e9 * c['forward']:.1f} forward and {1e9 * c['backward']:.1f} backward"
        for cell, c in machine.chain.items()
    )
    giga_fma, flops = machine.fma / _GIGA, 2 * machine.fma / _GIGA
    new, used = machine.write_new / _GIGA, machine.write_used / _GIGA
    lines = [
        f"{machine.dtype}, {machine.cores} cores, vectors of {machine.lanes}:",
        f"  multiply-adds     {giga_fma:8.1f} G/s a core ({flops:.0f} Gflop/s)",
        *(
            f"  loads, level {k}    {v / _GIGA:8.1f} GB/s a core ({size[k] >> 10:,} KiB)"
            for k, v in load.items()
        ),
        f"  writes, new pages {new:8.1f} GB/s; used before {used:.1f} GB/s",
        f"  sigmoid, tanh     {1e9 / act['sigmoid']:8.3f} and {1e9 / act['tanh']:.3f} ns an element a core",
        f"  latency chain     {chains} ns a step",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the machine's rates and every row's bounds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floor", description="What bounds a step on this machine."
    )
    parser.add_argument("--rows", nargs="*", metavar="PATTERN", help="rows whose key contains one of these")
    parser.add_argument("--threads", type=int, default=min(2, default_threads()))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rates and the floors here")
    options = parser.parse_args(arguments)
    try:
        rows = select(options.rows)
    except ValueError as error:
        parser.error(str(error))
    machines = {}
    for dtype in dict.fromkeys(row.dtype for row in rows):
        machines[dtype] = measure(dtype, options.threads)
        print(describe(machines[dtype]))
    print(f"\n{'us a step':34s} {'pass':9s} {'floor':>9s}  set by, and all bounds")
    for row in rows:
        for which, times in bounds(row, machines[row.dtype]).items():
            limit = max(times, key=lambda name: times[name])
            rest = "  ".join(f"{name} {1e6 * seconds:.3f}" for name, seconds in times.items())
            print(f"{row.key:34s} {which:9s} {1e6 * times[limit]:9.3f}  {limit}: {rest}")
    if options.json:
        data = {
            "machines": {dtype: asdict(machine) for dtype, machine in machines.items()},
            "floors": {row.key: floor(row, machines[row.dtype]) for row in rows},
        }
        write_json(options.json, data)


if __name__ == "__main__":
    main()
