"""Checks of what users hand in.

`numbers`, `arrays` and `dtypes` stand on the ground; `network` knows Params, Trace, Stack.
"""
