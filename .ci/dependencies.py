#!/usr/bin/env python3
"""Checks every dependency against deny.toml: licences, banned crates, sources. Works offline, from Cargo.lock's packages."""
import json, re, subprocess, sys, tomllib

with open("deny.toml", "rb") as file:
    rules = tomllib.load(file)
allowed = set(rules["licenses"]["allow"])
banned = {rule["crate"]: rule["reason"] for rule in rules["bans"]["deny"]}
packages = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))["packages"]


def acceptable(expression):
    """Whether an SPDX expression can be satisfied with the allowed licences (OR: one side; AND: both)."""
    expression = expression.replace("/", " OR ")
    words = re.findall(r"\(|\)|\bOR\b|\bAND\b|[A-Za-z0-9.+-]+(?: WITH [A-Za-z0-9.+-]+)?", expression)

    def either():
        good = both()
        while words and words[0] == "OR":
            words.pop(0)
            good = both() or good
        return good

    def both():
        good = one()
        while words and words[0] == "AND":
            words.pop(0)
            good = one() and good
        return good

    def one():
        word = words.pop(0)
        if word == "(":
            good = either()
            words.pop(0)
            return good
        return word in allowed

    return either()


faults = []
for package in packages:
    name = f"{package['name']} {package['version']}"
    source = package["source"]
    if package["name"] in banned:
        faults.append(f"{name} is banned: {banned[package['name']]}")
    if source is not None and not source.startswith("registry+https://github.com/rust-lang/crates.io-index"):
        faults.append(f"{name} comes from {source}")
    if not acceptable(package["license"] or "none"):
        faults.append(f"{name} has the licence {package['license']}, which deny.toml does not allow")
print("\n".join(faults) or f"{len(packages)} packages: licences, bans and sources are fine")
sys.exit(bool(faults))
