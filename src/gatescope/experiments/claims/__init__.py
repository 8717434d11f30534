"""What people say of RNN, LSTM and GRU, statement by statement, and what the cells say to it.

Here alone gates go by their letters: the statements name them.
"""
