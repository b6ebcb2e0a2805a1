"""setrl bench sync as a user runs it: what it prints must agree with itself. Arguments: setrl, mpiexec, ON where the build
is for GPUs."""
import json
import subprocess
import sys

SETRL, MPIEXEC, CUDA = sys.argv[1:4]
MODEL = ["--model.path=random", "--model.random_hidden=64", "--model.random_layers=3", "--model.dtype=float32", "--run.threads=1"]


def run(ranks, *options):
    launcher = [MPIEXEC, "-n", str(ranks), "--bind-to", "none"] if ranks > 1 else []
    return subprocess.run(launcher + [SETRL, "bench", "sync", *MODEL, *options], capture_output=True, text=True, timeout=100)


def bench(ranks, *options):
    done = run(ranks, *options)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


for ranks, learners, parts, replicas in [(1, 1, 1, 1), (3, 1, 1, 2), (4, 2, 2, 1)]:
    line = bench(ranks, f"--bench.learners={learners}", f"--bench.tensor_parallel={parts}")
    assert line["learners"] == learners and line["replicas"] == replicas and line["tensor_parallel"] == parts, line
    whole = 4 * line["parameters"] * replicas
    # Norms are held by all parts.
    assert whole <= line["bytes"] <= 1.02 * whole and (parts > 1 or line["bytes"] == whole), (whole, line)
    assert line["staging_bytes"] == line["planned_staging_bytes"] > 0, line
    assert line["seconds"] > 0 and line["fraction_of_limit"] > 0 and line["link_gb_per_s"] > 0, line

done = run(3, "--bench.learners=3", "--run.deadline_s=20")
assert done.returncode == 2 and "leave 0 of 3 ranks to receive" in done.stderr, (done.returncode, done.stderr)
done = run(4, "--bench.learners=1", "--bench.tensor_parallel=3", "--run.deadline_s=20")
assert done.returncode == 2 and "does not divide by 3" in done.stderr, (done.returncode, done.stderr)
if CUDA != "ON":
    done = run(1, "--bench.device=cuda")
    assert done.returncode == 2 and "no GPU back end" in done.stderr, (done.returncode, done.stderr)
print("ok")
