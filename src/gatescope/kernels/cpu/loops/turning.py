"""Rows copied from one array over time to another, in the order of the steps or each sequence's the other way round."""

from functools import cache

from gatescope.kernels.cpu.loops.compiling import compiled


@cache
def make_move():
    """Make the kernel that moves what a direction of a layer takes and gives, for a block of sequences."""

    @compiled
    def move(source, taken, out, put, lengths, span, turns, adds):
        # source, out: flat; taken, put: where the first sequence's first row begins, from step to step, from sequence
        #              to sequence
        # lengths (B,); span: first sequence, last, steps, numbers of a row
        # turns: the steps of a sequence in the other order, but for those past its end; adds: to what is in `out`
        begin, end, steps, width = span
        base, by_step, by_sequence = taken
        first, on_step, on_sequence = put
        for t in range(steps):
            for n in range(begin, end):
                length = min(lengths[n], steps)
                step = length - 1 - t if turns and t < length else t
                at = base + step * by_step + (n - begin) * by_sequence
                to = first + t * on_step + (n - begin) * on_sequence
                if adds:
                    for u in range(width):
                        out[to + u] += source[at + u]
                else:
                    for u in range(width):
                        out[to + u] = source[at + u]

    return move
