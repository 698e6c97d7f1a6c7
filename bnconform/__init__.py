"""bnconform: does an implementation of Batch Normalization do what it must do, and if not, what does it do instead?

    result = bnconform.judge("torch.nn", dtypes=["float32"])          # the suite; bnconform.judge.__call__ says all
    profile = bnconform.identify("my_adapter.py:MyBackend")           # what it does, whatever it declares
    difference = bnconform.compare("cpu.json", result)                # which side is how far from the truth
    y, bound, state = bnconform.reference.forward(x, training=True)   # what is due, and to within what
    bnconform.testing.assert_conforms("my_adapter.py:MyBackend")      # AssertionError, with what fails and why

    @bnconform.parametrize("my_adapter.py:MyBackend")                 # in one's own pytest suite
    def test_batchnorm(check):
        check()

`UserError` is what cannot be carried out, in one line. `__all__` is all that is public; what it names is imported when
it is used.
"""

import os as _os

__all__ = [
    "UserError",
    "__version__",
    "compare",
    "identify",
    "judge",
    "parametrize",
    "read_result",
    "reference",
    "testing",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bnconform import reference, testing
    from bnconform.api import compare, identify, judge, read_result
    from bnconform.parametrized import parametrize
    from bnconform.spec.errors import UserError

    __version__: str
    """The version of the distribution, such as "0.1.0"; "0+clone" where none is installed."""
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module, metadata

        if name == "__version__":
            try:
                return metadata.version("bnconform")
            except metadata.PackageNotFoundError:
                return "0+clone"
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = import_module(f"{__name__}.{_PLACES.get(name, name)}")
        return getattr(found, name) if name in _PLACES else found


del TYPE_CHECKING

_ROOT = _os.path.dirname(_os.path.dirname(_os.path.realpath(__file__)))
if all(_os.path.isfile(_os.path.join(_ROOT, *place)) for place in (("conftest.py",), ("spec", "behaviour.py"))):
    # A clone: its rooms lie beside this package. Installed, they lie inside it.
    __path__.append(_ROOT)

_PLACES = {
    "UserError": "spec.errors",
    "compare": "api",
    "identify": "api",
    "parametrize": "parametrized",
    "read_result": "api",
}
"""By name the module of this package that has it; the others are modules themselves, and `judge` can be called."""


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
