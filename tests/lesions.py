"""Sessions over the semi-synthetic lesions of the demo, in a folder of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

from widgetkit import demos
from widgetkit.session import Session
from widgetkit.session.concept_kept import KIND
from widgetkit.store import ActivationStore

METASTASIS = "colorectal metastasis"
LINE = "scanner line"


def lesion_store(folder: Path) -> ActivationStore:
    """A copy of the demo's store without its readings: what is read is kept there, and not in the cache."""
    path = folder / "lesions.wk"
    shutil.copytree(demos.lesion_store().path, path)
    store = ActivationStore.open(path)
    for name in store.derived.names(KIND):
        store.derived.delete(KIND, name)
    return store


def lesion_session(store: ActivationStore, *, read: bool = True) -> Session:
    """A session that learned the concepts from the training lesions."""
    session = Session(store, layer="dense")
    session.set_concepts(demos.lesion_concepts(store))
    if read:
        session.read_concepts(learn_from="split == 'training'", n_boot=100)
        session.wait()
    return session
