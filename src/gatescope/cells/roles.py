"""What the letters of the package's cells mean: the names that the literature gives to gates and states."""

# A cell that is registered by others may use other letters; they are shown as they are.
ROLES: dict[str, str] = {
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "o": "output gate",
    "r": "reset gate",
    "z": "update gate",
    "n": "candidate",
    "q": "recurrent part of n",
    "a": "leak",
    "h": "hidden state",
    "c": "cell state",
    "m": "logarithm of the scale",
    "d": "normalizer",
}
