"""Which concepts the classes of a network show, where nobody said so."""

from __future__ import annotations

import numpy as np
import pytest

from widgetkit.concepts import ConceptSet
from widgetkit.session.concept_classes import Network, with_classes

LABELS = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.int8)


def network(classes: tuple[str, ...]) -> Network:
    predicted = np.array([0, 0, 1, 1])
    return Network(classes, predicted, np.eye(2, dtype=np.float32)[predicted], predicted)


def test_a_class_shows_what_its_labelled_tiles_do() -> None:
    concepts = ConceptSet(("rim", "scar"), LABELS)
    made, shown, (note,) = with_classes(concepts, network(("HCC", "FNH")), LABELS, np.ones(4, bool))
    np.testing.assert_array_equal(shown, np.eye(2, dtype=bool))
    assert made.classes == ("HCC", "FNH")
    assert "look better than they are" in note  # the labels that are judged said so themselves


@pytest.mark.parametrize("classes", [("", "yes"), ("a\nb", "c"), ("1", "1")])
def test_odd_names_of_classes_leave_the_table_out(classes: tuple[str, str]) -> None:
    concepts = ConceptSet(("rim", "scar"), LABELS)
    made, shown, (note,) = with_classes(concepts, network(classes), LABELS, np.ones(4, bool))
    assert made == concepts and shown is None
    assert note.startswith("What contradicts a class is not known")
