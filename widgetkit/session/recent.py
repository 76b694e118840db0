"""Arrays that were used last, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy.typing as npt


class Recent:
    """A cache of arrays that forgets the least used beyond ``limit`` bytes. Safe for threads.

    One array larger than the limit is kept alone, so that what was just made can be used.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._arrays: OrderedDict[Hashable, npt.NDArray[Any]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> npt.NDArray[Any] | None:
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
            return found

    def put(self, key: Hashable, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        array.flags.writeable = False
        with self._lock:
            older = self._arrays.pop(key, None)
            self._size += array.nbytes - (0 if older is None else older.nbytes)
            self._arrays[key] = array
            while self._size > self.limit and len(self._arrays) > 1:
                _, dropped = self._arrays.popitem(last=False)
                self._size -= dropped.nbytes
        return array

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._arrays
