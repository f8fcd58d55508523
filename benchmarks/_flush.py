"""A disk that takes a given time to flush, for every subject alike: what a ratio of durable writes is worth elsewhere.

Each `fsync` and `fdatasync` of a measured process is followed by a sleep up to the given time. Nothing else changes, so
work that overlaps a flush still overlaps it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["slow_flush"]

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void rest(struct timespec start) {
    const char *said = getenv("PINYON_FLUSH_US");
    long wanted = said ? atol(said) * 1000L : 0L;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    wanted -= (now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec;
    if (wanted > 0) {
        struct timespec left = {wanted / 1000000000L, wanted % 1000000000L};
        nanosleep(&left, NULL);
    }
}

#define SLOWED(name) \\
    int name(int file) { \\
        static int (*real)(int); \\
        struct timespec start; \\
        if (!real) real = (int (*)(int)) dlsym(RTLD_NEXT, #name); \\
        clock_gettime(CLOCK_MONOTONIC, &start); \\
        int result = real(file); \\
        rest(start); \\
        return result; \\
    }

SLOWED(fsync)
SLOWED(fdatasync)
"""


def slow_flush(folder: Path, milliseconds: float) -> dict[str, str]:
    """Return the environment of a process whose disk takes this long to flush; Linux with a C compiler only."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        raise SystemExit("--flush-ms needs Linux and a C compiler")
    source, library = folder / "flush.c", folder / "flush.so"
    source.write_text(_SOURCE, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", str(source), "-o", str(library), "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "PINYON_FLUSH_US": str(round(1000 * milliseconds))}
