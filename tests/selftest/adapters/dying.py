"""Adapters whose process comes to an end, or should: one way each, on an empty batch; all else is the NumPy layer's."""

from __future__ import annotations

import os
import signal
import sys
import time

from bnconform.backends.numpy_layer import Array, NumpyLayer
from bnconform.tests.selftest.adapters.broken import Broken


class _Aborts(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        if not len(x):
            sys.stderr.write("kernel: division by zero in block 7\n")
            sys.stderr.flush()
            os.abort()
        return super().forward(x, training=training)


class Aborts(Broken):
    """The process aborts, as on an error in native code."""

    kind = _Aborts


class _Hangs(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        if not len(x):
            time.sleep(10_000)
        return super().forward(x, training=training)


class Hangs(Broken):
    """The call never returns."""

    kind = _Hangs


class _Hoards(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        hoard = []
        while not len(x):
            hoard.append(bytearray(os.urandom(1) * 2**26))
            time.sleep(0.01)
        return super().forward(x, training=training)


class Hoards(Broken):
    """The call takes ever more memory."""

    kind = _Hoards


class _Interrupts(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        if not len(x):
            raise KeyboardInterrupt
        return super().forward(x, training=training)


class Interrupts(Broken):
    """The call raises what the keyboard does."""

    kind = _Interrupts


class _Prints(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        os.write(1, b'{"ended": "held"}\n')  # what a native library prints passes Python's streams by
        return super().forward(x, training=training)


class Prints(Broken):
    """Every call prints what looks like an answer."""

    kind = _Prints


class _Dies(NumpyLayer):
    def state(self) -> dict[str, Array | None]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class AlwaysDies(Broken):
    """Every call ends the process."""

    kind = _Dies
