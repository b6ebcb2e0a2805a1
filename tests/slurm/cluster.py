"""A real SLURM on this machine, for tests: one controller, any number of nodes, thrown away afterwards.

Every node is a namespace of its own (host name, processes, /dev/shm), in which a slurmd runs: MPI sees several hosts, and
ending the namespace is a power failure. Network and files are shared. Needs root (or what `unshare` needs) and the Debian
packages slurmctld, slurmd, slurm-client and munge. Processes are ended by the handles of those that were started here.
"""
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

NEEDED = ("munged", "slurmctld", "slurmd", "slurmstepd", "sbatch", "srun", "scontrol", "squeue", "unshare")
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
# Time a requeued job waits at least; SLURM takes 120 s instead of anything below 5.
REQUEUE_SECONDS = 5
SILENT_SECONDS = 10


def why_not():
    """The reason why no cluster can be started here, or None."""
    for name in NEEDED:
        if shutil.which(name, path=SEARCH) is None:
            return f"{name} is missing (Debian packages slurmctld slurmd slurm-client munge)"
    namespaces = ["unshare", "--uts", "--pid", "--mount", "--fork", "--mount-proc", "hostname", "probe"]
    if subprocess.run(namespaces, capture_output=True).returncode != 0:
        return "namespaces are not allowed here (run as root)"
    return None


def reserve_ports(count):
    """(first, reservation): consecutive ports that nobody listens on, below the range from which connections get theirs.
    They are this process's as long as it keeps the reservation, an abstract socket that only one can bind."""
    block = 64
    for first in range(11000 + os.getpid() % 250 * block, 30000, block):
        reservation = socket.socket(socket.AF_UNIX)
        probes = []
        try:
            reservation.bind(f"\0setrl-test-ports-{first}")
            for port in range(first, first + count):
                probes.append(socket.socket())
                probes[-1].bind(("127.0.0.1", port))
            return first, reservation
        except OSError:
            reservation.close()
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no free ports")


class Cluster:
    """partitions: {"main": [("n1", gpus), ...]}; the first partition is the default."""

    def __init__(self, partitions, cpus=4):
        self.partitions = partitions
        self.cpus = cpus
        self.gpus = {name: gpus for nodes in partitions.values() for name, gpus in nodes}
        self.folder = tempfile.mkdtemp(prefix="setrl-slurm-")
        self.processes = {}
        self.mounts = []
        self.ports = None
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "PMIX_", "OMPI_"))}
        self.environment = dict(
            clean, PATH=SEARCH, SLURM_CONF=self.path("slurm.conf"), LC_ALL="C",
            OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_pml="ob1",
            OMPI_MCA_btl="self,vader,tcp", OMPI_MCA_btl_tcp_if_include="lo", OMPI_MCA_oob_tcp_if_include="lo",
            OMPI_MCA_btl_vader_single_copy_mechanism="none",
            OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    # ------------------------------------------------------------------ start and stop

    def start(self):
        for name in ("munge", "state", "log"):
            os.makedirs(self.path(name))
        os.chmod(self.folder, 0o755)
        self._configure()
        with open(self.path("munge/key"), "wb") as key:
            key.write(os.urandom(128))
        os.chmod(self.path("munge/key"), 0o600)
        # --force: folders above may belong to others.
        self._spawn("munged", "munged", "--foreground", "--force", "--num-threads=2", f"--key-file={self.path('munge/key')}",
                    f"--socket={self.path('munge/sock')}", f"--pid-file={self.path('munge/pid')}",
                    f"--log-file={self.path('log/munged.log')}", f"--seed-file={self.path('munge/seed')}")
        self._until(lambda: os.path.exists(self.path("munge/sock")), 20, "munged")
        self._spawn("slurmctld", "slurmctld", "-D", "-f", self.path("slurm.conf"))
        self._until(lambda: "UP" in self.run("scontrol", "ping", check=False), 30, "slurmctld")
        for node in self.gpus:
            self._boot(node)
        self._until(lambda: all(self._answers(node) for node in self.gpus), 60, "the nodes")
        return self

    def stop(self):
        for node in self.gpus:
            self._end(node, signal.SIGKILL)
        self._end("slurmctld", signal.SIGTERM)
        self._end("munged", signal.SIGTERM)
        for mount in self.mounts:
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.ports:
            self.ports.close()

    def small_disk(self, megabytes):
        """A file system of this size, to be made before start(): all nodes inherit it."""
        folder = self.path("small")
        os.makedirs(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "small", folder], check=True)
        self.mounts.append(folder)
        return folder

    def fail(self, node):
        """Power failure: everything on the node dies at once."""
        self._end(node, signal.SIGKILL)

    def recover(self, node):
        """Boots it again: the controller sees an unexpected reboot and requeues the node's jobs."""
        time.sleep(1.5)  # a boot in the second of the last contact would pass unnoticed
        self._boot(node)
        # "Unexpectedly rebooted": SLURM takes the node out until somebody has looked at it.
        self._until(lambda: "State=DOWN" in self.run("scontrol", "-o", "show", "node", node, check=False), 20, f"the end of {node}")
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    # ------------------------------------------------------------------ use

    def run(self, *command, check=True, **variables):
        result = subprocess.run(command, env=dict(self.environment, **variables), capture_output=True, text=True, timeout=120)
        if check and result.returncode != 0:
            raise RuntimeError(f"{command} -> {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout + result.stderr

    def submit(self, *arguments, **variables):
        out = self.run("sbatch", "--parsable", "--export=ALL", *arguments, **variables)
        return out.strip().splitlines()[-1].split(";")[0]

    def field(self, job, name):
        """Of `scontrol show job`; of the first task or component where there are several."""
        for word in self.run("scontrol", "-o", "show", "job", job, check=False).split():
            if word.startswith(name + "="):
                return word.split("=", 1)[1]
        return ""

    def wait(self, job, *states, seconds=120):
        """Until the job is in one of these states; all tasks of an array."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            text = self.run("scontrol", "-o", "show", "job", job, check=False)
            seen = {word.split("=", 1)[1] for word in text.split() if word.startswith("JobState=")}
            if seen and seen <= set(states):
                return
            time.sleep(0.2)
        raise AssertionError(f"job {job} did not become {states}: {self.run('scontrol', 'show', 'job', job, check=False)}"
                             f"\n{self.run('sinfo', '-N', '-l', check=False)}")

    # ------------------------------------------------------------------ inside

    def _configure(self):
        first, self.ports = reserve_ports(len(self.gpus) + 1)
        user = getpass.getuser()
        lines = [
            "ClusterName=setrl", f"SlurmctldHost={socket.gethostname().split('.')[0]}(127.0.0.1)", f"SlurmctldPort={first}",
            f"SlurmUser={user}", f"SlurmdUser={user}", "AuthType=auth/munge", "CredType=cred/munge",
            f"AuthInfo=socket={self.path('munge/sock')},cred_expire={REQUEUE_SECONDS}",
            f"StateSaveLocation={self.path('state')}", f"SlurmctldPidFile={self.path('slurmctld.pid')}",
            f"SlurmctldLogFile={self.path('log/slurmctld.log')}", f"SlurmdSpoolDir={self.path('spool-%n')}",
            f"SlurmdPidFile={self.path('slurmd-%n.pid')}", f"SlurmdLogFile={self.path('log/slurmd-%n.log')}",
            # PMIx makes a folder of the step's name in it, once a node.
            f"TmpFS={self.path('tmp-%n')}",
            "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherType=jobacct_gather/none",
            "SlurmdParameters=config_overrides", "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "GresTypes=gpu",
            "MpiDefault=pmix", "AccountingStorageType=accounting_storage/none", "JobCompType=jobcomp/none", "MinJobAge=3600",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1,sched_min_interval=100000",
            f"SlurmdTimeout={SILENT_SECONDS}", "SlurmctldTimeout=30", "MessageTimeout=15", "KillWait=5", "InactiveLimit=0",
            "JobRequeue=1", "ReturnToService=1", "MailProg=/bin/true"]
        for i, (node, gpus) in enumerate(self.gpus.items()):
            gres = f" Gres=gpu:{gpus}" if gpus else ""
            lines.append(f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={first + 1 + i} CPUs={self.cpus} Boards=1 "
                         f"SocketsPerBoard=1 CoresPerSocket={self.cpus} ThreadsPerCore=1 RealMemory=2000000 State=UNKNOWN{gres}")
        for i, (name, nodes) in enumerate(self.partitions.items()):
            lines.append(f"PartitionName={name} Nodes={','.join(node for node, _ in nodes)} Default={'YES' if i == 0 else 'NO'} "
                         "MaxTime=INFINITE State=UP")
        with open(self.path("slurm.conf"), "w") as file:
            file.write("\n".join(lines) + "\n")
        with open(self.path("gres.conf"), "w") as file:
            most = max(self.gpus.values())
            for i in range(most):
                self._device(i)
            for node, gpus in self.gpus.items():
                if gpus:
                    file.write(f"NodeName={node} Name=gpu File={self.path('gpu')}[0-{gpus - 1}]\n")

    def _device(self, number):
        # A null device stands for a GPU.
        os.mknod(self.path(f"gpu{number}"), 0o600 | 0o020000, os.makedev(1, 3))

    def _boot(self, node):
        for name in ("spool", "tmp"):
            shutil.rmtree(self.path(f"{name}-{node}"), ignore_errors=True)
            os.makedirs(self.path(f"{name}-{node}"))
        os.chmod(self.path(f"tmp-{node}"), 0o1777)
        # The shell stays as the namespace's first process and reaps orphans; -b: slurmd's start counts as the boot.
        script = 'hostname "$1" && mount -t tmpfs -o mode=1777 shm /dev/shm || exit 1; slurmd -D -b -N "$1" -f "$2" & wait'
        self._spawn(node, "unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script,
                    "node", node, self.path("slurm.conf"))

    def _answers(self, node):
        text = self.run("scontrol", "-o", "show", "node", node, check=False)
        state = [word for word in text.split() if word.startswith("State=")]
        return bool(state) and state[0].startswith(("State=IDLE", "State=MIXED", "State=ALLOC")) and "*" not in state[0] and (
            "NOT_RESPONDING" not in state[0])

    def _spawn(self, name, *command):
        with open(self.path("log", name + ".out"), "a") as log:
            self.processes[name] = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    start_new_session=True)

    def _end(self, name, number):
        process = self.processes.pop(name, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _until(self, condition, seconds, what):
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                logs = ""
                for name in sorted(os.listdir(self.path("log"))):
                    with open(self.path("log", name), errors="replace") as log:
                        logs += f"--- {name}\n{log.read()[-1500:]}\n"
                self.stop()
                raise RuntimeError(f"{what} did not come up\n{logs}")
            time.sleep(0.1)
