"""What is sent to take a consumer's memory takes none of it: measured in a process of its own."""

import subprocess
import sys

import pytest

# Prints by how many MB the most memory the process ever had grew, and what became of the body.
SCRIPT = """
import gzip, resource
from wavecom_common.events import codec
from wavecom_common.kernel.errors import Undecodable

def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

body = {body}
before_mb = most_mb()
try:
    codec.decode(body, content_type=codec.CONTENT_TYPE, content_encoding={encoding})
    became = "read"
except Undecodable:
    became = "refused"
print(most_mb() - before_mb, became)
"""


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("gzip.compress(bytes((10, 0)) * 2**23)", "codec.GZIP"),
        ("gzip.compress(bytes((10, 0)) * 2**18)", "codec.GZIP"),
        ("gzip.compress(bytes(2**27))", "codec.GZIP"),
        ("bytes((10, 0)) * 2**23", "None"),
        ("bytes((10, 0)) * 2**18", "None"),
    ],
    ids=[
        "8,000,000 empty events in 16 KB",
        "within the size",
        "zeroes",
        "uncompressed",
        "uncompressed within the size",
    ],
)
def test_a_bomb_is_refused_at_no_cost_in_memory(body: str, encoding: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body, encoding=encoding)], capture_output=True, text=True, check=True
    )
    grown_mb, became = ran.stdout.split()
    assert became == "refused"
    assert float(grown_mb) < 16
