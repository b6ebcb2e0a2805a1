"""Every shell script of the project: `bash -n`, and shellcheck without a word. Exit code 77: shellcheck is missing."""
import glob
import os
import shutil
import subprocess
import sys

root = sys.argv[1]
scripts = sorted(path for folder in ("launch", "slurm", "tools", "tests/*") for path in glob.glob(os.path.join(root, folder, "*.sh")))
if len(scripts) < 10:
    sys.exit(f"only {len(scripts)} scripts under {root}: is this the project's folder?")
failed = [path for path in scripts if subprocess.run(["bash", "-n", path]).returncode != 0]
failed += [path for path in scripts if not path.endswith(("common.sh", "run_checks.sh")) and not os.access(path, os.X_OK)]
if failed:
    sys.exit("bash -n fails, or not executable: " + " ".join(failed))
if shutil.which("shellcheck") is None:
    print("SKIPPED: shellcheck is missing (Debian package shellcheck)")
    sys.exit(77)
sys.exit(subprocess.run(["shellcheck", *scripts], cwd=root).returncode)
