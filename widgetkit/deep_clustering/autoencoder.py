"""A convolutional autoencoder for images and volumes, trained where the notebook runs."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from threading import Event
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.deep_clustering import checkpoint as files
from widgetkit.deep_clustering.images import SCALES, Images, Masks, measure, open_images
from widgetkit.errors import InvalidInput, WidgetkitError
from widgetkit.extraction.preprocess import Preprocess
from widgetkit.extraction.progress import ProgressLike, progress_for
from widgetkit.tiles.base import check_shape
from widgetkit.tiles.pixels import is_colour

if TYPE_CHECKING:
    import torch

    from widgetkit.deep_clustering.network import AutoencoderNetwork
    from widgetkit.deep_clustering.training import Epoch, OnEpoch
    from widgetkit.store import ActivationStore
    from widgetkit.tiles.base import TileSource

Floats = npt.NDArray[np.float32]

#: Names of the layers that clustering and its maps stand on.
LAST, LATENT = "encoder.last", "latent"
# One gigabyte of weights: more is a mistake in shape or latent, or a hostile file.
MOST_WEIGHTS = 2**28
# Values of the input at once where no gradient is kept: 16 MB.
INPUT_VALUES = 4 * 2**20


class NotTrained(WidgetkitError, RuntimeError):
    """The autoencoder has not been fitted."""


class ConvAutoencoder:
    """Learns to describe each image by a short vector that it can be redrawn from.

    Strided convolutions with ReLU, one linear layer to the latent vector, and the mirror image of
    both back. The loss is the mean squared error in units of the variance of the training values:
    1 is what the mean grey would score.

    Parameters
    ----------
    shape : tuple of int
        Of one image: (H, W) or (D, H, W), with 3 colours behind where there are some. Sides need
        not be multiples of the strides.
    channels : sequence of int
        Of each convolution; each halves the grid. The last are those that maps are made of.
    latent : int
        Length d of the latent vector.
    kernel : int
        Side of the kernels, odd.
    seed : int
        Of weights, batches and the validation split. The same seed gives the same bytes on the
        same machine with the same number of threads.
    device : str
        ``"auto"``: CUDA where there is one.

    Attributes
    ----------
    history_ : list of dict
        ``epoch`` (from 1), ``loss``, ``validation`` (None without a validation split).
    best_epoch_ : int
        The epoch whose weights are kept.
    preprocess : Preprocess
        From stored values to the network's input. Give it to ``wk.extract``; :meth:`to_store`
        does.

    Notes
    -----
    After training the latent space is moved and scaled as a whole, so that the latent vectors of
    the training images have mean 0 and a mean squared length of d; the decoder is adjusted and
    draws the same. Student's t kernel, which soft assignments are made of, has a fixed width of 1,
    and would otherwise depend on how the weights happen to share out their scale.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.deep_clustering import ConvAutoencoder
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8)
    >>> ae = ConvAutoencoder((16, 16), channels=(4, 8), latent=3).fit(images, epochs=2)
    >>> ae.encode(images).shape, ae.activations(images).shape
    ((20, 3), (20, 8, 4, 4))
    """

    history_: list[Epoch]
    best_epoch_: int

    def __init__(
        self,
        shape: Sequence[int],
        *,
        channels: Sequence[int] = (16, 32, 64),
        latent: int = 32,
        kernel: int = 3,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.shape = check_shape(tuple(check_count(side, "a side of shape") for side in shape))
        self.channels = tuple(check_count(width, "each of channels") for width in channels)
        self.latent = check_count(latent, "latent")
        self.kernel = check_count(kernel, "kernel")
        self.seed = check_seed(seed)
        self.device = device
        self._preprocess: Preprocess | None = None
        self._module: AutoencoderNetwork | None = None
        self._check()

    def _check(self) -> None:
        if self.kernel % 2 == 0 or self.kernel > 15:
            raise InvalidInput(f"kernel={self.kernel}: an odd side from 1 to 15.")
        if not 1 <= len(self.channels) <= 8:
            raise InvalidInput(f"channels={self.channels}: from 1 to 8 convolutions.")
        cells = math.prod(self.grid)
        if cells == 1:
            raise InvalidInput(
                f"{len(self.channels)} convolutions leave one cell of an image of {self.space}: "
                "there would be no map. Give fewer channels."
            )
        flat = cells * self.channels[-1]
        widths = (self.planes, *self.channels)
        convolutions = sum(a * b for a, b in pairwise(widths))
        weights = 2 * (flat * self.latent + convolutions * self.kernel ** len(self.space))
        if weights > MOST_WEIGHTS or max(self.shape) > 2**16:
            raise InvalidInput(
                f"A network for {self.shape} with channels={self.channels} and latent="
                f"{self.latent} would have {weights:,} weights, more than {MOST_WEIGHTS:,}. Use "
                "smaller images, more convolutions, fewer channels or a shorter latent vector."
            )

    # -- what it is ----------------------------------------------------------------------
    @property
    def planes(self) -> int:
        """Colours of an image: 1 or 3."""
        return 3 if is_colour(self.shape) else 1

    @property
    def space(self) -> tuple[int, ...]:
        """(H, W) or (D, H, W)."""
        return self.shape[:-1] if is_colour(self.shape) else self.shape

    @property
    def grid(self) -> tuple[int, ...]:
        """Spatial shape of the encoder's last layer."""
        factor = 2 ** len(self.channels)
        return tuple(-(-side // factor) for side in self.space)

    @property
    def fitted(self) -> bool:
        return self._preprocess is not None

    @property
    def module(self) -> AutoencoderNetwork:
        """The network, from inputs (m, planes, *space) to reconstructions of that shape.

        An ``nn.Module`` with layers named ``"encoder.last"`` and ``"latent"``; the same object
        before and after training.
        """
        if self._module is None:
            self._module = self._build()
        return self._module

    @property
    def preprocess(self) -> Preprocess:
        """Scaling from the training images.

        Raises
        ------
        NotTrained
        """
        if self._preprocess is None:
            raise NotTrained("This ConvAutoencoder is not fitted yet. Call fit(images) first.")
        return self._preprocess

    def __repr__(self) -> str:
        state = f"trained, epoch {self.best_epoch_}" if self.fitted else "not trained"
        return f"ConvAutoencoder({self.shape}, channels={self.channels}, latent={self.latent}; {state})"

    def _build(self) -> AutoencoderNetwork:
        from widgetkit.extraction.device import channels_last, choose_device

        # torch's own initial weights are not drawn: its global generator stays where it is
        network = self._skeleton().to_empty(device="cpu")
        network.initialise(self.seed)
        network.to(choose_device(self.device))
        channels_last(network)
        return network.eval()

    def _skeleton(self) -> AutoencoderNetwork:
        """Names and shapes; nothing is allocated."""
        from widgetkit.deep_clustering.network import AutoencoderNetwork
        from widgetkit.extraction._torch import torch

        with torch.device("meta"):
            return AutoencoderNetwork(
                self.space,
                planes=self.planes,
                channels=self.channels,
                latent=self.latent,
                kernel=self.kernel,
            )

    def _config(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "channels": list(self.channels),
            "latent": self.latent,
            "kernel": self.kernel,
            "seed": self.seed,
        }

    # -- training ------------------------------------------------------------------------
    def fit(
        self,
        images: npt.ArrayLike | TileSource,
        *,
        mask: npt.ArrayLike | None = None,
        epochs: int = 40,
        batch_size: int = 64,
        lr: float = 2e-3,
        validation: float = 0.1,
        patience: int | None = 6,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = True,
        progress: ProgressLike | None = None,
        cancel: Event | Callable[[], object] | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Train from the seed; an earlier fit is forgotten.

        Parameters
        ----------
        images : (n, *shape) array or TileSource
            8-bit, 16-bit or float, as they are stored; the scaling is learned and recorded.
        mask : (*space) or (n, *space) bool, optional
            Where the error counts (an organ). The encoder still sees the whole image.
        epochs : int
            At most.
        batch_size : int
        lr : float
            Of Adam.
        validation : float
            Share of the images that is held back, from 0 up to 1. Neighbouring slices of one scan
            are alike, so this guards against training too long, not against knowing the patient.
        patience : int, optional
            Epochs without a better loss (on the held-back images where there are some) before
            training stops; None: never. The weights of the best epoch are kept either way.
        checkpoint : path, optional
            An ``.npz`` file written after each epoch. With ``resume`` the same call goes on from
            it and ends with the same bytes as one that was never interrupted.
        resume : bool
            False: begin anew and write over the checkpoint.
        progress : bool or callable, optional
            A bar, or ``progress(done, total)`` in images, after each batch.
        cancel : threading.Event or callable, optional
            Looked at before each batch. The autoencoder is then as it was before the call.
        on_epoch : callable, optional
            Gets each entry of ``history_`` when it is there, for a live chart
            (``wk.TrainingView().on_epoch``).

            Each of the three may raise :class:`widgetkit.errors.StopTraining` to end early and
            keep the best so far: the autoencoder is then, to the byte, that of a run of as many
            epochs as were finished. With a checkpoint the same call goes on from there.

        Raises
        ------
        BadImage
            Another shape, NaN or infinity.
        InvalidInput
            A bad mask or number, or a loss that ran away.
        StoreMismatch, StoreCorrupt
            The checkpoint is of another run, or damaged.
        Cancelled
            Also when stopped before the first epoch ended.

        Warns
        -----
        UserWarning
            Some images are constant.
        """
        from widgetkit.deep_clustering.training import (
            Data,
            Hooks,
            Settings,
            Training,
            best_epoch,
        )
        from widgetkit.extraction.device import reproducible

        settings = Settings(
            epochs=check_count(epochs, "epochs"),
            batch_size=check_count(batch_size, "batch_size"),
            lr=_number(lr, "lr", above=0.0, below=1.0),
            validation=_number(validation, "validation", above=-1e-12, below=1.0),
            patience=None if patience is None else check_count(patience, "patience"),
            seed=self.seed,
        )
        pictures = open_images(images, self.shape).in_memory()
        masks = Masks(mask, len(pictures), self.shape)
        found = measure(pictures, masks)
        preprocess = _scaling(pictures, found.mean, found.std)
        network = self._build()
        data = Data(pictures, masks, preprocess, next(network.parameters()).device)
        run = Training(network, data, settings, identity={**self._config(), "images": found.digest})
        if checkpoint is not None and resume:
            run.resume(checkpoint)
        hooks = Hooks(progress_for(progress or False, "training"), cancel, on_epoch)
        try:
            with reproducible():
                run.run(hooks, checkpoint)
                self._standardise(network.eval(), data)
        finally:
            hooks.progress.close()
        self._adopt(network, preprocess, run.history, best_epoch(run.history) + 1)
        return self

    def _adopt(
        self, network: AutoencoderNetwork, preprocess: Preprocess, history: list[Epoch], best: int
    ) -> None:
        self.module.load_state_dict(network.state_dict())
        self._preprocess, self.history_, self.best_epoch_ = preprocess, history, best

    def _standardise(self, network: AutoencoderNetwork, data: Any) -> None:
        """Mean 0 and mean squared length d for the latent vectors of the training images."""
        from widgetkit.extraction._torch import torch

        with torch.no_grad():
            parts = [
                network.encode(data.preprocess(values, device=data.device)).double().cpu()
                for values in _pictures(data.images)
            ]
            z = torch.cat(parts)
            mean = z.mean(dim=0)
            scale = float((z - mean).square().sum(dim=1).mean().sqrt()) / math.sqrt(self.latent)
            if not scale > 1e-6 * max(1.0, float(mean.abs().max())):
                scale = 1.0  # all images alike
            network.standardise_latent(mean.float().to(data.device), scale)

    # -- using it ------------------------------------------------------------------------
    def encode(self, images: npt.ArrayLike | TileSource) -> Floats:
        """Latent vectors, (n, d) float32, of images in the units of the training images.

        Raises
        ------
        NotTrained, BadImage
        """
        return self._run(images, lambda net, x: net.encode(x), (self.latent,))

    def activations(self, images: npt.ArrayLike | TileSource) -> Floats:
        """The encoder's last layer after its ReLU, (n, C, *grid) float32."""
        return self._run(images, lambda net, x: net.encoder(x), (self.channels[-1], *self.grid))

    def reconstruct(self, images: npt.ArrayLike | TileSource) -> Floats:
        """What the network draws from the latent vectors, (n, *shape) float32.

        In the units of the training images; not clipped to their range.
        """
        drawn = self._run(images, lambda net, x: net(x), (self.planes, *self.space))
        drawn = np.moveaxis(drawn, 1, -1) if self.planes > 1 else drawn[:, 0]
        own = self.preprocess
        units: Floats = (drawn * np.float32(own.std[0]) + np.float32(own.mean[0])) * np.float32(
            own.scale
        )
        return units

    def _run(
        self,
        images: npt.ArrayLike | TileSource,
        function: Callable[[AutoencoderNetwork, torch.Tensor], torch.Tensor],
        empty: tuple[int, ...],
    ) -> Floats:
        from widgetkit.extraction._torch import torch
        from widgetkit.extraction.device import reproducible

        preprocess = self.preprocess
        network = self.module.eval()
        device = next(network.parameters()).device
        pictures = open_images(images, self.shape, least=0)
        found: list[Floats] = []
        with torch.inference_mode(), reproducible():
            for values in _pictures(pictures):
                x = preprocess(values, device=device)
                found.append(function(network, x).float().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, *empty), np.float32)

    def to_store(
        self, tiles: TileSource, out: str | os.PathLike[str], **options: Any
    ) -> ActivationStore:
        """An ordinary activation store of ``tiles`` with layers ``encoder.last`` and ``latent``.

        Parameters
        ----------
        tiles : TileSource
            Of the shape, and in the units, of the training images.
        out : path
        **options
            As for ``wk.extract``, without ``layers``, ``preprocess`` and ``layout``.

        Raises
        ------
        NotTrained, BadImage
            And what ``wk.extract`` raises.
        """
        return self._extract(self.module, tiles, out, options)

    def _extract(
        self,
        module: torch.nn.Module,
        tiles: TileSource,
        out: str | os.PathLike[str],
        options: dict[str, Any],
    ) -> ActivationStore:
        """:meth:`to_store` of a network with this encoder and these layers."""
        from widgetkit.extraction import Layout, extract

        open_images(tiles, self.shape)
        return extract(
            module,
            tiles,
            [LAST, LATENT],
            out=out,
            preprocess=self.preprocess,
            layout={LAST: Layout("channels_first"), LATENT: Layout("vector")},
            **{"device": self.device, **options},
        )

    def copy(self) -> ConvAutoencoder:
        """One of its own with the same weights; training it leaves this one as it is."""
        return copy.deepcopy(self)

    # -- files ---------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything :meth:`load` needs to ``path`` (``.npz``), whole or not at all.

        Raises
        ------
        NotTrained, StoreError
        """
        header = {
            "kind": "autoencoder",
            "network": self._config(),
            "preprocess": self.preprocess.to_dict(),
            "history": self.history_,
            "best_epoch": self.best_epoch_,
        }
        weights = {
            name: value.detach().cpu().contiguous().numpy()
            for name, value in self.module.named_parameters()
        }
        files.write(path, header, weights)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> ConvAutoencoder:
        """What :meth:`save` wrote. Safe with files of strangers: nothing in them is run.

        Raises
        ------
        StoreNotFound, StoreCorrupt, StoreTooNew
        """
        from widgetkit.deep_clustering.training import check_history
        from widgetkit.extraction._torch import torch

        made: list[ConvAutoencoder] = []

        def expected(header: dict[str, Any]) -> files.Shapes:
            if header["kind"] != "autoencoder":
                raise ValueError("a checkpoint of training; give it to fit(checkpoint=...)")
            found = cls(**header["network"], device=device)
            found._preprocess = _recorded(header["preprocess"])
            check_history(header["history"])
            best = header["best_epoch"]
            if not isinstance(best, int) or not 1 <= best <= len(header["history"]):
                raise ValueError("no such epoch")
            found.history_, found.best_epoch_ = header["history"], best
            made.append(found)
            network = found._skeleton()
            return {name: tuple(value.shape) for name, value in network.named_parameters()}

        _, arrays = files.read(path, expected)
        found = made[0]
        found.module.load_state_dict(
            {name: torch.from_numpy(array) for name, array in arrays.items()}
        )
        return found


def _pictures(images: Images) -> Iterator[np.ndarray]:
    """Images a bounded number of values at a time."""
    step = max(1, min(256, INPUT_VALUES // math.prod(images.shape)))
    for start in range(0, len(images), step):
        yield images.read(np.arange(start, min(start + step, len(images))))


def _scaling(images: Images, mean: float, std: float) -> Preprocess:
    """Mean 0 and deviation 1 over what was trained on."""
    scale = SCALES.get(images.dtype.name, 1.0)
    return Preprocess(
        mean=(mean / scale,),
        std=(std / scale if std > 0 else 1.0,),
        scale=scale,
        note="mean and standard deviation of the images the autoencoder was trained on",
    )


def _recorded(record: dict[str, Any]) -> Preprocess:
    """A scaling from a file; ValueError unless :func:`_scaling` could have made it."""
    found = Preprocess.from_dict(record)
    plain = found.size is None and found.channels is None and found.window is None
    if found.to_dict() != record or not plain or len(found.mean) != 1 or len(found.std) != 1:
        raise ValueError("a scaling of other fields")
    return found


def _number(value: object, name: str, *, above: float, below: float) -> float:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        number = float(value)
        if above < number < below:
            return number
    raise InvalidInput(f"{name}={value!r}: a number from {max(above, 0.0):g} up to {below:g}.")
