"""Shows that dependencies_check.py finds every kind of violation, and none in a clean tree."""

import os
import subprocess
import sys
import tempfile

CLEAN = {
    "CMakeLists.txt": "# a comment (with brackets)\nforeach(module base comm config model learn store)\n"
                      "  add_subdirectory(${module})\nendforeach()\n",
    "main.cpp": '#include "learn/learner.h"\n#include <cstdio>\n',
    "base/CMakeLists.txt": "setrl_module(base LINK spdlog::spdlog)\n",
    "base/error.h": "#include <string>\n",
    "base/torch_pch.h": "#include <ATen/ATen.h>\n",
    "comm/CMakeLists.txt": "setrl_module(comm LINK MPI::MPI_CXX)\n",
    "comm/world.h": '#include "base/error.h"\n',
    "comm/world.cpp": '#include "comm/world.h"\n#include <mpi.h>\n',
    "config/CMakeLists.txt": "setrl_module(config LINK Boost::program_options)\n",
    "config/options.h": "#include <string>\n",
    "config/options.cpp": '#include "config/options.h"\n#include <boost/program_options.hpp>\n',
    "model/CMakeLists.txt": "setrl_module(model TORCH USES config comm)\n",
    "model/spec.h": '#include "config/options.h"\n#include <ATen/ATen.h>\n',
    "learn/CMakeLists.txt": "# learns\nsetrl_module(learn TORCH\n  USES config # options\n       model comm\n  LINK x)\n",
    "learn/learner.h": '#include "model/spec.h"\n  #  include "comm/world.h"\n#include "config/options.h"\n',
    "store/CMakeLists.txt": "setrl_module(store USES comm LINK hdf5::hdf5)\n",
    "store/file.cpp": '#include "comm/world.h"\n#include <hdf5.h>\n#include <H5Tpublic.h>\n// #include <mpi.h>\n',
}

# name -> (changed files, text that must be reported)
VIOLATIONS = {
    "include that is not allowed": ({"comm/extra.cpp": '#include "config/options.h"\n'},
                                    "comm/extra.cpp:1: comm includes config/options.h, but config is not in its USES"),
    "use of a later module": ({"comm/CMakeLists.txt": "setrl_module(comm USES model)\n"},
                              "comm/CMakeLists.txt: USES model, which is no earlier module"),
    "sibling": ({"store/CMakeLists.txt": "setrl_module(store USES comm learn)\n"},
                "store/CMakeLists.txt: USES learn, its sibling"),
    "header that is nowhere": ({"learn/a.cpp": '\n#include "learner.h"\n'}, 'learn/a.cpp:2: "learner.h" is no file'),
    "mpi.h outside of comm": ({"learn/a.h": "#include <mpi.h>\n"}, "learn/a.h:1: <mpi.h>: MPI and NCCL"),
    "mpi.h in main": ({"main.cpp": "#include <mpi.h>\n"}, "main.cpp:1: <mpi.h>: MPI and NCCL"),
    "nccl.h outside of comm": ({"model/a.cpp": "#include <nccl.h>\n"}, "model/a.cpp:1: <nccl.h>"),
    "boost outside of config": ({"comm/a.cpp": "#include <boost/any.hpp>\n"}, "comm/a.cpp:1: <boost/any.hpp>: Boost"),
    "hdf5.h outside of store": ({"comm/a.cpp": "#include <hdf5.h>\n"}, "comm/a.cpp:1: <hdf5.h>: HDF5"),
    "torch in a plain module": ({"store/a.cpp": "#include <torch/types.h>\n"},
                                "store/a.cpp:1: <torch/types.h>: store is not marked TORCH"),
    "ATen in base": ({"base/b.cpp": "#include <ATen/ATen.h>\n"}, "base/b.cpp:1: <ATen/ATen.h>: base is not marked TORCH"),
    "folder that is not built": ({"lost/a.h": ""}, "lost: a folder that src/CMakeLists.txt does not add"),
    "module without a target": ({"comm/CMakeLists.txt": "add_library(comm)\n"}, "comm/CMakeLists.txt: no setrl_module"),
}


def run(changes):
    checker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dependencies_check.py")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**CLEAN, **changes}.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return subprocess.run([sys.executable, checker, folder], capture_output=True, text=True, check=False)


def main():
    problems = []
    clean = run({})
    if clean.returncode != 0 or "model: allowed but not used: comm" not in clean.stdout:
        problems.append("a clean tree: " + clean.stdout + clean.stderr)
    for name, (changes, expected) in VIOLATIONS.items():
        done = run(changes)
        if done.returncode != 1 or "violation: " + expected not in done.stdout:
            problems.append(f"{name}: exit code {done.returncode}, {done.stdout}{done.stderr}")
    print("\n".join(problems) or f"{len(VIOLATIONS)} kinds of violations found, none in a clean tree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
