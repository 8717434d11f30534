"""The tasks of ``gatescope train`` by name, and the losses of the user's own data."""

# Made by random numbers, any number of them; each is the function of that name, with underscores, of gatescope.tasks.
FRESH = ("adding", "copying", "temporal-order", "counting", "delayed-xor", "flip-flop", "long-series")
# From files, with splits; some want --data.
FIXED = ("laser", "digits", "chorales", "piano-roll", "characters", "own")
NAMES = (*FRESH, *FIXED)
FROM_FILE = {"piano-roll": "FILE.mat", "characters": "FILE.txt", "own": "FILE.npz or FILE.csv"}
LOSSES = ("mse", "cross-entropy", "bernoulli")
