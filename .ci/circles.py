#!/usr/bin/env python3
"""Finds circles of source files: files of one crate that need each other in a loop. Prints each circle with the names
that tie it and exits with 1 if there is one.

A file needs another where it names something that the other defines, in a `use` or in a path such as `crate::a::f()`.
A name that a module only hands on (`pub use`) counts for the file that defines it. Tests do not count."""
import argparse, re, sys
from pathlib import Path

DEFINITION = re.compile(
    r"^(?:pub(?:\([^)]*\))?\s+)?(?:(?:default|const|async|unsafe|extern(?:\s+\"C\")?)\s+)*"
    r"(?:fn|struct|enum|trait|const|static|type|union|macro_rules!)\s+(\w+)", re.M)
# A `use`, up to its semicolon; `pub` tells whether the name is handed on.
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.M)
PATH = re.compile(r"(?<![\w:])((?:crate|super|self|\w+)(?:::\w+)+)")


def code_of(path):
    """The text without comments, strings and test modules."""
    text = path.read_text()
    text = re.sub(r'//[^\n]*|/\*.*?\*/|b?r#*".*?"#*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', "", text, flags=re.S)
    while found := re.search(r"#\[cfg\((?:all\()?test\b.*?\]\s*(?:pub\s+)?(mod|use|fn)\s+[^;{]*([;{])", text):
        end = found.end()
        if found[2] == "{":
            depth = 1
            while depth and end < len(text):
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
        text = text[: found.start()] + text[end:]
    return text


def use_tree(text, prefix=()):
    """Every path in the tree of a `use`, with the name under which it is known here."""
    text = text.strip()
    head, brace, rest = text.partition("{")
    parts = tuple(part.strip() for part in head.split("::") if part.strip())
    if not brace:
        words = parts[-1].split(" as ") if parts else [""]
        path = prefix + parts[:-1] + (() if words[0].strip() == "self" else (words[0].strip(),))
        yield path, words[-1].strip() if words[-1].strip() != "self" else path[-1]
        return
    depth, item = 0, ""
    for letter in rest[: rest.rindex("}")] + ",":
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if item.strip():
                yield from use_tree(item, prefix + parts)
            item = ""
        else:
            item += letter


class Crate:
    def __init__(self, source):
        self.files, self.defined, self.known, self.code = {}, {}, {}, {}
        for path in sorted(source.rglob("*.rs")):
            parts = path.relative_to(source).with_suffix("").parts
            module = parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts
            if parts[-1] in ("main", "tests", "robust") or parts[-1].endswith("_tests") or "tests" in parts:
                continue
            self.files[module] = path
            self.code[module] = code = code_of(path)
            self.defined[module] = set(DEFINITION.findall(code))
            uses = [(p, name) for found in USE.finditer(code) for p, name in use_tree(found[2])]
            self.known[module] = {name: p for p, name in uses}

    def resolve(self, module, path, seen=frozenset()):
        """The module whose file defines what a path names from within a module, and the name; None for other crates."""
        if not path or (module, path[0]) in seen:
            return None
        seen = seen | {(module, path[0])}
        first, rest = path[0], path[1:]
        if first == "crate":
            return self.within((), rest, seen)
        if first == "self":
            return self.within(module, rest, seen)
        if first == "super":
            return self.within(module[:-1], rest, seen) if module else None
        return self.within(module, path, seen)

    def within(self, module, path, seen):
        if not path or module not in self.files:
            return None
        name, rest = path[0], path[1:]
        if name == "super":
            return self.within(module[:-1], rest, seen)
        if rest and module + (name,) in self.files:
            return self.within(module + (name,), rest, seen)
        if name in self.defined[module]:
            return module, name
        if name in self.known[module]:
            return self.resolve(module, self.known[module][name] + rest, seen)
        return None

    def arrows(self):
        """For each module the modules that it needs, with the names."""
        needs = {module: {} for module in self.files}
        for module, code in self.code.items():
            paths = {p for found in USE.finditer(code) if not found[1] for p, _ in use_tree(found[2])}
            paths |= {tuple(text.split("::")) for text in PATH.findall(USE.sub("", code))}
            for path in paths:
                target = self.resolve(module, path)
                if target and target[0] != module:
                    needs[module].setdefault(target[0], set()).add(target[1])
        return needs


def circles(needs):
    """The strongly connected components of more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(module):
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(needs[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            circle = []
            while not circle or circle[-1] != module:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in sorted(needs):
        if module not in index:
            visit(module)
    return found


parser = argparse.ArgumentParser(description="Finds circles of source files.")
parser.add_argument("crates", nargs="*", help="folders of crates; all of the workspace if none is named")
asked = parser.parse_args()
sys.setrecursionlimit(10_000)
count = 0
for name in asked.crates or sorted(str(path.parent) for path in Path(".").glob("*/Cargo.toml")):
    crate = Crate(Path(name) / "src")
    needs = crate.arrows()
    for circle in circles(needs):
        count += 1
        print(f"circle of {len(circle)} files in {name}:")
        for module in circle:
            for other in sorted(set(needs[module]) & set(circle)):
                names = ", ".join(sorted(needs[module][other])[:6])
                print(f"  {crate.files[module]} -> {crate.files[other]}: {names}")
print(f"{count} circles of files")
sys.exit(count > 0)
