"""The explorer: gates, states and gradients of runs under the pointer, in one page that needs nothing but a browser."""
