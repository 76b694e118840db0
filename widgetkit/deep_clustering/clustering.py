"""Clusters of latent vectors, as scikit-learn's users know them, with soft assignments."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import KMeans
from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    choice,
    working,
)
from widgetkit.analysis._estimator import Estimator
from widgetkit.deep_clustering.autoencoder import LATENT
from widgetkit.deep_clustering.soft import soft_assign
from widgetkit.errors import InvalidInput
from widgetkit.extraction.progress import ProgressLike, progress_for

if TYPE_CHECKING:
    from widgetkit.deep_clustering.autoencoder import ConvAutoencoder
    from widgetkit.deep_clustering.cluster_network import ClusterNetwork
    from widgetkit.store import ActivationStore
    from widgetkit.tiles.base import TileSource

Labels = npt.NDArray[np.int32]

REFINEMENTS = ("none", "dec")
# Latent vectors read from a store are float16: three digits, over their largest.
SAME = 5e-3
#: Characters in the name of a cluster, as in sessions.
MAX_NAME = 200
#: Kind of derived result; ``widgetkit.session.grouping`` reads it.
KIND = "clustering"


class DeepClustering(Estimator):
    """k-means on latent vectors, optionally refined by training the encoder on.

    Parameters
    ----------
    n_clusters : int
        At most the number of rows.
    refine : {"none", "dec"}
        ``"dec"``: deep embedded clustering. A copy of the autoencoder is trained on
        ``reconstruction + clustering_weight * KL(p || q)``; it is ``autoencoder_`` afterwards, and
        the latent vectors to ask about are its own.
    n_init, max_iter : int
        Of k-means: starts to choose from, and most iterations.
    random_state : int
        Same seed, same clusters in the same order: cluster 0 is the largest that k-means finds, and
        refining keeps the numbers.
    refine_epochs, batch_size : int
    refine_lr : float
        Of Adam while refining.
    clustering_weight : float
        Of the divergence beside the reconstruction.

    Attributes
    ----------
    cluster_centers_ : (k, d) float32 or float64
    labels_ : (n,) int32
        The nearest centre, which is the largest soft assignment.
    inertia_ : float
        Sum of squared distances to the own centre.
    history_ : list of dict
        One entry an epoch of refining (see :func:`widgetkit.deep_clustering.refine.refine`); empty
        without.
    autoencoder_ : ConvAutoencoder
        The refined one; only with ``refine="dec"``.
    latents_ : (n, d) float32
        Of the refined autoencoder; only with ``refine="dec"``.
    n_features_in_ : int

    References
    ----------
    Xie, Girshick & Farhadi (2016), ICML; Guo et al. (2017), IJCAI.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.deep_clustering import DeepClustering
    >>> Z = np.array([[0.0], [0.1], [5.0], [5.1], [5.2]])
    >>> DeepClustering(2).fit(Z).labels_.tolist()
    [1, 1, 0, 0, 0]
    """

    _kind: ClassVar[Literal["transformer", "clusterer"]] = "clusterer"

    cluster_centers_: Floats
    labels_: Labels
    inertia_: float
    history_: list[dict[str, Any]]
    autoencoder_: ConvAutoencoder
    latents_: npt.NDArray[np.float32]

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        refine: str = "none",
        n_init: int = 10,
        max_iter: int = 300,
        random_state: int = 0,
        refine_epochs: int = 20,
        refine_lr: float = 1e-3,
        clustering_weight: float = 0.1,
        batch_size: int = 64,
    ) -> None:
        self.n_clusters = n_clusters
        self.refine = refine
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.refine_epochs = refine_epochs
        self.refine_lr = refine_lr
        self.clustering_weight = clustering_weight
        self.batch_size = batch_size

    def fit(
        self,
        X: npt.ArrayLike | None = None,
        y: object = None,
        *,
        autoencoder: ConvAutoencoder | None = None,
        images: npt.ArrayLike | TileSource | None = None,
        mask: npt.ArrayLike | None = None,
        progress: ProgressLike | None = None,
        cancel: Event | Callable[[], object] | None = None,
        on_epoch: Callable[[dict[str, Any]], object] | None = None,
    ) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : (n, d) float, optional
            Latent vectors; from ``autoencoder.encode(images)`` when left out.
        y : ignored
        autoencoder : ConvAutoencoder
            Needed to refine, or where ``X`` is left out. It stays as it is.
        images : (n, *shape) array or TileSource
            Those that ``X`` describes, in the same order.
        mask : bool array, optional
            Where the reconstruction counts while refining, as in ``ConvAutoencoder.fit``.
        progress, cancel, on_epoch
            As in ``ConvAutoencoder.fit``. Cancelling leaves the estimator as it was.

        Raises
        ------
        TooFew
            Fewer rows than clusters.
        BadActivations
            NaN or infinity.
        InvalidInput
            A bad parameter; refining without autoencoder and images, or with others than those of
            ``X``.
        UnknownName, NotTrained, BadImage, Cancelled

        Warns
        -----
        UserWarning
            A cluster has no member.
        """
        mode = choice(self.refine, REFINEMENTS, "refine")
        if X is None:
            if autoencoder is None or images is None:
                raise InvalidInput("fit needs latent vectors X, or autoencoder= and images=.")
            X = autoencoder.encode(images)
        values = working(as_matrix(X))
        check_finite(values)
        kmeans = KMeans(
            self.n_clusters,
            n_init=self.n_init,
            max_iter=self.max_iter,
            random_state=self.random_state,
        ).fit(values, cancel=_asking(cancel))
        centres = kmeans.cluster_centers_
        history: list[dict[str, Any]] = []
        refined: ConvAutoencoder | None = None
        rows = values
        if mode == "dec":
            if autoencoder is None or images is None:
                raise InvalidInput(
                    "refine='dec' trains the encoder: pass autoencoder= and the images= that X "
                    "describes."
                )
            refined = autoencoder.copy()
            centres, history = self._refine(
                refined, images, mask, values, centres, progress, cancel, on_epoch
            )
            rows = refined.encode(images)
        labels, inertia = _nearest(rows, centres)
        self._remember_features(X, values)
        self.cluster_centers_, self.labels_, self.inertia_ = centres, labels, inertia
        self.history_ = history
        for name in ("autoencoder_", "latents_"):
            vars(self).pop(name, None)
        if refined is not None:
            self.autoencoder_, self.latents_ = refined, rows.astype(np.float32, copy=False)
        self._warn_empty()
        return self

    def fit_predict(self, X: npt.ArrayLike, y: object = None, **options: Any) -> Labels:
        """:meth:`fit`, then ``labels_``."""
        return self.fit(X, y, **options).labels_

    def predict(self, X: npt.ArrayLike) -> Labels:
        """The nearest centre of each latent vector, (n,) int32."""
        return _nearest(self._ready(X), self.cluster_centers_)[0]

    def soft_assign(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Student's t assignment of each latent vector to each cluster, (n, k); rows sum to 1."""
        return soft_assign(self._ready(X), self.cluster_centers_)

    def network(self, autoencoder: ConvAutoencoder | None = None) -> ClusterNetwork:
        """The encoder with these clusters as classes, for maps of a class.

        Parameters
        ----------
        autoencoder : ConvAutoencoder, optional
            Whose latent vectors were clustered. Left out after ``refine="dec"``: it is
            ``autoencoder_``.

        Returns
        -------
        ClusterNetwork
            With copies of the weights; its softmax is :meth:`soft_assign` of the latent vectors.

        Raises
        ------
        InvalidInput
            No autoencoder, or another one than the refined.
        ChannelMismatch
            Its latent vectors are of another length.
        NotTrained
        """
        from widgetkit.deep_clustering.cluster_network import ClusterNetwork

        self._check_fitted()
        return ClusterNetwork(self._encoding(autoencoder).module, self.cluster_centers_)

    def to_store(
        self,
        autoencoder: ConvAutoencoder | None,
        tiles: TileSource,
        out: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        **options: Any,
    ) -> ActivationStore:
        """An ordinary activation store of ``tiles`` that opens with these clusters.

        Layers ``encoder.last`` and ``latent`` of :meth:`network`, its logits as outputs, the
        clusters as classes; and the clustering itself, which a session takes as it is instead of
        making one: ``wk.explore(store, deep.network(autoencoder))``. A call that was interrupted goes
        on when it is made again.

        Parameters
        ----------
        autoencoder : ConvAutoencoder or None
            As in :meth:`network`: None after refining.
        tiles : TileSource
            Those that were clustered, or others of their shape and units; each belongs to the
            cluster with the nearest centre.
        out : path
        names : sequence of str, optional
            Of the clusters. Default: "cluster 1", "cluster 2", ...
        **options
            As for ``wk.extract``, without ``layers``, ``preprocess``, ``layout`` and ``class_names``.

        Raises
        ------
        InvalidInput
            Not one name a cluster; and what :meth:`network` raises.
        NotTrained, BadImage
            And what ``wk.extract`` raises.
        """
        network, encoder = self.network(autoencoder), self._encoding(autoencoder)
        called = _names(names, len(self.cluster_centers_))
        store = encoder._extract(network, tiles, out, {**options, "class_names": called})
        self._keep_in(store, network.centres.cpu().numpy(), called)
        return store

    def _keep_in(
        self, store: ActivationStore, centres: npt.NDArray[np.float32], names: list[str]
    ) -> None:
        """The clustering, as sessions look for it among the store's derived results."""
        outputs = store.outputs
        assert outputs is not None
        digest = hashlib.sha256(centres.tobytes()).hexdigest()[:12]
        name = f"{LATENT}-deep-{len(centres)}-{digest}"
        params = {
            "layer": LATENT,
            "method": "deep",
            "k": len(centres),
            "on": "all",
            "names": names,
            "refine": self.refine,
            "seed": self.random_state,
            "n": len(self.labels_),
        }
        if store.derived.find(KIND, params, self.random_state) is not None:
            return  # a call that is made again
        labels = np.asarray(outputs).argmax(axis=1).astype(np.int32)
        store.derived.put(
            KIND,
            name,
            {"labels": labels, "prototypes": centres},
            params=params,
            seed=self.random_state,
        )

    def _encoding(self, autoencoder: ConvAutoencoder | None) -> ConvAutoencoder:
        """The autoencoder whose latent vectors the centres lie among."""
        from widgetkit.extraction.identity import model_identity

        refined: ConvAutoencoder | None = vars(self).get("autoencoder_")
        found = refined if autoencoder is None else autoencoder
        if found is None:
            raise InvalidInput(
                "The clusters do not know their encoder: pass the autoencoder= whose latent vectors "
                "were clustered."
            )
        found.preprocess  # noqa: B018  raises unless it is trained
        if refined is not None and found is not refined:
            given, own = (model_identity(one.module)["weights_hash"] for one in (found, refined))
            if given != own:
                raise InvalidInput(
                    "These clusters are of the refined autoencoder, and its latent vectors are not "
                    "those of the one given. Leave autoencoder= out: it is autoencoder_."
                )
        return found

    def _ready(self, X: npt.ArrayLike) -> Floats:
        self._check_fitted()
        values = as_matrix(X)
        self._check_features(X, values)
        values = working(values)
        check_finite(values)
        return values

    def _refine(
        self,
        autoencoder: ConvAutoencoder,
        images: npt.ArrayLike | TileSource,
        mask: npt.ArrayLike | None,
        X: Floats,
        centres: Floats,
        progress: ProgressLike | None,
        cancel: Event | Callable[[], object] | None,
        on_epoch: Callable[[dict[str, Any]], object] | None,
    ) -> tuple[Floats, list[dict[str, Any]]]:
        from widgetkit.deep_clustering.images import Masks, open_images
        from widgetkit.deep_clustering.refine import Schedule, refine
        from widgetkit.deep_clustering.training import Data, Hooks

        schedule = Schedule(
            epochs=check_count(self.refine_epochs, "refine_epochs"),
            batch_size=check_count(self.batch_size, "batch_size"),
            lr=_positive(self.refine_lr, "refine_lr"),
            weight=_positive(self.clustering_weight, "clustering_weight"),
            seed=check_seed(self.random_state),
        )
        pictures = open_images(images, autoencoder.shape)
        if len(pictures) != len(X):
            raise InvalidInput(f"{len(pictures)} images for {len(X)} latent vectors.")
        pictures = pictures.in_memory()
        _check_same(X, autoencoder, pictures.read)
        network = autoencoder.module
        data = Data(
            pictures,
            Masks(mask, len(pictures), autoencoder.shape),
            autoencoder.preprocess,
            next(network.parameters()).device,
        )
        shown = progress_for(progress or False, "refining")
        try:
            return refine(network, data, centres, schedule, Hooks(shown, cancel, on_epoch))
        finally:
            shown.close()

    def _warn_empty(self) -> None:
        counts = np.bincount(self.labels_, minlength=len(self.cluster_centers_))
        empty = np.flatnonzero(counts == 0).tolist()
        if empty:
            warnings.warn(
                f"Clusters without a member: {', '.join(map(str, empty))}. There are fewer groups "
                f"than n_clusters={self.n_clusters}; ask for fewer clusters.",
                UserWarning,
                stacklevel=3,
            )


def _nearest(X: Floats, centres: Floats) -> tuple[Labels, float]:
    """Labels and inertia. By differences: the same order as the soft assignments."""
    distances = np.empty((len(X), len(centres)))
    for column, centre in enumerate(centres.astype(np.float64)):
        rest = X - centre
        distances[:, column] = np.einsum("nd,nd->n", rest, rest)
    return distances.argmin(axis=1).astype(np.int32), float(distances.min(axis=1).sum())


def _check_same(
    X: Floats, autoencoder: ConvAutoencoder, read: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Raise unless ``X`` is what the autoencoder says of the images."""
    rows = np.unique(np.linspace(0, len(X) - 1, 8).round().astype(int))
    own = autoencoder.encode(read(rows))
    if own.shape[1] != X.shape[1] or np.abs(own - X[rows]).max() > SAME * (1 + np.abs(own).max()):
        raise InvalidInput(
            "X is not what this autoencoder says of these images. Pass autoencoder.encode(images), "
            "or leave X out."
        )


def _names(given: Sequence[str] | None, k: int) -> list[str]:
    names = [f"cluster {i + 1}" for i in range(k)] if given is None else list(given)
    if isinstance(given, str) or len(names) != k or not all(_is_name(name) for name in names):
        raise InvalidInput(
            f"names={given!r}: one text of 1 to {MAX_NAME} printable characters for each of the {k} "
            "clusters, in their order."
        )
    return names


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and 0 < len(name.strip()) <= MAX_NAME


def _asking(cancel: Event | Callable[[], object] | None) -> Callable[[], object] | None:
    return cancel.is_set if isinstance(cancel, Event) else cancel


def _positive(value: object, name: str) -> float:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        number = float(value)
        if 0 < number < float("inf"):
            return number
    raise InvalidInput(f"{name}={value!r}: a number above 0.")
