"""A pickle machine for untrusted files. It builds tensors and plain containers; it imports and calls nothing else.

`pickle.Unpickler` with an allow-list in `find_class` and a `persistent_load` cannot replace it, even if a scan with
`pickletools.genops` limits instructions and memory first. These attacks on it were tried and work:

- A dictionary key of 60 nested tuples, where each holds the one before twice, takes 2^60 steps to hash. The C machine
  hashes keys itself and offers no hook. Integer keys that collide take quadratic time.
- A frame (protocol 4) that ends within an argument: the C machine drops the bytes that it has buffered and then runs
  other instructions than the scan sees, e.g. one with a memo index of 2^31, for which it allocates 32 GiB.
- SETITEM and BUILD change any object. An array's index made of shared lists takes 470 MiB and 9 s for a program of 400
  bytes; the state of a function changes its default arguments.

All of them can be stopped (dictionaries that check their keys, a pickle rewritten without frames, read-only arrays,
opaque functions), but that took about as many lines as this machine, and it relies on details of the C machine.
"""

from __future__ import annotations

import pickletools
from collections.abc import Sequence
from math import prod
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

STORAGE_DTYPES = {
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
}
_CONSTRUCTORS = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor",  # PyTorch < 0.4
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.nn.parameter.Parameter",  # PyTorch < 0.4
    }
)

# Upper bounds of the memory, in bytes, that one instruction takes for objects, stack and memo.
_COST = {"MARK": 128, "BINPUT": 128, "LONG_BINPUT": 128, "MEMOIZE": 128, "BINPERSID": 512, "REDUCE": 512}
_COST |= dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 96)
_DEFAULT_COST = 64
_FREE_BYTES = 16 * 2**20
# Integer keys can be chosen such that they collide; a dict of them takes quadratic time.
_MAX_INTEGER_KEYS = 10_000

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"}
)


class Refused(ValueError):
    """The pickle holds something that is not read. The message says what; the caller adds the name of the file."""


class Global(NamedTuple):
    """An allowed name in another module. It is not imported."""

    name: str


class Storage(NamedTuple):
    """Memory that tensors view.

    Attributes:
        data: its bytes, uint8. The caller fills them in after loading.
        dtype: type of its elements.
    """

    data: np.ndarray
    dtype: np.dtype


class Unpickler:
    """Runs the pickles of one file.

    It takes at most about 16 MiB plus five times `file_size` of memory: the storages together may not be larger than
    the file, and every instruction uses up some of a budget of memory.

    Args:
        file_size: bytes in the whole file.

    Attributes:
        storages: key -> storage, for every storage that a pickle names. Their bytes are not filled in.
    """

    def __init__(self, file_size: int) -> None:
        self.storages: dict[str, Storage] = {}
        self._file_size = file_size
        self._storage_bytes = 0
        self._memory_left = _FREE_BYTES + 4 * file_size
        self._integer_keys = 0

    def load(self, stream: BinaryIO) -> Any:
        """Runs one pickle and leaves `stream` at its end. Long, because it has one branch for each instruction.

        Args:
            stream: its `read(n)` must not allocate more than is left in it (a memory map or `io.BytesIO`).

        Returns:
            Plain containers. Tensors and parameters are arrays that view `storages`. OrderedDict becomes dict.

        Raises:
            Refused: tensors and plain containers do not need an instruction or a global in the pickle.
            Exception: of any type, if the pickle is damaged.
        """
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}

        def pop_to_mark() -> list[Any]:
            start = marks.pop()
            items = stack[start:]
            del stack[start:]
            return items

        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            self._spend(_COST.get(name, _DEFAULT_COST) + (4 * len(argument) if isinstance(argument, str) else 0))
            if name in _LITERALS:
                if isinstance(argument, int) and argument.bit_length() > 128:
                    raise Refused(f"refused an integer of {argument.bit_length()} bits")
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "TUPLE":
                stack.append(tuple(pop_to_mark()))
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                size = int(name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            elif name == "APPEND":
                value = stack.pop()
                self._extend(stack[-1], [value])
            elif name == "APPENDS":
                values = pop_to_mark()
                self._extend(stack[-1], values)
            elif name == "SETITEM":
                key, value = stack[-2:]
                del stack[-2:]
                self._update(stack[-1], [key, value])
            elif name == "SETITEMS":
                values = pop_to_mark()
                self._update(stack[-1], values)
            elif name in ("GLOBAL", "INST"):
                stack.append(_find_global(argument.replace(" ", ".", 1)))
                if name == "INST":
                    raise Refused("refused the pickle instruction INST")
            elif name == "STACK_GLOBAL":
                module, attribute = stack.pop(-2), stack.pop()
                if type(module) is not str or type(attribute) is not str:
                    raise Refused("a global whose name is not a string")
                stack.append(_find_global(f"{module}.{attribute}"))
            elif name == "BINPERSID":
                stack.append(self._storage(stack.pop()))
            elif name == "REDUCE":
                arguments = stack.pop()
                stack.append(self._construct(stack.pop(), arguments))
            elif name == "BUILD":
                _check_state(stack.pop(), stack[-1])
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise Refused(f"refused the pickle instruction {name}: only tensors and plain containers are read")
        raise Refused("a pickle has no end")

    def _spend(self, cost: int) -> None:
        self._memory_left -= cost
        if self._memory_left < 0:
            raise Refused("its containers and strings would take many times more memory than the file has bytes")

    def _extend(self, target: Any, values: list[Any]) -> None:
        if type(target) is not list:
            raise Refused(f"appends to a {type(target).__name__}")
        target.extend(values)

    def _update(self, target: Any, keys_and_values: Sequence[Any]) -> None:
        if type(target) is not dict:
            raise Refused(f"sets items of a {type(target).__name__}")
        for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
            if type(key) is int:
                self._integer_keys += 1
                if self._integer_keys > _MAX_INTEGER_KEYS:
                    raise Refused(f"more than {_MAX_INTEGER_KEYS} integers as dictionary keys")
            elif type(key) is not str:
                raise Refused(f"a {type(key).__name__} as a dictionary key: expected a string or an integer")
            target[key] = value

    def _storage(self, identifier: Any) -> Storage:
        """Returns the storage of a persistent id ("storage", type, key, device, elements[, None or a view])."""
        if type(identifier) is not tuple or not 5 <= len(identifier) <= 6:
            raise Refused("a persistent id that is not a storage's")
        tag, kind, key, _, count, *views = identifier
        if type(tag) is not str or tag != "storage" or type(key) is not str or type(kind) is not Global:
            raise Refused("a persistent id that is not a storage's")
        if kind.name not in STORAGE_DTYPES:
            raise Refused(f"a storage of type {kind.name}")
        dtype = STORAGE_DTYPES[kind.name]
        size = _natural(count) * dtype.itemsize
        if key not in self.storages:
            self._storage_bytes += size
            if self._storage_bytes > self._file_size:
                raise Refused(f"its storages need {self._storage_bytes} bytes or more, the file has {self._file_size}")
            self.storages[key] = Storage(np.empty(size, np.uint8), dtype)
        storage = self.storages[key]
        if storage.dtype != dtype or storage.data.size != size:
            raise Refused(f"storage {key[:40]!r} is declared twice, with different types or sizes")
        if not views or views[0] is None:
            return storage
        _, offset, length = views[0]
        first, last = _natural(offset) * dtype.itemsize, (_natural(offset) + _natural(length)) * dtype.itemsize
        if last > storage.data.size:
            raise Refused(f"a view of storage {key[:40]!r} exceeds it")
        return Storage(storage.data[first:last], dtype)

    def _construct(self, function: Any, arguments: Any) -> Any:
        if type(function) is not Global or type(arguments) is not tuple:
            raise Refused("calls something that is not a constructor")
        name = function.name.rpartition(".")[2]
        if name == "OrderedDict":
            result: dict[Any, Any] = {}
            for pair in arguments[0] if arguments else ():  # Python 2 passes the items here
                self._spend(_DEFAULT_COST)
                key, value = pair
                self._update(result, [key, value])
            return result
        if name == "_rebuild_tensor":
            return self._tensor(*arguments)
        if name == "_rebuild_tensor_v2":
            return self._tensor(*arguments[:4])
        if name in ("_rebuild_parameter", "Parameter"):
            if not isinstance(arguments[0], np.ndarray):
                raise Refused("a parameter that holds no tensor")
            return arguments[0]
        raise Refused(f"calls the storage type {name}")

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
        if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
            raise Refused("a tensor whose storage, shape or strides are something else")
        item = storage.dtype.itemsize
        # Strides of 0 make a tensor larger than its storage. A copy of it must not take much more than the file.
        limit = max(self._file_size, 2**20)
        if prod(map(_natural, shape[:64])) * item > limit:
            raise Refused(f"a tensor of more than {limit} bytes, over a storage of {storage.data.size}")
        steps = tuple(_natural(stride) * item for stride in strides)
        # NumPy refuses views that exceed the buffer, and more than 64 dimensions.
        return np.ndarray(shape, storage.dtype, storage.data, offset=_natural(offset) * item, strides=steps)


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise Refused("a size, offset or stride that is not a natural number")
    return value


def _find_global(name: str) -> Global:
    if name not in _CONSTRUCTORS and name not in STORAGE_DTYPES:
        shown = name if len(name) <= 80 else name[:80] + "..."
        raise Refused(f"refused to load {shown!r}: only tensors and plain containers are read")
    return Global(name)


def _check_state(state: Any, instance: Any) -> None:
    """Allows a state on a state dict (`_metadata`) or an old parameter (gradient flags and hooks); it is not kept."""
    on_dict = type(instance) is dict and type(state) is dict
    on_parameter = isinstance(instance, np.ndarray) and type(state) is tuple and len(state) == 3
    if not on_dict and not on_parameter:
        raise Refused(f"sets the state of a {type(instance).__name__}")
