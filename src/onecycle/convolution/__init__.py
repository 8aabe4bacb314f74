"""3x3 convolutions that take less time than PyTorch's own on a processor."""

from .mode import FastConvolutions

__all__ = ["FastConvolutions"]
