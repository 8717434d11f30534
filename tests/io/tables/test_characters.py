"""Texts as series: one-hot by a vocabulary, which names what it has not."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import FileFormatError, ValueRangeError
from gatescope.io.tables.characters import read_characters

POEM = "to be or\nnot to be\n"


@pytest.fixture
def poem(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text(POEM)
    return path


def test_a_text_is_read_as_the_task_reads_it(poem):
    batch = gs.tasks.characters(poem, sequences=1)
    vocabulary = batch.provenance["vocabulary"]
    series = gs.read_series(poem, vocabulary=vocabulary)
    assert series.shape == (len(POEM), 1, len(vocabulary))
    np.testing.assert_array_equal(series[:-1], batch.inputs)
    assert "".join(vocabulary[k] for k in series[:, 0].argmax(axis=1)) == POEM
    text, values, count = read_characters(poem, vocabulary, dtype=np.dtype(np.float32), steps=5)
    assert (text, len(values), count) == (POEM[:5], 5, len(POEM))


def test_characters_that_are_not_in_the_vocabulary_are_named(poem):
    with pytest.raises(
        ValueRangeError, match=r"vocabulary does not have 't', character 0 of the file, nor '\\n', 'n'"
    ):
        gs.read_series(poem, vocabulary="oebr ")
    with pytest.raises(ValueRangeError, match="vocabulary='a' must be text with at least two characters"):
        gs.read_series(poem, vocabulary="a")


def test_a_text_without_a_vocabulary_is_no_table_of_words(poem, tmp_path):
    with pytest.raises(
        FileFormatError, match=r"poem\.txt' holds words, not numbers; a text is read with `vocabulary`"
    ):
        gs.read_series(poem)
    poem.rename(tmp_path / "poem.md")
    with pytest.raises(
        FileFormatError, match=r"ends in '\.md'; .*; a text is read with `vocabulary` if it is one"
    ):
        gs.read_series(tmp_path / "poem.md")
    poem.write_text("1.5\n2.5\nthree\n")
    with pytest.raises(FileFormatError, match="line 3, column 1: 'three' is not a number"):
        gs.read_series(poem)


def test_what_is_for_numbers_is_refused(poem):
    with pytest.raises(
        ValueRangeError, match=r"columns=1 is for tables and arrays, and .* is read as a text"
    ):
        gs.read_series(poem, vocabulary="ab", columns=1)
    with pytest.raises(ValueRangeError, match="batch_first is for tables and arrays"):
        gs.read_series(poem, vocabulary="ab", batch_first=True)


def test_training_keeps_what_makes_such_inputs(poem):
    batch = gs.tasks.characters(poem, sequences=2)
    run = gs.train(
        gs.init_stack("lstm", hidden_size=5, heads=batch, seed=0, dtype="float32"), batch, epochs=1
    )
    assert run.provenance["vocabulary"] == batch.provenance["vocabulary"]
    assert run.provenance["encoding"] == "utf-8"
