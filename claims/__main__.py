"""``python -m claims list | run NAME ... | run --all | table``."""

from __future__ import annotations

import argparse
import logging
import sys

from claims import harness, table
from claims.sources import MissingData


def main() -> int:
    parser = argparse.ArgumentParser(prog="claims", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the names of all claims")
    commands.add_parser(
        "table", help="make CLAIMS.md from the results, in the claims' words of now"
    )
    run = commands.add_parser("run", help="measure claims")
    run.add_argument("names", nargs="*", help="which; see `list`")
    run.add_argument("--all", action="store_true", help="every claim")
    run.add_argument("--fresh", action="store_true", help="forget earlier results of what is run")
    run.add_argument("--seeds", help="for example 0,1,2", default="")
    run.add_argument("--variants", help="for example 'supervised|no contrast'", default="")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    if arguments.command == "list":
        print("\n".join(harness.names()))
        return 0
    if arguments.command == "run":
        chosen = harness.names() if arguments.all else arguments.names
        unknown = set(chosen) - set(harness.names())
        if unknown or not chosen:
            parser.error(f"choose from {', '.join(harness.names())}; found {sorted(unknown)}")
        seeds = tuple(int(text) for text in arguments.seeds.split(",") if text) or None
        variants = tuple(text for text in arguments.variants.split("|") if text) or None
        for name in chosen:
            try:
                harness.run(name, seeds=seeds, variants=variants, fresh=arguments.fresh)
            except MissingData as error:
                print(f"{name} is skipped: {error}", file=sys.stderr)
    harness.retell()
    print(table.write())
    return 0


if __name__ == "__main__":
    sys.exit(main())
