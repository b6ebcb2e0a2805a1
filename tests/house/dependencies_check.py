"""Compares what each module includes with what its CMakeLists.txt allows.

Usage: dependencies_check.py SRC. Prints one line a violation and exits with 1 where there is any. Prints the modules
that are allowed but not used, as information.

Rules:
- a file includes only headers of its own module, of base, and of the modules in `setrl_module(... USES ...)`;
- USES names only modules that come earlier in SRC/CMakeLists.txt, and never a sibling (SIBLINGS);
- project headers are written "module/file.h", and exist;
- some external headers belong to one module (OWNERS), LibTorch's to the modules marked TORCH.
"""

import os
import re
import sys

SIBLINGS = [("rollout", "learn"), ("verify", "model"), ("store", "learn")]

# (pattern of an external header, modules that may include it, what it is)
OWNERS = [
    (re.compile(r"(mpi|mpi-ext|nccl)\.h$"), {"comm"}, "MPI and NCCL"),
    (re.compile(r"boost/"), {"config"}, "Boost"),
    (re.compile(r"(hdf5(_hl)?|H5\w*)\.h$"), {"store"}, "HDF5"),
]
TORCH = re.compile(r"(torch|ATen|c10)/")
# The precompiled header of the modules marked TORCH lives in base, which itself does not use it.
TORCH_FILES = {"base/torch_pch.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
KEYWORDS = {"TORCH", "USES", "LINK"}


def strip_comments(cmake_text):
    return re.sub(r"#[^\n]*", "", cmake_text)


def read_module(path):
    """(uses, torch) of a module's CMakeLists.txt, or None where it makes no module."""
    with open(path, encoding="utf-8") as file:
        call = re.search(r"setrl_module\(([^)]*)\)", strip_comments(file.read()))
    if not call:
        return None
    uses, torch, keyword = [], False, None
    for word in call.group(1).split()[1:]:
        if word in KEYWORDS:
            keyword = word
            torch = torch or word == "TORCH"
        elif keyword == "USES":
            uses.append(word)
    return uses, torch


def module_order(src):
    """Modules in the order in which SRC/CMakeLists.txt adds them."""
    with open(os.path.join(src, "CMakeLists.txt"), encoding="utf-8") as file:
        loop = re.search(r"foreach\(\s*module\s+([^)]*)\)", strip_comments(file.read()))
    return loop.group(1).split() if loop else []


def source_files(folder):
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith((".h", ".cpp", ".inc", ".cu")):
                yield os.path.join(root, name)


def includes(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            found = INCLUDE.match(line)
            if found:
                yield number, found.group(1), found.group(2)


def check_file(src, path, module, allowed, torch, used):
    """Violations of one file. `module` is None for files that belong to the program, not to a module."""
    shown = os.path.relpath(path, src)
    for number, quote, header in includes(path):
        where = f"{shown}:{number}"
        if quote == '"':
            if not os.path.isfile(os.path.join(src, header)):
                yield f'{where}: "{header}" is no file below src; project headers are written "module/file.h"'
                continue
            other = header.split("/")[0]
            used.add(other)
            if module is not None and other not in allowed:
                yield f"{where}: {module} includes {header}, but {other} is not in its USES"
            continue
        for pattern, owners, what in OWNERS:
            if pattern.match(header) and module not in owners:
                yield f"{where}: <{header}>: {what} may be included in {', '.join(sorted(owners))} only"
        if TORCH.match(header) and not torch and shown not in TORCH_FILES:
            yield f"{where}: <{header}>: {module or 'the program'} is not marked TORCH"


def check(src):
    """(violations, notes)"""
    violations, notes = [], []
    order = module_order(src)
    for name in sorted(os.listdir(src)):
        path = os.path.join(src, name)
        if os.path.isdir(path) and name not in order:
            violations.append(f"{name}: a folder that src/CMakeLists.txt does not add")
        elif os.path.isfile(path) and name.endswith((".h", ".cpp")):
            violations += check_file(src, path, None, set(), False, set())
    for place, module in enumerate(order):
        folder = os.path.join(src, module)
        read = read_module(os.path.join(folder, "CMakeLists.txt"))
        if read is None:
            violations.append(f"{module}/CMakeLists.txt: no setrl_module(...)")
            continue
        uses, torch = read
        for other in uses:
            if other not in order[:place]:
                violations.append(f"{module}/CMakeLists.txt: USES {other}, which is no earlier module")
            if (module, other) in SIBLINGS or (other, module) in SIBLINGS:
                violations.append(f"{module}/CMakeLists.txt: USES {other}, its sibling")
        used = set()
        for path in source_files(folder):
            violations += check_file(src, path, module, {module, "base", *uses}, torch, used)
        unused = [other for other in uses if other not in used]
        if unused:
            notes.append(f"{module}: allowed but not used: {', '.join(unused)}")
    return violations, notes


def main():
    violations, notes = check(sys.argv[1])
    print("\n".join(notes))
    for violation in violations:
        print("violation: " + violation)
    print(f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
