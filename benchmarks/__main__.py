"""``python -m benchmarks [SECTION…] [--rounds 3]``: measure, and write the tables into README.md.

Sections: accuracy, busy, tls, capacity, variants, endurance, peers, live; none means all.
``table`` writes the tables from results.json without measuring.
"""

import argparse

from . import accuracy, live, peers, table

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


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, "table", []], metavar="SECTION")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for section in arguments.sections or SECTIONS:
        if section in SECTIONS:
            SECTIONS[section](arguments.rounds)
    table.write()


if __name__ == "__main__":
    main()
