"""Subnormal numbers as zeros, in a block, in a thread."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from llvmlite import binding, ir
from numba.core import types
from numba.extending import intrinsic

from gatescope.kernels.cpu.loops import subnormals
from gatescope.kernels.cpu.loops.compiling import compiled
from gatescope.kernels.cpu.loops.subnormals import flush_subnormals, keep_subnormals

flushes = pytest.mark.skipif(not subnormals.FLUSHES, reason="not a processor that can be told to")


def product(kind, a=1e-30, b=1e-10):
    """Return a product of two numbers: a subnormal one, in float32."""
    return kind(kind(a) * kind(b))


def is_flushed():
    return product(np.float32) == 0


@flushes
def test_results_and_operands_count_as_zero_in_a_block():
    small = np.float32(1e-40)
    assert 0 < product(np.float32) < np.finfo(np.float32).tiny
    with flush_subnormals():
        assert product(np.float32) == 0
        assert product(np.float64, 1e-300, 1e-10) == 0
        assert small * np.float32(1e30) == 0
        assert product(np.float32, 1e-30, 1e-7) > 0
    assert not is_flushed()
    assert small * np.float32(1e30) > 0


@flushes
def test_it_is_put_back_whatever_happens():
    seen = []

    @flush_subnormals()
    def fail():
        seen.append(subnormals._read())
        raise RuntimeError("within")

    before = subnormals._read()
    with pytest.raises(RuntimeError, match="within"):
        fail()
    assert seen != [before]
    assert subnormals._read() == before
    block = flush_subnormals()
    block.__enter__()
    del block  # as when a signal comes between the block's beginning and its first line
    assert subnormals._read() == before


@flushes
def test_blocks_within_blocks():
    with flush_subnormals():
        with keep_subnormals():
            assert not is_flushed()
            with flush_subnormals():
                assert is_flushed()
            assert not is_flushed()
        assert is_flushed()


@flushes
def test_other_threads_go_on_as_they_were():
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_flushed).result()
        with flush_subnormals():
            assert is_flushed()
            assert not pool.submit(is_flushed).result()
        assert pool.submit(flush_subnormals()(is_flushed)).result()
        assert not pool.submit(is_flushed).result()


@flushes
def test_loops_are_compiled_with_subnormal_numbers():
    seen = []

    @intrinsic
    def look(typingctx):
        seen.append(is_flushed())
        return types.void(), lambda context, builder, sig, args: context.get_dummy_value()

    @compiled
    def loop():
        look()

    with flush_subnormals():
        loop()
        assert is_flushed()
    assert set(seen) == {False}


@pytest.mark.parametrize(
    ("architecture", "triple", "instructions"),
    [
        ("x86_64", "x86_64-unknown-linux-gnu", ["stmxcsr", "ldmxcsr"]),
        ("aarch64", "aarch64-unknown-linux-gnu", ["mrs", "msr"]),
        ("arm64", "arm64-apple-darwin", ["mrs", "msr"]),
        ("riscv64", "x86_64-unknown-linux-gnu", []),
    ],
)
def test_instructions_of_processors(architecture, triple, instructions):
    module = ir.Module()
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(word, [word]), "exchange")
    builder = ir.IRBuilder(function.append_basic_block())
    before = subnormals.control(builder, architecture)
    subnormals.set_control(builder, function.args[0], architecture)
    builder.ret(before)
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine()
    text = machine.emit_assembly(binding.parse_assembly(str(module)))
    assert re.findall(r"\b(stmxcsr|ldmxcsr|mrs|msr)\b.*", text) == instructions
