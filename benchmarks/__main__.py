"""``python -m benchmarks [SECTION…] [--rounds 3]``: measure, and write the tables into README.md.

Sections: accuracy, busy, tls, capacity, variants, endurance, peers, live, coverage, economy; none
means all. ``table`` writes the tables from results.json without measuring. ``--seed`` draws other
simulated runs in coverage and economy.
"""

import argparse

from . import accuracy, coverage, live, peers, table

SECTIONS = {
    "accuracy": accuracy.accuracy,
    "busy": accuracy.busy,
    "tls": accuracy.tls,
    "capacity": accuracy.capacity,
    "variants": accuracy.variants,
    "endurance": accuracy.endurance,
    "peers": peers.peers,
    "live": live.live,
}
SIMULATED = {"coverage": coverage.coverage, "economy": coverage.economy}
"""Sections in virtual time: they take a seed, and no rounds."""


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, *SIMULATED, "table", []], metavar="SECTION"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for section in arguments.sections or [*SECTIONS, *SIMULATED]:
        if section in SECTIONS:
            SECTIONS[section](arguments.rounds)
        elif section in SIMULATED:
            SIMULATED[section](arguments.seed)
    table.write()


if __name__ == "__main__":
    main()
