"""Asks every followed source whether it changed; not a stage of dvc.yaml, but what `make refresh` runs first.

Changes nothing in the workspace: new bytes go into the downloads cache, the answers, as JSON, into FILE (by default to
standard output): {"text/news.txt": {"url", "member", "sha256", "how", "bytes"}}. Exit status 1, with a line for each
source that could not be asked, and a receipt that says whether trying later may help.

python -m stages.sources [--into FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus.following import Answer, ask
from corpus.sources import side_by_side
from corpus.transfer import Patience
from pipeline import paths
from pipeline.files import write_json
from pipeline.followed import followed
from pipeline.params import load_params
from pipeline.receipt import Receipt, kind_of, message_of
from pipeline.schema import Download, SourceFile
from pipeline.signals import die_with_parent


def ask_all(download: Download) -> tuple[dict[str, Any], list[Exception]]:
    """(answers by KIND/NAME, what went wrong with the others)."""

    def asked(wanted: tuple[str, SourceFile]) -> Answer | Exception:
        _, source = wanted
        try:
            return ask(
                source.url,
                source.member,
                cache=paths.downloads(),
                patience=Patience(download.timeout_s, download.attempts),
                max_bytes=download.max_megabytes * 10**6,
            )
        except (ValueError, OSError) as error:
            return error

    answers: dict[str, Any] = {}
    errors: list[Exception] = []
    sources = list(followed(download))
    for (key, source), answer in zip(sources, side_by_side(asked, sources), strict=True):
        if isinstance(answer, Exception):
            print(f"{key}: {message_of(answer)}", file=sys.stderr, flush=True)
            errors.append(answer)
            continue
        fetched = f"{answer.bytes:,} bytes downloaded" if answer.how == "hash" else "nothing downloaded"
        print(f"{key}: asked by {answer.how}, {fetched}", file=sys.stderr, flush=True)
        answers[key] = {"url": source.url, "member": source.member, **asdict(answer)}
    return answers, errors


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m stages.sources", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--into", type=Path, metavar="FILE", help="where the answers go")
    options = parser.parse_args(arguments)
    die_with_parent()
    receipt = Receipt("sources", "executed")
    try:
        answers, errors = ask_all(load_params().download)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        answers, errors = {}, [error]
    if errors:
        worst = next((error for error in errors if kind_of(error) != "transient"), errors[0])
        receipt.status, receipt.kind = "failed", kind_of(worst)
        receipt.message = "; ".join(message_of(error) for error in errors)
    elif options.into is not None:
        write_json(options.into, answers)
    else:
        print(json.dumps(answers, indent=2, sort_keys=True))
    receipt.write()
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
