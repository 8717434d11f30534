"""Studies over seeds: runs that are made once, tuned settings, arms of equal size, and what the pairs say.

A `RunSpec` says what a run is, `make_runs` makes each once, as `make_all` does with those of any `Store`, `tune`
chooses a learning rate and initial weights with seeds of their own, and `judge` turns paired differences into a word.
"""
