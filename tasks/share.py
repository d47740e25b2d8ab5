"""Results to the team and from it: DVC's outputs and run cache, in the remote that SCRIPTORIUM_REMOTE names.

    python -m tasks.share push | pull          (make push, make pull)

The address goes into .dvc/config.local, which git ignores, as the default remote `shared`; keys stay in the
environment. Without SCRIPTORIUM_REMOTE, the default remote of .dvc/config is taken.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.database import CONNECT_WITHIN_S
from pipeline.secrets import without_password

NAME = "shared"
TRANSFER = {
    "push": ["push", "--run-cache"],
    "pull": ["pull", "--run-cache", "--allow-missing"],  # a stage that nobody has run has nothing to pull
}
PREFIX = re.compile(r"^(failed to transfer '.*?' - |unexpected error - )")  # a file of the cache says nothing to people
NEXT = {
    "push": "commit dvc.lock, which names what was pushed, and the others can `make pull`",
    "pull": "`make run` takes from here whatever dvc.lock or DVC's run cache knows",
}


def remote(root: Path) -> str:
    """The default remote's address, for people; SCRIPTORIUM_REMOTE, where given, is set. ValueError: there is none."""
    wanted = {}
    if address := os.environ.get("SCRIPTORIUM_REMOTE"):
        wanted = {f"remote.{NAME}.url": address, "core.remote": NAME}
    known = _settings(root)
    for key, value in wanted.items():
        if known.get(key) != value:
            _set(root, key, value)
    known |= wanted
    name = known.get("core.remote")
    if name is None:
        raise ValueError(
            "there is no remote to share results with: set SCRIPTORIUM_REMOTE in .env (s3://BUCKET/FOLDER, or a folder "
            "that all can reach; .env.example), or `dvc remote add --default NAME ADDRESS`"
        )
    return without_password(known.get(f"remote.{name}.url", name))


def transfer(root: Path, action: str) -> str:
    """Push or pull; what DVC said at its end. ValueError, with the first thing that went wrong, when it failed."""
    place = remote(root)
    if place.startswith("s3:"):
        _answers(os.environ.get("AWS_ENDPOINT_URL", ""))
    print(f"{action}: {place}", file=sys.stderr, flush=True)
    done = _dvc(root, *TRANSFER[action])
    if done.returncode != 0:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        said = [PREFIX.sub("", line) for line in lines]
        if "dvc_s3" in done.stderr or "pip install 'dvc[s3]'" in done.stderr:
            said = ["DVC's part for S3 is not installed: `make shared` installs it"]
        raise ValueError(f"{action}, {place}: {said[0] if said else f'DVC ended with {done.returncode}'}")
    return (done.stdout.strip().splitlines() or ["done"])[-1].rstrip(".")


def _answers(endpoint: str) -> None:
    """ValueError when nobody is there: DVC would try every file again and again, for a minute."""
    place = urlsplit(endpoint)
    if not place.hostname or (getproxies().get(place.scheme) and not proxy_bypass(place.hostname)):
        return
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname, port), timeout=CONNECT_WITHIN_S).close()
    except OSError as error:
        shown = without_password(endpoint)
        raise ValueError(f"AWS_ENDPOINT_URL ({shown}) does not answer: {error.strerror or error}") from None


def _settings(root: Path) -> dict[str, str]:
    """What DVC's configuration files say together. ValueError when they can't be read."""
    done = _dvc(root, "config", "--list")
    if done.returncode != 0:
        raise ValueError(f"DVC can't read its configuration: {' '.join(done.stderr.split())}")
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in lines}


def _set(root: Path, key: str, value: str) -> None:
    done = _dvc(root, "config", "--local", key, value)
    if done.returncode != 0:
        raise ValueError(f".dvc/config.local can't be written: {done.stderr.strip()}")


def _dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def main(arguments: list[str]) -> int:
    """The command line; exit status 1 with one sentence when it can't be done."""
    parser = argparse.ArgumentParser(prog="python -m tasks.share", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=sorted(TRANSFER))
    action = parser.parse_args(arguments).action
    try:
        print(f"{transfer(Path.cwd(), action)}: {NEXT[action]}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
