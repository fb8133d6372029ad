#!/usr/bin/env python3
"""Checks every dependency against deny.toml (licences, banned crates, sources), against the compiler that `rust-version`
promises, and for use: a crate that no source of its package names is not needed. Works offline, from Cargo.lock."""
import json, re, subprocess, sys, tomllib
from pathlib import Path

with open("deny.toml", "rb") as file:
    rules = tomllib.load(file)
allowed = set(rules["licenses"]["allow"])
banned = {rule["crate"]: rule["reason"] for rule in rules["bans"]["deny"]}
metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
packages = metadata["packages"]
members = [package for package in packages if package["source"] is None]


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


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


def unused(member):
    """The dependencies that no file of the package names. What generated code alone needs is named in `Cargo.toml`."""
    folder = Path(member["manifest_path"]).parent
    text = "\n".join(path.read_text() for path in folder.rglob("*.rs") if "target" not in path.parts)
    spared = ((member["metadata"] or {}).get("unused") or {}).get("ignored", [])
    for dependency in member["dependencies"]:
        name = (dependency["rename"] or dependency["name"]).replace("-", "_")
        if dependency["name"] not in spared and not re.search(rf"\b{name}\b", text):
            yield dependency["name"]


faults = []
promised = min(version(member["rust_version"]) for member in members)
for package in packages:
    name = f"{package['name']} {package['version']}"
    if package["name"] in banned:
        faults.append(f"{name} is banned: {banned[package['name']]}")
    if package["source"] is not None and not package["source"].startswith("registry+"):
        faults.append(f"{name} comes from {package['source']}, which is no registry")
    if not acceptable(package["license"] or "none"):
        faults.append(f"{name} has the licence {package['license']}, which deny.toml does not allow")
    if version(package["rust_version"] or "1.0") > promised:
        faults.append(f"{name} needs Rust {package['rust_version']}, newer than the promised rust-version")
registries = {package["source"] for package in packages} - {None}
if len(registries) > 1:
    faults.append(f"packages come from more than one registry: {', '.join(sorted(registries))}")
for member in members:
    faults += [f"{member['name']} does not use {name}: take it out of its Cargo.toml" for name in unused(member)]
print("\n".join(faults) or f"{len(packages)} packages: licences, bans, sources, compiler and use are fine")
sys.exit(bool(faults))
