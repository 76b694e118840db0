"""What the factors of the clustering mean: their slides, their part in predictions, how many there are.

Each reading is a job over the kept weights of every position. What took long, or a network, is
kept in the store and found there again, also where there is no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from widgetkit.errors import InvalidInput, NeedsModel
from widgetkit.session import weighing
from widgetkit.session.clustering import Clustering
from widgetkit.session.jobs import Job
from widgetkit.session.onslide import OnSlide

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.factors import Factors

Kind = Literal[
    "slides", "shares", "prediction", "correlations", "importance", "completeness", "choice"
]
KINDS: tuple[str, ...] = get_args(Kind)

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "slides": "Share of each factor that the slide explains",
        "shares": "Factors in each class",
        "prediction": "Classes predicted from factors",
        "correlations": "Factors beside class maps",
        "importance": "Importance of factors",
        "completeness": "Completeness of factors",
        "choice": "Number of factors",
    }
)
#: Numbers of factors that :meth:`Reading.read_choice` compares.
USUAL_KS = (2, 3, 4, 5, 6, 8, 10, 12)
#: Positions that it learns from.
CHOICE_POSITIONS = 6_000


@dataclass(frozen=True, eq=False)
class Read:
    """One answer.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    table : DataFrame
        Rows name factors by number (``factor``, from 0) or as ``"factor 1"``: names that a person
        gave to clusters are the views' to show.
    sentences : tuple of str
        What has to be known to read the table. Not escaped.
    detail : object
        What was computed, where it is more than the table: ``ClassPrediction`` or ``KChoice``.
    """

    kind: str
    table: pd.DataFrame = field(repr=False)
    sentences: tuple[str, ...]
    detail: object = field(default=None, repr=False)

    @property
    def title(self) -> str:
        return TITLES[self.kind]


class Reading(OnSlide):
    """The part of :class:`Session` that reads factors."""

    _read: dict[str, Read]
    _read_of: str | None = None

    # -- what there is -------------------------------------------------------------------
    @property
    def readings(self) -> Mapping[str, Read]:
        """Answers about the factors of the present clustering, by kind; renaming keeps them."""
        return MappingProxyType(dict(self._current()))

    def factor_names(self) -> tuple[str, ...]:
        """Names of the fitted factors: of their clusters, where each is still one cluster."""
        clustering = self.clustering
        if clustering is None or clustering.fitted is None:
            return ()
        if clustering.owners is None:
            return clustering.names
        return tuple(f"factor {i + 1}" for i in range(len(clustering.fitted)))

    def class_label(self, label: str | None = None) -> str:
        """Column of the tiles that holds their class: ``label`` if there is one.

        Raises
        ------
        InvalidInput
            No such column, and none was named.
        """
        if label is not None:
            return label
        if "label" in self.store.tiles.columns:
            return "label"
        raise InvalidInput(
            "The tiles have no column 'label'. Name the column that holds their class: label=..."
        )

    # -- asking --------------------------------------------------------------------------
    def read_slides(self, by: str = "slide") -> Job:
        """Share of each factor's variance that slides (or another column) explain."""

        def work(factors: Factors, job: Job) -> Read:
            from widgetkit.factors import slide_share

            table = slide_share(factors, by)
            said = [str(table.attrs.get("warning", "")), *table["warning"]]
            return Read("slides", table, tuple(filter(None, said)))

        return self._ask("slides", work)

    def read_shares(self, by: str | None = None) -> Job:
        """Share of positions each factor wins, by class or any other column."""
        column = self.class_label(by)

        def work(factors: Factors, job: Job) -> Read:
            from widgetkit import analysis
            from widgetkit.factors.means import groups_of

            tiles = self.store.tiles
            values, _ = groups_of(self.store, np.arange(len(tiles)), column)
            groups, what = groups_of(self.store, np.arange(len(tiles)), None)
            table = analysis.shares(
                factors.pooled.share, values, groups=None if what == column else groups
            )
            table.attrs["by"] = column  # figures number what may name a person
            notes = tuple(dict.fromkeys(filter(None, map(str, table["note"]))))
            said = f"Mean share of a tile's positions that a factor wins, by {column}."
            return Read("shares", table, (said, *notes))

        return self._ask("shares", work)

    def read_prediction(self, label: str | None = None, *, by: str | None = None) -> Job:
        """Classes told from factor weights on unseen patients, beside the network's own answer."""
        column = self.class_label(label)

        def work(factors: Factors, job: Job) -> Read:
            from widgetkit.factors import predict_classes

            found = predict_classes(
                self.store,
                factors,
                label=column,
                by=by,
                seed=self.seed,
                progress=job.progress,
                cancel=lambda: job.cancelled,
            )
            said = (
                f"{column} from the mean and largest weight of each factor in a tile, by logistic "
                f"regression tested on unseen groups of {found.by}.",
                found.note,
            )
            return Read("prediction", found.table, tuple(filter(None, said)), found)

        return self._ask("prediction", work)

    def read_correlations(
        self,
        target_class: int | str | None = None,
        *,
        methods: Sequence[str] | None = None,
        n: int | None = 256,
    ) -> Job:
        """Correlation of factor maps with class maps (Grad-CAM, occlusion, relevance).

        Maps that the store keeps are read, others computed where the session has the model.
        """
        target = self._target(target_class)

        def work(factors: Factors, job: Job) -> Read:
            from widgetkit.factors import map_correlations

            table = map_correlations(
                self.store,
                factors,
                target_class=target,
                methods=methods,
                model=self.model,
                n=n,
                seed=self.seed,
                progress=job.progress,
                cancel=lambda: job.cancelled,
            )
            notes = tuple(dict.fromkeys(filter(None, map(str, table["note"]))))
            said = (
                f"Over all positions of {table.attrs['tiles']} tiles, with maps of class "
                f"{table.attrs['class_name']}."
            )
            return Read("correlations", table, (said, *notes))

        return self._ask("correlations", work)

    def read_importance(
        self, target_class: int | str | None = None, *, n: int | None = 128, sobol: bool = True
    ) -> Job:
        """Fall of a class's logit when a factor is taken out of the activations."""
        target = self._target(target_class)
        params = {"target": target, "n": n, "sobol": sobol, "seed": self.seed}

        def compute(factors: Factors, job: Job) -> pd.DataFrame:
            from widgetkit.factors import concept_importance

            return concept_importance(
                self._network("Importance"),
                self.store,
                factors,
                target_class=target,
                n=n,
                sobol=sobol,
                seed=self.seed,
                progress=job.progress,
                cancel=lambda: job.cancelled,
            )

        def work(factors: Factors, job: Job) -> Read:
            table = self._kept_or(factors, f"importance for {target}", params, compute, job)
            said = (
                f"Mean over {table.attrs['tiles']} tiles of the fall of the logit of class "
                f"{table.attrs['class_name']} when the factor is taken out of the activations.",
                str(table.attrs.get("note", "")),
            )
            return Read("importance", table, tuple(filter(None, said)))

        return self._ask("importance", work)

    def read_completeness(self, *, n: int | None = 256) -> Job:
        """How much of the network's answer survives when it sees the factors alone."""
        params = {"n": n, "seed": self.seed}

        def compute(factors: Factors, job: Job) -> pd.DataFrame:
            from widgetkit.factors import completeness

            found = completeness(
                self._network("Completeness"),
                self.store,
                factors,
                n=n,
                seed=self.seed,
                progress=job.progress,
                cancel=lambda: job.cancelled,
            )
            table: pd.DataFrame = found.table.copy()
            table.attrs.update(said=str(found), note=found.note, score=float(found.score))
            return table

        def work(factors: Factors, job: Job) -> Read:
            table = self._kept_or(factors, "completeness", params, compute, job)
            said = (str(table.attrs["said"]), str(table.attrs.get("note", "")))
            return Read("completeness", table, tuple(filter(None, said)))

        return self._ask("completeness", work)

    def read_choice(self, ks: Sequence[int] = USUAL_KS, *, seeds: int = 5) -> Job:
        """Measures of other numbers of factors, and a recommendation with its reasons."""
        params = {"ks": [int(k) for k in ks], "seeds": seeds, "seed": self.seed}

        def compute(factors: Factors, job: Job) -> pd.DataFrame:
            found = self._choose(factors.layer, ks, seeds, job)
            table: pd.DataFrame = found.table.copy()
            table.attrs.update(
                recommended=int(found.recommended),
                reasons=list(found.reasons),
                rows=int(found.rows),
                preparation=found.preparation,
            )
            return table

        def work(factors: Factors, job: Job) -> Read:
            from widgetkit.analysis import KChoice

            table = self._kept_or(factors, "choice", params, compute, job)
            at = table.attrs
            choice = KChoice(
                table,
                int(at["recommended"]),
                tuple(at["reasons"]),
                int(at["rows"]),
                self.seed,
                str(at["preparation"]),
            )
            said = (f"Recommended: {choice.recommended} factors.", *choice.reasons)
            return Read("choice", table, said, choice)

        return self._ask("choice", work)

    # -- inside --------------------------------------------------------------------------
    def _choose(self, layer: str, ks: Sequence[int], seeds: int, job: Job) -> Any:
        from widgetkit import analysis
        from widgetkit.factors.means import groups_of

        rows, _cells, values = self.store.sample_positions(layer, CHOICE_POSITIONS, self.seed)
        groups, _ = groups_of(self.store, rows, None)
        y = None
        if "label" in self.store.tiles.columns and len(np.unique(groups.astype(str))) > 2:
            labels = self.store.tiles["label"]
            if labels.notna().all() and 2 <= labels.nunique() <= 20:
                y = labels.to_numpy()[rows]
        return analysis.choose_k(
            values,
            ks,
            groups=groups,
            seeds=seeds,
            y=y,
            tile=rows,
            seed=self.seed,
            nonnegative="shift" if self.store.layers[layer].signed else "error",
            progress=job.progress,
            cancel=lambda: job.cancelled,
        )

    def _ask(self, kind: Kind, work: Callable[[Factors, Job], Read]) -> Job:
        clustering = self._need_clustering()
        if clustering.method != "nmf" or clustering.fitted is None:  # before a job is started
            weighing.make_factors(self.store, clustering)
        key = self._key(clustering)

        def run(job: Job) -> Read:
            return work(weighing.make_factors(self.store, clustering, job), job)

        def done(found: Read) -> None:
            now = self.clustering
            if now is None or self._key(now) != key:  # of factors that are gone
                return
            self._current()[kind] = found
            self.events.emit("reading", found)

        return self.jobs.submit(f"read {kind}", run, done, title=TITLES[kind])

    def _current(self) -> dict[str, Read]:
        clustering = self.clustering
        key = None if clustering is None else self._key(clustering)
        if key != self._read_of or "_read" not in self.__dict__:
            self._read_of, self._read = key, {}
        return self._read

    def _key(self, clustering: Clustering) -> str:
        return weighing.key_of(clustering, self.store)

    def _target(self, target: int | str | None) -> int:
        """The class asked for; by default the last one, with two classes the positive one."""
        from widgetkit.factors.linking import target_index

        if target is not None:
            return target_index(self.store, target)
        names, outputs = self.store.class_names, self.store.outputs
        count = len(names) if names else (outputs.shape[1] if outputs is not None else 0)
        if not count:
            raise InvalidInput(
                "The store holds no predictions, so there is no class to ask about. Extract with a "
                "network that has a class output."
            )
        if count > 20 and outputs is not None:  # e.g. ImageNet: what it says most often
            return int(np.bincount(np.asarray(outputs).argmax(axis=1), minlength=count).argmax())
        return count - 1

    def _network(self, what: str) -> Any:
        if self.model is None:
            raise NeedsModel(
                f"{what} runs the network, and this session has none (nor does the store keep the "
                "result). Pass it: wk.Session(store, model=ModelContext.for_store(network, store))."
            )
        return self.model

    def _kept_or(
        self,
        factors: Factors,
        what: str,
        params: Mapping[str, Any],
        compute: Callable[[Factors, Job], pd.DataFrame],
        job: Job,
    ) -> pd.DataFrame:
        from widgetkit.factors.kept_tables import keep_table, kept_table

        found = kept_table(self.store, factors, what, params=params)
        if found is None and self.model is None:
            found = kept_table(self.store, factors, what)  # with other settings: better than none
        if found is None:
            found = compute(factors, job)
            keep_table(self.store, factors, what, found, params=params, seed=self.seed)
        return found
