#!/usr/bin/env python3
"""Fills in the protobuf numbers that `types.txt` lacks, and checks those that it has.

    ./numbers.py FOLDER...

Each FOLDER holds `generated.proto` files as upstream keeps them (`k8s.io/api`, `k8s.io/apimachinery`,
`k8s.io/apiextensions-apiserver`). `generate.py` knows only what the crate k8s-pb knows, which may be older than the schemas:
fields that it does not know get the number 0, and would be dropped from protobuf bodies. `kind` and `apiVersion` keep 0:
in protobuf they stand in the envelope.
"""
import os, re, sys


def messages(folders):
    """{schema-like suffix `api.core.v1.Pod`: {field: (number, type)}}"""
    out = {}
    for folder in folders:
        for path, _, files in os.walk(folder):
            if "generated.proto" not in files:
                continue
            text = open(os.path.join(path, "generated.proto")).read()
            text = re.sub(r"//.*", "", text)
            package = re.search(r"^package ([\w.]+);", text, re.M)[1].removeprefix("k8s.io.").replace("_", "-")
            for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.S | re.M):
                rows = re.findall(r"(?:optional|repeated|map<[^>]*>)?\s*([.\w]*)\s+(\w+) = (\d+)", body)
                out[f"{package}.{name}"] = {field: (int(number), of) for of, field, number in rows}
    return out


def main():
    known = messages(sys.argv[1:])
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "types.txt")
    lines, wrong, lacking = [], [], []
    for line in open(here).read().splitlines():
        name, _, rest = line.partition(" ")
        fields = known.get(name.removeprefix("io.k8s."))
        # Inside braces stand the fields of embedded structs, each numbered by its own message.
        package = name.removeprefix("io.k8s.").rsplit(".", 1)[0]
        inside, words = [fields], []
        for word in rest.split(" "):
            pieces = word.split("{")
            for at, piece in enumerate(pieces):
                field, number, tail = re.match(r"([^=]+)=(\d+)(.*)", piece).groups()
                own = inside[-1]
                row = None if own is None else own.get(field) or own.get(field[0].lower() + field[1:])
                if row and int(number) not in (0, row[0]):
                    wrong.append(f"{name}.{field}: {number} here, {row[0]} upstream")
                if row and number == "0":
                    piece = f"{field}={row[0]}{tail}"
                elif number == "0" and field not in ("kind", "apiVersion"):
                    lacking.append(f"{name}.{field}")
                pieces[at] = piece
                if at + 1 < len(pieces):
                    inside.append(known.get(f"{package}.{field}"))
            words.append("{".join(pieces))
            for _ in range(word.count("}")):
                inside.pop()
        lines.append(f"{name} {' '.join(words)}")
    open(here, "w").write("\n".join(lines) + "\n")
    print("\n".join([f"wrong: {text}" for text in wrong] + [f"still without a number: {text}" for text in lacking]))


main()
