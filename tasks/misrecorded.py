"""DVC's trap, closed behind it: inputs edited in the moment between a stage's end and DVC's record of it.

DVC reads a stage's inputs once more when the stage has ended, and records what it finds then, beside a result that was
made from what lay there before. The stage has said from which inputs it worked: the name of its journal begins with
their digest. Where dvc.lock says otherwise, the record is taken back; the result itself is kept (pipeline/kept.py) and
taken when the edit is undone.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.fingerprint import digest, locked_inputs
from pipeline.receipt import Receipt
from tasks.dvc_repo import drop_lock_entries, forget_run, lock_entries

KEY = re.compile(r"(?P<stage>.+)-(?P<inputs>[0-9a-f]{16})-[0-9a-f]{8}")  # journal.Journal.of_stage


def take_back(root: Path, stage: str, receipt: Receipt | None) -> str:
    """Remove DVC's record of a result under inputs that it was not made from; one sentence, if so, else nothing."""
    said = KEY.fullmatch((receipt.key if receipt is not None else None) or "")
    entry = lock_entries(root).get(stage)
    if said is None or said["stage"] != stage or entry is None:
        return ""
    if digest(locked_inputs(entry)).startswith(said["inputs"]):
        return ""
    forget_run(root, entry)
    drop_lock_entries(root, [stage])
    return (
        "an input changed while DVC recorded the result, which belongs to the old inputs: it is kept aside and taken "
        "when the edit is undone; run again for the new inputs"
    )
