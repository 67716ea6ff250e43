"""Compares a tour with what was recorded against Crossbar, or makes the recording.

    python compare.py record EXPECTED.json --router "crossbar 26.10.1" < tour.jsonl
    python compare.py check EXPECTED.json differences.md --client NAME < tour.jsonl

Checking fails on every observation that differs from the recording without a row in differences.md, and on rows that
are out of date. `--write` prints the rows that are missing, with an empty verdict, for a person to judge.
"""

import argparse
import datetime
import json
import re
import sys

VERDICTS = ("ours", "crossbar", "both", "not yet")


def text(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def read_tour(lines):
    """The client with its version, and the observations by (stop, codec)."""
    client, seen = "", {}
    for line in lines:
        it = json.loads(line)
        if "client" in it:
            client = it["client"]
        else:
            seen[it["stop"], it["codec"]] = it
    return client, seen


def record(options):
    client, seen = read_tour(sys.stdin)
    stops = {}
    for (stop, codec), it in seen.items():
        one = stops.setdefault(stop, {"stop": stop, "feature": it["feature"], "saw": {}})
        one["saw"].setdefault(text(it["saw"]), []).append(codec)
    head = {"client": client, "router": options.router, "recorded": datetime.date.today().isoformat()}
    lines = [json.dumps(head)]
    for one in stops.values():
        for saw, codecs in one["saw"].items():
            line = {"stop": one["stop"], "feature": one["feature"], "codecs": codecs, "saw": json.loads(saw)}
            lines.append(json.dumps(line, ensure_ascii=False))
    with open(options.expected, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return 0


def expected_of(path):
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return lines[0], {(it["stop"], codec): it["saw"] for it in lines[1:] for codec in it["codecs"]}


def rows_of(path, client):
    """The rows of the table for one client: (stop, codec) to what ours does, and who follows the specification."""
    rows = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            # clients, stop, codecs, ours, follows the specification, why
            if len(cells) != 6 or client not in cells[0].split(", "):
                continue
            codecs = ("json", "msgpack", "cbor") if cells[2] == "all" else cells[2].replace(" ", "").split(",")
            ours = cells[3].strip("`").replace("\\|", "|")
            if cells[4] not in VERDICTS:
                sys.exit(f"differences.md: the verdict of {cells[1]} is '{cells[4]}', not one of {VERDICTS}")
            rows.update({(cells[1], codec): (ours, cells[4]) for codec in codecs})
    return rows


def check(options):
    client, seen = read_tour(sys.stdin)
    head, expected = expected_of(options.expected)
    rows = rows_of(options.differences, options.client)
    passed, bad, notes, missing = 0, [], [], {}
    if client != head["client"]:
        bad.append(f"the recording is of {head['client']}, this is {client}: record it again")
    for key, it in seen.items():
        saw, name = text(it["saw"]), f"{key[0]} ({key[1]})"
        same = key in expected and text(expected[key]) == saw
        row = rows.get(key)
        if same and row and row[1] == "not yet":
            notes.append(f"{name}: works now; please take its row out of differences.md")
        elif same and row:
            bad.append(f"{name}: equals the recording, but differences.md has a row for it")
            continue
        elif not same and row is None:
            bad.append(f"{name}: new difference\n    recorded {text(expected.get(key))}\n    ours     {saw}")
            missing.setdefault((key[0], saw), []).append(key[1])
            continue
        elif not same and row[0] != saw:
            bad.append(f"{name}: differs otherwise than its row says\n    row  {row[0]}\n    ours {saw}")
            missing.setdefault((key[0], saw), []).append(key[1])
            continue
        passed += 1
    for key in expected:
        if key not in seen:
            bad.append(f"{key[0]} ({key[1]}): recorded, but not toured")
    if options.write:
        for (stop, saw), codecs in missing.items():
            what = "all" if len(codecs) == 3 else ", ".join(codecs)
            print(f"| {options.client} | {stop} | {what} | `{saw}` |  |  |")
    for line in notes:
        print(f"note: {line}")
    for line in bad:
        print(f"FAILED {line}")
    print(f"{client} against our router; recorded against {head['router']} on {head['recorded']}")
    print(f"test result: {'FAILED' if bad else 'ok'}. {passed} passed; {len(bad)} failed; 0 ignored; interop {options.client}")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(required=True)
    recording = actions.add_parser("record")
    recording.add_argument("expected")
    recording.add_argument("--router", required=True)
    recording.set_defaults(run=record)
    checking = actions.add_parser("check")
    checking.add_argument("expected")
    checking.add_argument("differences")
    checking.add_argument("--client", required=True)
    checking.add_argument("--write", action="store_true")
    checking.set_defaults(run=check)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
