"""Labeled pictures of words and lines, drawn from texts with fonts: for training, or as a folder. No PyTorch."""

from semilla.generating.folder import generate_text
from semilla.generating.lines import Generated, generate
from semilla.generating.render import Renderer, Settings, renderer

__all__ = ["Generated", "Renderer", "Settings", "generate", "generate_text", "renderer"]
