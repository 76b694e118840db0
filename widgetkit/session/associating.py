"""What the clusters, or the selection, go with: columns of the tiles, or of a table from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

# Here and not in the functions: a job's thread and the kernel's that import parts of one package at
# the same time may each meet half-made modules.
from widgetkit import analysis
from widgetkit.analysis._arrays import choice
from widgetkit.analysis._variables import chosen
from widgetkit.errors import InvalidInput, TooFew, UnknownName, near
from widgetkit.session.jobs import Job
from widgetkit.session.joined import KEYS, Joined, join
from widgetkit.session.notes import note_of
from widgetkit.session.reading import Reading

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.analysis import Association

Of = Literal["clusters", "selection"]
OFS: tuple[str, ...] = get_args(Of)

#: Answers that are remembered, so that undo brings them back at once.
REMEMBERED = 12
#: ``by`` that takes tiles for independent.
TILE = "tile"


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, whatever the clusters or the selection are just now."""

    of: str
    joined: Joined | None
    columns: tuple[str, ...] | None
    kinds: Mapping[str, Any]
    tests: Mapping[str, Any]
    by: str | None
    rule: str

    @property
    def key(self) -> Hashable:
        """Equal for questions that have the same answer."""
        return (
            self.of, None if self.joined is None else id(self.joined), self.columns,
            repr(sorted(self.kinds.items())), repr(sorted(self.tests.items())), self.by, self.rule,
        )  # fmt: skip


class Associating(Reading):
    """The part of :class:`Session` that tests columns against clusters and selections."""

    # question and what it was asked of -> the question, kept so that its key stays its own, and the answer
    _associations: dict[Hashable, tuple[Question, Association]]
    _association_asked: dict[str, Question]

    @property
    def associations(self) -> Mapping[str, Association]:
        """Answers to what was asked last, by "clusters" and "selection", of the present ones.

        Renaming and recolouring clusters keeps an answer, other clusters have one of their own, and undo
        brings the old one back.
        """
        found = {}
        for of, question in self._questions().items():
            what = self._what(of)
            answer = None if what is None else self._known_answer(question, what)
            if answer is not None:
                found[of] = answer
        return MappingProxyType(found)

    def variables(self, table: Joined | None = None) -> tuple[str, ...]:
        """Columns that are tested by default: none that says who or where a tile is."""
        try:
            if table is None:
                return tuple(chosen(self.store.tiles, None))
            return tuple(chosen(table.frame[list(table.columns)], None))
        except InvalidInput:
            return ()

    def join(self, table: pd.DataFrame | Mapping[str, Any], on: str | None = None) -> Joined:
        """A table from elsewhere beside the tiles, by tile id, patient or slide, for :meth:`associate`."""
        return join(self.store, table, on)

    def associate(
        self,
        of: Of = "clusters",
        columns: Sequence[str] | None = None,
        *,
        table: pd.DataFrame | Mapping[str, Any] | Joined | None = None,
        on: str | None = None,
        kinds: Mapping[str, Any] | None = None,
        tests: Mapping[str, Any] | None = None,
        by: str | None = None,
        rule: Literal["auto", "majority", "share"] = "auto",
        on_result: Callable[[Association], object] | None = None,
        key: str = "associate",
    ) -> Job | None:
        """Test which columns go with the clusters, or with the selection against the rest, as a job.

        Parameters
        ----------
        of : "clusters" or "selection"
        columns : sequence of str, optional
            By default :meth:`variables`.
        table : DataFrame, mapping of columns or Joined, optional
            From elsewhere instead of the tiles' own columns; ``on`` says what it is joined by.
        kinds, tests, rule
            See :func:`widgetkit.analysis.associate`.
        by : str, optional
            Column whose groups are compared whole; "tile" takes tiles for independent. By default
            patients, else slides, else sources, where there are at least two.
        on_result : callable, optional
            Given the answer, beside event "association".
        key : str
            A newer question of the same key replaces an older one.

        Returns
        -------
        Job or None
            None when the answer was remembered, and given at once.

        Raises
        ------
        InvalidInput
            The clusters are still being computed, or no column is left to test.
        TooFew
            Nothing or everything is selected, or there is one cluster.
        """
        choice(of, OFS, "of")
        joined = table if isinstance(table, Joined) or table is None else self.join(table, on)
        frame = self.store.tiles if joined is None else joined.frame
        own = None if joined is None else joined.columns
        wanted = self.variables(joined) if columns is None else _checked(columns, own, frame)
        group = self._group(frame, joined, by)
        wanted = tuple(name for name in wanted if columns is not None or name != group)
        if not wanted:
            raise InvalidInput(
                "There is no column to test: those of the tiles say who or where a tile is. Join your own: "
                "session.associate(table=frame, on='patient')."
            )
        question = Question(of, joined, wanted, dict(kinds or {}), dict(tests or {}), by, rule)
        labels = self._labels(of)
        what = self._what(of)
        assert what is not None
        self._questions()[of] = question
        found = self._known_answer(question, what)

        def deliver(answer: Association) -> None:
            if self._what(of) != what:
                return  # of clusters, or of a selection, that are gone
            told = self._named_as_now(answer)
            if on_result is not None:
                on_result(told)
            self.events.emit("association", told)

        if found is not None:
            self.jobs.cancel(key)
            deliver(found)
            return None
        columns_of = self._frame(frame, wanted, group)
        about = tuple(
            f"About column {name!r}: {said}"
            for name in wanted
            if joined is None and (said := note_of(self.store, name))
        )
        seed = self.seed

        def work(job: Job) -> Association:
            answer = analysis.associate(
                labels,
                columns_of,
                columns=wanted,
                kinds=question.kinds,
                tests=question.tests,
                groups=np.arange(len(columns_of)) if group is None else group,
                what=TILE if group is None else None,
                rule=rule,
                seed=seed,
                n_permutations=999,
                progress=job.progress,
                cancel=lambda: job.cancelled,
            )
            notes = () if joined is None or not joined.note else (joined.note,)
            return replace(
                answer,
                warnings=(*about, *answer.warnings),
                sentences=(*answer.sentences, *notes),
            )

        def done(answer: Association) -> None:
            self._remember(question, what, answer)
            deliver(answer)

        return self.jobs.submit(key, work, done, title=f"Associations of {_TITLES[of]}")

    # -- inside --------------------------------------------------------------------------
    def _labels(self, of: str) -> npt.NDArray[Any]:
        """What is compared; TooFew where there is nothing to compare it with."""
        if of == "selection":
            chosen_count = self.selection.count
            if chosen_count in (0, len(self.store)):
                what = "Everything" if chosen_count else "Nothing"
                raise TooFew(
                    f"{what} is selected, so there is nothing to compare the selection with."
                )
            return self.selection.mask
        clustering = self._need_clustering()
        filled = int((clustering.sizes > 0).sum())
        if filled < 2:
            raise TooFew(
                "There is one cluster, and nothing to compare it with. Cluster into more."
                if filled
                else "No tile is in a cluster, so there is nothing to compare."
            )
        return clustering.labels

    def _what(self, of: str) -> Hashable | None:
        """Tells apart the clusters, or the selection, that there may be; None while there are none."""
        if of == "selection":
            return ("selection", self.selection.bits)
        clustering = self.clustering
        if clustering is None:
            return None
        digest = hashlib.blake2b(clustering.labels.tobytes(), digest_size=16).digest()
        return ("clusters", clustering.k, digest)

    def _group(self, frame: pd.DataFrame, joined: Joined | None, by: str | None) -> str | None:
        """Column whose groups are compared whole, or None."""
        if by == TILE:
            return None
        if by is not None:
            if by not in frame.columns:
                raise UnknownName(
                    f"There is no column {by!r} to group by. {near(by, map(str, frame.columns))}".rstrip()
                )
            return by
        if joined is not None and joined.key in KEYS[1:] and joined.key in frame.columns:
            return joined.key
        for name in KEYS[1:]:
            if name in frame.columns and frame[name].nunique() > 1:
                return name
        return None

    @staticmethod
    def _frame(frame: pd.DataFrame, wanted: Sequence[str], group: str | None) -> pd.DataFrame:
        """The columns that are needed, and those that say that tiles are alike."""
        kept = dict.fromkeys([*wanted, *([group] if group else []), *KEYS[1:]])
        return frame[[name for name in kept if name in frame.columns]]

    def _questions(self) -> dict[str, Question]:
        if "_association_asked" not in self.__dict__:
            self._association_asked = {}
            self._associations = {}
        return self._association_asked

    def _known_answer(self, question: Question, what: Hashable) -> Association | None:
        self._questions()
        kept = self._associations.pop((question.key, what), None)
        if kept is None:
            return None
        self._associations[question.key, what] = kept  # the last used comes last
        return self._named_as_now(kept[1])

    def _remember(self, question: Question, what: Hashable, answer: Association) -> None:
        self._associations[question.key, what] = (question, answer)
        while len(self._associations) > REMEMBERED:
            self._associations.pop(next(iter(self._associations)))

    def _named_as_now(self, answer: Association) -> Association:
        clustering = self.clustering
        if answer.selection or clustering is None:
            return answer
        return answer.named(clustering.names)


_TITLES = {"clusters": "the clusters", "selection": "the selection"}


def _checked(
    columns: Sequence[str], own: tuple[str, ...] | None, frame: pd.DataFrame
) -> tuple[str, ...]:
    known = tuple(map(str, frame.columns)) if own is None else own
    wanted = (columns,) if isinstance(columns, str) else tuple(map(str, columns))
    for name in wanted:
        if name not in known:
            raise UnknownName(f"There is no column {name!r}. {near(name, known)}".rstrip())
    return tuple(dict.fromkeys(wanted))
