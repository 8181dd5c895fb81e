"""A device that computes on the CPU and refuses what a GPU refuses: to meet tensors of the host, and to become numpy arrays."""

from collections.abc import Callable
from typing import Any, Self

import torch
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"
CPU = torch.device("cpu")

INDEXED = ("index", "index_put", "_unsafe_index", "_index_put_impl")
"""Operations whose indices may be on the CPU."""


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
DEVICE = torch.device(NAME, 0)


class Elsewhere(Tensor):
    """A tensor of that device, which computes with one on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made: Elsewhere = Tensor._make_wrapper_subclass(
            cls, inner.shape, **layout, device=DEVICE, requires_grad=inner.requires_grad
        )
        made.inner = inner.detach()
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Tell that the tensor is a wrapper, so that a module which is moved keeps its parameters, as it does on a GPU."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> "Elsewhere":
        return Elsewhere(inner["inner"])

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.numpy, Tensor.__array__):
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")
        if func is Tensor.tolist:
            return args[0].inner.tolist()
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs or {})
        if func == Tensor.data.__set__:
            args[0].inner = args[1].inner
        return result

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """Let tensors be made on and moved to the device within a ``with`` block."""

    def __enter__(self) -> Self:
        self._before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` makes its tensor on the CPU and moves it
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        torch._C._set_only_lift_cpu_tensors(self._before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class OtherAccelerator(Accelerator):
    """The device as the trainer takes it: ``--trainer.accelerator elsewhere``."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


AcceleratorRegistry.register(NAME, OtherAccelerator)


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU, if all tensors are where a GPU's kernel would look for them."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    if func is torch.ops.aten.copy_.default:
        func(*map(_inner, args), **kwargs)
        return args[0]
    if func is not torch.ops.aten._to_copy.default:
        _refuse_to_meet(func, args, tensors, there)
    place = kwargs.get("device")
    inner = dict(tree_map(_inner, kwargs))
    if place is not None:
        inner["device"] = CPU
    result = func(*tree_map(_inner, args), **inner)
    if not (there if place is None else torch.device(place).type == NAME):
        return result
    wrapped = tree_map(_wrapped, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if there else wrapped


def _refuse_to_meet(func: Callable[..., Any], args: Any, tensors: list[Tensor], there: bool) -> None:
    """Refuse tensors of both places but for single numbers and for indices of tensors of the device."""
    name = func._schema.name.split("::")[1].rstrip("_")  # type: ignore[attr-defined]
    if name in INDEXED and isinstance(args[0], Elsewhere):
        tensors = [leaf for leaf in tree_leaves(args[2:]) if isinstance(leaf, Tensor)]
    if there and any(tensor.ndim and not isinstance(tensor, Elsewhere) for tensor in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {DEVICE} and cpu in {func}")


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value


def _wrapped(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) and not isinstance(value, Elsewhere) else value
