"""Fuzzing: mutated files and odd calls, which may end in a result or in a `GatescopeError`, and in nothing else.

    python -m benchmarks.fuzz [--minutes N] [--files N] [--calls N] [--seed S] [--case files:17] [--keep FOLDER]

Every case follows from the seed and its number alone.  The cases run in a child process of limited memory, which is
watched: one that crashes or hangs is a finding as one that raises something else is.
"""
