"""Files: resuming to the bit, saving and loading, and files that are not what they should be."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.deep_clustering.planted import planted
from tests.deep_clustering.test_autoencoder import small, weights
from widgetkit.deep_clustering import ConvAutoencoder
from widgetkit.errors import (
    Cancelled,
    StoreCorrupt,
    StoreError,
    StoreMismatch,
    StoreNotFound,
    StoreTooNew,
)
from widgetkit.store import npy

RUN = {"epochs": 6, "batch_size": 16}


class Stop(Exception):
    pass


def stop_at(epoch: int) -> Callable[[dict[str, Any]], None]:
    def on_epoch(record: dict[str, Any]) -> None:
        if record["epoch"] == epoch:
            raise Stop

    return on_epoch


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return planted()[0]


@pytest.fixture(scope="module")
def whole(images: np.ndarray) -> ConvAutoencoder:
    return small().fit(images, **RUN)


@pytest.fixture(scope="module")
def saved(whole: ConvAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "ae.npz"
    whole.save(path)
    return path.read_bytes()


# -- resuming ----------------------------------------------------------------------------
@pytest.mark.parametrize("epoch", [1, 4, 6])
def test_resumed_is_uninterrupted_to_the_bit(
    tmp_path: Path, images: np.ndarray, whole: ConvAutoencoder, epoch: int
) -> None:
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        small().fit(images, **RUN, checkpoint=path, on_epoch=stop_at(epoch))
    seen: list[dict[str, Any]] = []
    resumed = small().fit(images, **RUN, checkpoint=path, on_epoch=seen.append)
    assert [one["epoch"] for one in seen] == list(range(epoch + 1, 7))
    assert weights(resumed) == weights(whole)
    assert resumed.history_ == whole.history_
    straight = tmp_path / "straight.npz"
    small().fit(images, **RUN, checkpoint=straight)
    assert path.read_bytes() == straight.read_bytes()


def test_a_run_cancelled_in_the_middle_of_an_epoch_goes_on(
    tmp_path: Path, images: np.ndarray, whole: ConvAutoencoder
) -> None:
    path = tmp_path / "run.npz"
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        small().fit(images, **RUN, checkpoint=path, cancel=lambda: next(asked) >= 9)
    assert weights(small().fit(images, **RUN, checkpoint=path)) == weights(whole)


def test_a_killed_process_goes_on_to_the_same_bytes(
    tmp_path: Path, images: np.ndarray, whole: ConvAutoencoder, repo: Path
) -> None:
    path = tmp_path / "run.npz"
    code = (
        "import os, sys, torch\n"
        f"torch.set_num_threads({_threads()})\n"
        "from tests.deep_clustering.planted import planted\n"
        "from tests.deep_clustering.test_autoencoder import small\n"
        "small().fit(planted()[0], epochs=6, batch_size=16, checkpoint=sys.argv[1],\n"
        "            on_epoch=lambda one: one['epoch'] == 3 and os._exit(9))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=repo, check=False)
    assert done.returncode == 9
    assert weights(small().fit(images, **RUN, checkpoint=path)) == weights(whole)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def test_more_epochs_go_on_from_fewer(
    tmp_path: Path, images: np.ndarray, whole: ConvAutoencoder
) -> None:
    path = tmp_path / "run.npz"
    small().fit(images, epochs=2, batch_size=16, checkpoint=path)
    assert weights(small().fit(images, **RUN, checkpoint=path)) == weights(whole)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 1e-3}, "lr"),
        ({"batch_size": 8}, "batch_size"),
        ({"validation": 0.3}, "validation"),
        ({"seed": 4}, "seed"),
        ({"channels": (4, 6)}, "channels"),
        ({"images": 1}, "images"),
        ({"mask": np.eye(16, dtype=bool)}, "images"),
    ],
)
def test_another_run_is_not_gone_on_with(
    tmp_path: Path, images: np.ndarray, changed: dict[str, Any], message: str
) -> None:
    path = tmp_path / "run.npz"
    small().fit(images, epochs=1, batch_size=16, checkpoint=path)
    before = path.read_bytes()
    own = {key: changed[key] for key in ("seed", "channels") if key in changed}
    rest = {key: value for key, value in changed.items() if key not in (*own, "images")}
    other = images + np.uint8(changed.get("images", 0))
    call = {"epochs": 2, "batch_size": 16, "checkpoint": path, **rest}
    with pytest.raises(StoreMismatch, match=f"another run: .*{message}.* differ"):
        small(**own).fit(other, **call)
    assert path.read_bytes() == before
    anew = small(**own).fit(other, **call, resume=False)
    assert len(anew.history_) == 2


def test_a_saved_autoencoder_is_no_checkpoint_and_the_other_way_round(
    tmp_path: Path, images: np.ndarray, saved: bytes
) -> None:
    path = tmp_path / "ae.npz"
    path.write_bytes(saved)
    with pytest.raises(StoreMismatch, match="not a checkpoint"):
        small().fit(images, **RUN, checkpoint=path)
    assert path.read_bytes() == saved
    run = tmp_path / "run.npz"
    small().fit(images, epochs=1, checkpoint=run)
    with pytest.raises(StoreCorrupt, match="checkpoint of training"):
        ConvAutoencoder.load(run)


def test_a_checkpoint_that_cannot_be_written_is_an_error_of_ours(
    tmp_path: Path, images: np.ndarray
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        small().fit(images, epochs=1, checkpoint=tmp_path / "file" / "run.npz")


# -- saving ------------------------------------------------------------------------------
def test_what_is_loaded_is_what_was_saved(
    tmp_path: Path, images: np.ndarray, whole: ConvAutoencoder, saved: bytes
) -> None:
    path = tmp_path / "ae.npz"
    path.write_bytes(saved)
    found = ConvAutoencoder.load(path, device="cpu")
    assert weights(found) == weights(whole)
    assert found.history_ == whole.history_
    assert found.preprocess == whole.preprocess
    assert repr(found) == repr(whole)
    assert np.array_equal(found.encode(images), whole.encode(images))
    found.save(path)
    assert path.read_bytes() == saved
    with np.load(path, allow_pickle=False) as plain:
        assert plain["latent.weight"].shape == (4, 8 * 16)


def test_nothing_is_left_beside_the_file(tmp_path: Path, images: np.ndarray) -> None:
    small().fit(images, epochs=2, checkpoint=tmp_path / "run.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        ConvAutoencoder.load(tmp_path / "none.npz")


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.999))
def test_any_truncation_is_found(tmp_path: Path, saved: bytes, share: float) -> None:
    path = tmp_path / "cut.npz"
    path.write_bytes(saved[: int(share * len(saved))])
    with pytest.raises(StoreCorrupt):
        ConvAutoencoder.load(path)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_harmless(
    tmp_path: Path, saved: bytes, whole: ConvAutoencoder, place: float, bit: int
) -> None:
    data = bytearray(saved)
    data[int(place * len(data))] ^= 1 << bit
    path = tmp_path / "flipped.npz"
    path.write_bytes(data)
    try:
        found = ConvAutoencoder.load(path, device="cpu")
    except (StoreCorrupt, StoreTooNew):
        return
    assert weights(found) == weights(whole)  # a date or another field that nobody reads


def rewritten(
    data: bytes,
    path: Path,
    change: Callable[[dict[str, bytes]], None],
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """The file with its members changed, checksums right."""
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_header(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        record = json.loads(npy.decode(members["header.npy"], "").tobytes())
        record.update(changes)
        text = np.frombuffer(json.dumps(record).encode(), np.uint8)
        members["header.npy"] = npy.header(text.dtype, text.shape) + text.tobytes()

    return change


def huge(members: dict[str, bytes]) -> None:
    members["latent.weight.npy"] = npy.header(np.dtype("<f4"), (2**40, 4))


def objects(members: dict[str, bytes]) -> None:
    header = npy.header(np.dtype("<f4"), (4,)).replace(b"'<f4'", b"'|O' ")
    members["latent.bias.npy"] = header + bytes(16)


def not_finite(members: dict[str, bytes]) -> None:
    values = np.full(4, np.nan, "<f4")
    members["latent.bias.npy"] = npy.header(values.dtype, (4,)) + values.tobytes()


NETWORK = {"shape": [16, 16], "channels": [4, 8], "latent": 4, "kernel": 3, "seed": 0}


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.pop("latent.bias.npy"),
        lambda members: members.update({"more.npy": b""}),
        lambda members: members.pop("header.npy"),
        huge,
        objects,
        not_finite,
        with_header(format="other"),
        with_header(version="1"),
        with_header(network={**NETWORK, "latent": 5}),
        with_header(network={**NETWORK, "latent": 2**40}),
        with_header(network={**NETWORK, "shape": [60000, 60000]}),
        with_header(network={**NETWORK, "shape": 3}),
        with_header(network={**NETWORK, "device": "cuda"}),
        with_header(network=None),
        with_header(preprocess={"std": [0.0]}),
        with_header(preprocess=[]),
        with_header(history=[{"epoch": 1, "loss": "<b>", "validation": None}]),
        with_header(history=[]),
        with_header(best_epoch=99),
        with_header(kind="?"),
    ],
)
def test_a_forged_file_is_refused(
    tmp_path: Path, saved: bytes, change: Callable[[dict[str, bytes]], None]
) -> None:
    path = rewritten(saved, tmp_path / "forged.npz", change)
    with pytest.raises(StoreCorrupt):
        ConvAutoencoder.load(path)


def test_a_compressed_file_and_one_of_a_later_version_are_refused(
    tmp_path: Path, saved: bytes
) -> None:
    path = rewritten(saved, tmp_path / "bomb.npz", lambda _: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(StoreCorrupt, match="compressed"):
        ConvAutoencoder.load(path)
    path = rewritten(saved, tmp_path / "new.npz", with_header(version=2))
    with pytest.raises(StoreTooNew, match="newer"):
        ConvAutoencoder.load(path)
