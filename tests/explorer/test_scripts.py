"""The page's scripts in Node, those that need no page; what does, test_browser.py drives."""

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not there")
def test_scripts():
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is older than 20")
    file = Path(__file__).with_name("scripts.test.mjs")
    done = subprocess.run(["node", "--test", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
