"""What runs inside the environment of a rival; `worker.py` is started there by its path, with the file of one rival."""

__all__: list[str] = []
