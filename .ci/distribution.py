"""Build sdist and wheel from two copies of the tree, compare them byte for byte, and check the project's description.

``python .ci/distribution.py FOLDER`` with `build`, `hatchling` and `hatch-fancy-pypi-readme` installed; nothing is
fetched.  The copies differ in path, times and permissions of files, as those of two people do.  What was built is put
into the folder.
"""

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EPOCH = "1577836800"  # 2020-01-01, in seconds


def built(tree: Path, *, mode: int, time: int) -> dict[str, str]:
    """Copy what git knows into a folder, build there, and return the hashes of what was built."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in names.stdout.split("\0")[:-1]:
        copy = tree / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod(mode)
        os.utime(copy, (time, time))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tree / "dist").iterdir()}


def check_description(wheel: Path) -> None:
    """Exit if the description that the package index shows has a link or a picture that leads nowhere there."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    description = str(metadata.get_payload())
    nowhere = re.findall(r"\]\((?!https?:|#)[^)]*\)", description)
    if nowhere or len(description) < 1000:
        sys.exit(f"the description leads nowhere at {nowhere}, or is missing")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "one"), Path(folder, "somewhere", "else")
        hashes = built(first, mode=0o644, time=1_600_000_000)
        if hashes != built(second, mode=0o600, time=1_700_000_001):
            sys.exit(f"two builds differ: {hashes}")
        check_description(next((first / "dist").glob("*.whl")))
        shutil.copytree(first / "dist", sys.argv[1], dirs_exist_ok=True)
    for name, digest in sorted(hashes.items()):
        print(digest, name)


if __name__ == "__main__":
    main()
