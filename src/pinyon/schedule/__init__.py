"""Work that is done beside the verbs."""

from .embed import EmbedJob

__all__ = ["EmbedJob"]
