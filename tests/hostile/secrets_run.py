"""A workspace whose environment is full of secrets, and what a run in it leaves behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.tiny import CHANGES, make_workspace, run

SECRETS = {
    "mirror": "m1rror-pass-phrase",
    "tracking": "tr4cking-pass-phrase",
    "webhook": "w3bhook-path-part",
    "storage": "st0rage-secret-key",
    "netrc": "n3trc-pass-phrase",
    "prefect": "pr3fect-auth-string",
}


def workspace(folder: Path, web: str) -> Path:
    """Its text lies behind a password, at an address that answers 404."""
    text = [{"name": "text.txt", "url": f"{web}/nowhere.txt", "sha256": "0" * 64, "member": None}]
    root = make_workspace(folder, {**CHANGES, "download.text": text, "download.attempts": 1})
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login reader password {SECRETS['netrc']}\n")
    netrc.chmod(0o600)
    return root


def environment(web: str, netrc: Path) -> dict[str, str]:
    host = web.removeprefix("http://")
    return {
        "SCRIPTORIUM_MIRROR": f"http://mirror:{SECRETS['mirror']}@{host}/mirror",
        "MLFLOW_TRACKING_URI": f"http://tracker:{SECRETS['tracking']}@127.0.0.1:9",
        "SCRIPTORIUM_WEBHOOK": f"{web}/hook/{SECRETS['webhook']}",
        "AWS_SECRET_ACCESS_KEY": SECRETS["storage"],
        "AWS_ACCESS_KEY_ID": "reader",
        "NETRC": str(netrc),
        "SCRIPTORIUM_TRACEBACK": "1",
        "NO_PROXY": "127.0.0.1",
    }


def leaks(root: Path, output: str, besides: tuple[str, ...] = ()) -> list[str]:
    """Where a secret stands: in what was printed, or in any file of the workspace, databases and all."""
    found = [f"printed: {name}" for name, secret in SECRETS.items() if secret in output]
    for folder, _, files in os.walk(root):
        for file in files:
            path = Path(folder, file)
            if path.is_file() and path.name not in ("netrc", "secrets_run.py", *besides):
                data = path.read_bytes()
                found += [f"{path}: {name}" for name, secret in SECRETS.items() if secret.encode() in data]
    return found


def run_with_secrets(root: Path, web: str, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    settings: Mapping[str, str] = environment(web, root / "netrc") | more
    return run(root, *command, check=False, **settings)
