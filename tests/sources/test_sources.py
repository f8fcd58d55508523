from __future__ import annotations

import subprocess
import sys

import pinyon.sources


def test_public_names_are_sorted_and_real() -> None:
    names = pinyon.sources.__all__
    assert names == sorted(names)
    assert all(hasattr(pinyon.sources, name) for name in names)


def test_importing_brings_no_parser() -> None:
    code = (
        "import sys, pinyon.sources\n"
        "print(sorted({'torch', 'markdown_it', 'selectolax', 'pypdf', 'watchfiles', 'docx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
