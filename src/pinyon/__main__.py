"""The command line, as ``python -m pinyon``."""

from .serve.cli import main

if __name__ == "__main__":
    main()
