"""A pretended device without float64, like Apple's MPS; its tensors do not mix with the CPU's.

The tensors say that they are on "meta", a device that autograd knows on every machine.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from espnet_ottc.ops import operators

DEVICE = torch.device("meta")


class FakeTensor(Tensor):
    """Looks like a tensor on the device; its values lie in `held`, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "FakeTensor":
        if held.dtype == torch.float64:
            raise TypeError("the device has no float64")
        fake: FakeTensor = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=DEVICE
        )
        fake.held = held
        return fake

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _call(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"FakeTensor({self.held!r})"


class FakeDevice(TorchDispatchMode):
    """Lets factory functions make tensors on the device, and refuses operations on tensors of two devices."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _call(func, args, kwargs or {})


def to_fake(tensor: Tensor) -> Tensor:
    """A leaf on the device."""
    return FakeTensor(tensor.detach().clone()).requires_grad_(tensor.requires_grad)


def from_fake(tensor: Tensor) -> Tensor:
    """The values, on the CPU."""
    assert isinstance(tensor, FakeTensor), "not on the device"
    return tensor.held


# What an operator of ours runs on a device that PyTorch has.
_OPERATORS = {
    operators.ottc_forward: operators._forward,
    operators.ottc_backward: operators._backward,
}


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func in _OPERATORS:
        with FakeDevice():
            return _OPERATORS[func](*args)
    with FakeDevice():  # within them nothing has taken such operations apart
        result = func.decompose(*args, **kwargs)
    if result is not NotImplemented:
        return result
    tensors: list[Tensor] = []
    tree_map(lambda x: tensors.append(x) if isinstance(x, Tensor) else None, (args, kwargs))
    fakes = [tensor for tensor in tensors if isinstance(tensor, FakeTensor)]
    others = [t for t in tensors if not isinstance(t, FakeTensor) and t.dim()]
    copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if fakes and others and not copies:
        raise RuntimeError(f"{func}: tensors on two devices")
    device = kwargs.get("device")
    fake = bool(fakes) if device is None else torch.device(device).type == DEVICE.type
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    held_args, held_kwargs = tree_map(
        lambda x: x.held if isinstance(x, FakeTensor) else x, (args, kwargs)
    )
    result = func(*held_args, **held_kwargs)
    if func._schema.is_mutable:
        return args[0]
    if not fake:
        return result
    return tree_map(lambda x: FakeTensor(x) if isinstance(x, Tensor) else x, result)
