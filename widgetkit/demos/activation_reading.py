"""What is read of the second demo's factors with its network, and kept in the store that ships.

Notebook 02 then shows every figure of the method where there is neither torch nor a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widgetkit.explain import Model
    from widgetkit.store import ActivationStore

#: Factors of the notebook: six show more of the tissue than the three that are most stable.
K = 6
#: The class that maps and importance are about: epithelium, as SHELL sees it.
CLASS = 0
#: What every answer about the labels has to say.
NOTE = "The labels are those of another model (SHELL), not a pathologist's."
#: Map methods that are compared with the factors, and on how many tiles: occlusion takes 225 passes
#: for each.
METHODS = {"gradcam": None, "relevance": None, "occlusion": 96}


def keep_readings(store: ActivationStore, model: Model) -> None:
    """Factors, class maps, importance, completeness and the choice of k, kept in the store.

    Parameters
    ----------
    store : ActivationStore
        Of :func:`~widgetkit.demos.activation.build_activation_store`; written to.
    model : ModelContext
        Of its network. What is kept already is not computed again.
    """
    from widgetkit.factors import factorise
    from widgetkit.factors.kept_maps import maps_of
    from widgetkit.factors.means import choose_rows
    from widgetkit.session import Session
    from widgetkit.session.notes import keep_note

    keep_note(store, "label", NOTE)
    made = factorise(store, k=K, seed=0)
    for method, count in METHODS.items():
        rows = choose_rows(len(store), None, count, 0)
        maps_of(store, method, CLASS, rows, layer=made.layer, model=model)
    session = Session(store, model, seed=0)
    try:
        session.use_factors(made)
        session.read_importance(CLASS)
        session.read_completeness()
        session.read_choice()
        session.wait()
    finally:
        session.close()
