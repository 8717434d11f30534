"""The page of verdicts: one HTML file that is read without a network, a library or, if need be, a script."""
