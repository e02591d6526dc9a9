"""The vectors of promptsync.v1, read by the code of the Node client."""

import json
import subprocess

import pytest

from tests.interop.devices import HERE
from tests.support.v1_vectors import PATH, vectors

pytestmark = pytest.mark.node


def test_the_node_client_reads_and_writes_every_vector(packages: None) -> None:
    node = subprocess.run(["node", "promptsync_vectors.mjs", str(PATH)], cwd=HERE, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(node.stdout) == {"read": sum(map(len, vectors().values())), "wrong": []}
