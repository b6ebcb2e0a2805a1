"""A model whose weights, gradients and optimizer do not fit one rank's limit (ulimit -d) trains on four ranks, and one rank
says clearly what is missing."""
import os
import resource
import subprocess
import sys
import time

SETRL, MPIEXEC = sys.argv[1:3]
MODEL = ["--model.path=random", "--model.dtype=float32", "--model.random_hidden=640", "--model.random_layers=8"]
WORK = ["--bench.prompts=4", "--bench.group=2", "--bench.prompt=4", "--bench.new=4", "--run.threads=1",
        "--learn.activation_checkpointing=block"]
# Per block 640 * 640 * 3 (attention, half as many key heads) + 3 * 640 * 1920; embedding 1024 * 640; 16 bytes each.
STATE = 16 * (8 * 640 * 640 * (3 + 9) + 1024 * 640)


def command(model, ranks):
    launcher = [MPIEXEC, "--quiet", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
    return launcher + [SETRL, "bench", "learn", *model, *WORK]


def data_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)
    except OSError:
        return 0


def needed_by_the_program():
    """Private memory of the program with a model of almost nothing."""
    process = subprocess.Popen(command(["--model.path=random", "--model.dtype=float32", "--model.random_hidden=32",
                                        "--model.random_layers=1"], 1), stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, data_bytes(process.pid))
        time.sleep(0.01)
    assert process.returncode == 0, process.returncode
    return most


def run(ranks, limit):
    return subprocess.run(command(MODEL, ranks), text=True, capture_output=True, timeout=200,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))


base = needed_by_the_program()
limit = base + int(0.75 * STATE)
print(f"program {base / 1e6:.0f} MB, state {STATE / 1e6:.0f} MB, limit {limit / 1e6:.0f} MB a process")
one = run(1, limit)
assert one.returncode == 2 and "not enough memory for the learner" in one.stderr, (one.returncode, one.stdout, one.stderr)
assert "topology.learner" in one.stderr, one.stderr
four = run(4, limit)
assert four.returncode == 0, (four.returncode, four.stdout, four.stderr)
assert '"ranks":4' in four.stdout, four.stdout
print(one.stderr.strip())
print(four.stdout.strip())
