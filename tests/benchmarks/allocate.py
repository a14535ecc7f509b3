"""Functions that a child calls to use memory."""

import subprocess
import sys


def allocate(mib: int) -> int:
    return len(bytearray(b"x" * (2**20)) * mib)


def in_a_child(mib: int) -> None:
    subprocess.run([sys.executable, "-c", f"bytearray(b'x' * 2**20) * {mib}"], check=True)
