"""Whether it is the parameters that count: statement 17b."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gatescope.datatypes import Effect
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.expressive import COUNTED as COUNTED_TO
from gatescope.experiments.claims.measured import names
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Cell, Study, StudyCell, StudyTask
from gatescope.experiments.claims.variant_cells import COUPLED, NO_INPUT, UNCOUPLED, chosen, effect_of
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import paired

COUNTED = COUNTED_TO[0]  # a^n b^n
BLOCKS: tuple[Cell, ...] = (COUPLED, NO_INPUT, UNCOUPLED)  # three of an LSTM with a cell, four without one


def judge_parameters(width: Effect, equal: Effect, blocks: Sequence[Effect]) -> Finding:
    """Return what is said of statement 17b by how far a GRU counts over an LSTM, at equal width and equal parameters.

    `blocks` are other cells of the same width over the GRU.
    """
    at_width, at_parameters = judge([width], claim="lower"), judge([equal], claim="lower")
    lost = paired(equal.differences - width.differences, margin=width.margin, name="fewer units of the LSTM")
    behind = at_width.word == SUPPORTED and not at_width.small
    judged = at_parameters if behind else at_width
    if not behind and at_width.word != UNDECIDED:
        word, says = CONTRADICTED, "the GRU has fewer parameters at equal width, and counts as far"
    elif not behind:
        word, says = UNDECIDED, "whether the GRU is behind at equal width is open"
    elif at_parameters.word in (EQUAL, CONTRADICTED) or at_parameters.small:
        # One inside the margin and one outside are no difference: of the same GRU the LSTM has to lose by its units.
        judged = judge([lost], claim="higher")
        if judged.word == SUPPORTED:
            word, says = SUPPORTED, "the LSTM is ahead at equal width, and no longer at equal parameters"
        else:
            word, says = (
                UNDECIDED,
                "ahead at equal width alone, the LSTM does not count less far with fewer units",
            )
    elif at_parameters.word == SUPPORTED:
        word, says = CONTRADICTED, "the LSTM is ahead at equal width, and still at equal parameters"
    else:
        word, says = UNDECIDED, "the LSTM is ahead at equal width, at equal parameters it is open"
    further = [each.arms[1] for each in blocks if judge([each], claim="higher").word == SUPPORTED]
    parts = [says, f"at equal width {at_width.reason}", f"at equal parameters {at_parameters.reason}"]
    parts.append(f"{lost.name} cost it {lost.text()}")
    parts.append(f"further than the GRU at its width: {names(further)}")
    return Finding(
        judgement=Judgement(
            word=word, reason="; ".join(parts), needed=judged.needed if word == UNDECIDED else None
        ),
        effects=(width, equal, *blocks),
        seeds=width.pairs,
    )


@statement(
    "17b",
    "fewer parameters cost the GRU expressiveness",
    sources="M",
    kind="statistical",
    suite="V",
    criterion="How far cells count a^n b^n.  Supported if the LSTM counts further at equal width, by both tests, and "
    "with as many parameters as the GRU it is equal inside a margin of 1.25, or behind, and counts less far than at "
    "equal width, by both tests; contradicted if it is still "
    "ahead, or is not at equal width.  Beside: cells with three of the LSTM's blocks, and a GRU with a fourth.",
)
def parameters_count(study: Study) -> Finding:
    units = study.sizes(COUNTED, ("lstm", "gru"))["lstm"]
    smaller = StudyCell(f"lstm, {units} units", "lstm", units=units)
    arms: list[tuple[StudyTask, Cell]] = [(COUNTED, cell) for cell in ("lstm", smaller, "gru", *BLOCKS)]
    study.make(arms)
    width = study.effect(COUNTED, "lstm", "gru")
    equal = dataclasses.replace(
        study.effect(COUNTED, smaller, "gru"), name=f"{COUNTED.name}, equal parameters"
    )
    blocks = [effect_of(study, COUNTED, "gru", cell) for cell in BLOCKS]
    return dataclasses.replace(judge_parameters(width, equal, blocks), tuned=chosen(study, arms))
