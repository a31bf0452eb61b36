"""Programs that the tests of this folder drive. Where one is missing a test is skipped; in CI it fails."""

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
INSTALL_TIMEOUT_S = 60
NODE_TIMEOUT_S = 100


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


def find_program(*names: str) -> str:
    """The path of the first that there is."""
    for name in names:
        if path := shutil.which(name):
            return path
    missing(f"{' or '.join(names)} is not installed")


def install_node_modules() -> None:
    """What package.json pins, unless it is there. Test processes take turns."""
    with (HERE / "package.json").open() as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)
        _install_node_modules()


def _install_node_modules() -> None:
    wanted: dict[str, str] = json.loads((HERE / "package.json").read_text())["devDependencies"]
    if all(_installed_version(name) == version for name, version in wanted.items()):
        return
    command = [find_program("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", "--omit=optional"]
    try:
        subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        missing(f"npm could not install {', '.join(wanted)}: {getattr(error, 'stderr', error)}")


def _installed_version(name: str) -> str | None:
    manifest = HERE / "node_modules" / name / "package.json"
    version: str | None = json.loads(manifest.read_text())["version"] if manifest.is_file() else None
    return version


def run_node_tests(script: str, **env: str) -> None:
    """Asserts that all tests of the script ran and passed."""
    command = [find_program("node"), "--test", "--test-reporter=tap", str(HERE / script)]
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | env, capture_output=True, text=True, timeout=NODE_TIMEOUT_S
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    counts = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE)}
    assert counts["pass"] == counts["tests"] > 0, report
