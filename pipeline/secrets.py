"""What no log, no record and no artifact may hold: passwords in addresses, and what the environment keeps secret.

`without_secrets` stands where text leaves the program: the line a stage ends with, its log, its receipt, every event of
the journal (and so MLflow), what a flow hears from its commands, what a webhook is told. It is the second defence: the
first is that parameters with a password are refused (`pipeline.schema`), since params.yaml and dvc.lock are committed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SHORTEST = 6  # a shorter value would be found in half of all words
SECRET_NAMES = re.compile(
    r"(^|_)(SECRET|TOKEN|(PG)?PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_KEY|AUTH_STRING|WEBHOOK)(_|$)"
)
# user and password before a host; up to the last @, since some passwords have one
USERINFO = re.compile(r"(?<=://)[^/\s\"'<>?#]*@")
SIGNED = re.compile(
    r"([?&](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|token"
    r"|access_token|auth|key|api_?key|password)=)[^&\s\"'<>#]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """The text with *** for users and passwords in addresses, signatures in queries, and secrets of the environment."""
    for secret in _of_environment():
        text = text.replace(secret, HIDDEN)
    return SIGNED.sub(rf"\1{HIDDEN}", USERINFO.sub(f"{HIDDEN}@", text))


def without_password(address: str) -> str:
    """An address for people: without user, password and query. A file's stays as it is."""
    if address.startswith("sqlite") or not {"@", "?"} & set(address):
        return address
    scheme, mark, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if mark else scheme.partition(":")[0]


def scrubbed(value: Any) -> Any:
    """The same for every string in a tree of lists and mappings."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    return value


def holds_secret(address: str) -> bool:
    """Whether an address has a password, or a signature in its query; over http a user's name alone may be a token."""
    return any(
        "@" in found and (":" in found or address.startswith("http")) for found in USERINFO.findall(address)
    ) or (SIGNED.search(address) is not None)


def _of_environment() -> list[str]:
    """Values that the environment's names call secret, and passwords in its addresses; the longest first."""
    found = set()
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name.upper()):
            found.add(value)
        for userinfo in USERINFO.findall(value):
            found.add(userinfo.removesuffix("@").partition(":")[2])
    return sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True)
