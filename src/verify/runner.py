"""Runs untrusted programs, one after the other, each in a forked process of its own. Started inside the sandbox.

The process that forks never sees a program, an expected value or an output, so there is nothing in its memory that a
program could find: the child reads its request from descriptor 0 and writes its records to descriptor 3, and only the
end of the child is told here, on descriptor 1. A message is two big-endian 32-bit lengths, a JSON head, and a body of
raw bytes. See docs/sandbox.md.
"""

import fcntl
import gc
import json
import os
import signal
import struct
import sys

sys.path[:] = [folder for folder in sys.path if folder]

# Loaded before the fork, so that no program waits for them.
import _strptime  # noqa: F401 (datetime.strptime imports it late)
import array, ast, base64, bisect, calendar, cmath, collections, copy, ctypes, datetime, decimal  # noqa: F401, E401
import fractions, functools, hashlib, heapq, io, itertools, math, operator, random, re  # noqa: F401, E401
import resource, statistics, string, textwrap, types, typing, unicodedata  # noqa: F401, E401

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
EXIT_SETUP = 113  # the limits could not be put in place; believed only where no record was written: no program ran
OUTPUT = 3


class SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


# ---- distinct programs: the syntax tree with names normalised -------------------------------------------------------


def bound_names(tree):
    """Every name that the program itself binds, anywhere."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            names.update(node.names)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    return names


def without_docstring(body):
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:] or [ast.Pass()]
    return body


def canonical(tree):
    """The tree as text: names the program binds are numbered by first appearance; no positions, docstrings, hints."""
    bound, numbers = bound_names(tree), {}

    def name(text):
        return f"${numbers.setdefault(text, len(numbers))}" if text in bound else text

    def show(node):
        if isinstance(node, list):
            return "[" + ",".join(map(show, node)) + "]"
        if not isinstance(node, ast.AST):
            return f"{type(node).__name__}:{node!r}"
        fields = dict(ast.iter_fields(node))
        for hint in ("annotation", "returns", "type_comment", "kind", "ctx"):
            fields.pop(hint, None)
        if "body" in fields and isinstance(fields["body"], list):
            fields["body"] = without_docstring(fields["body"])
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return f"Assign(targets=[{show(node.target)}],value={show(node.value)})"
        if isinstance(node, ast.alias):
            shown = (node.asname or node.name).split(".")[0]
            return f"alias({node.name},{name(shown)})"
        parts = []
        for key, value in fields.items():
            if isinstance(value, str) and key in ("id", "arg", "name", "rest") or key == "names" and isinstance(
                    node, (ast.Global, ast.Nonlocal)):
                value = name(value) if isinstance(value, str) else sorted(map(name, value))
                parts.append(f"{key}={value}")
            else:
                parts.append(f"{key}={show(value)}")
        return type(node).__name__ + "(" + ",".join(parts) + ")"

    return show(tree)


# ---- values on their way out ------------------------------------------------------------------------------------------

MAX_ITEMS = 200_000  # of an iterator that a program returns


def encode(value):
    """A value as JSON of plain things. What is no plain value becomes its type's name, which equals nothing."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return {"i": hex(value)}
    if kind is float:
        return {"f": value.hex()}
    for tag, plain in (("l", list), ("t", tuple), ("s", set), ("z", frozenset)):
        if isinstance(value, plain):
            return {tag: [encode(item) for item in plain.__iter__(value)]}
    if isinstance(value, dict):
        return {"d": [[encode(key), encode(item)] for key, item in dict.items(value)]}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return {"i": hex(int.__int__(value))}
    if isinstance(value, float):
        return {"f": float.hex(value)}
    if isinstance(value, complex):
        return {"c": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, (bytes, bytearray)):
        return {"b": bytes(value).hex()}
    if isinstance(value, collections.deque):
        return {"q": [encode(item) for item in value]}
    if isinstance(value, range):
        return {"r": [hex(value.start), hex(value.stop), hex(value.step)]}
    if isinstance(value, decimal.Decimal):
        return {"D": str(value)}
    if isinstance(value, fractions.Fraction):
        return {"F": [hex(value.numerator), hex(value.denominator)]}
    if isinstance(value, datetime.datetime):
        return {"T": ["datetime", value.isoformat()]}
    if isinstance(value, (datetime.date, datetime.time)):
        return {"T": [type(value).__name__, value.isoformat()]}
    if isinstance(value, datetime.timedelta):
        return {"T": ["timedelta", [value.days, value.seconds, value.microseconds]]}
    if isinstance(value, array.array):
        return {"a": [value.typecode, [encode(item) for item in value]]}
    if isinstance(value, (type({}.keys()), type({}.items()))):
        return {"s": [encode(item) for item in value]}
    if hasattr(kind, "__next__"):
        return {"n": [encode(item) for item in itertools.islice(value, MAX_ITEMS)]}
    return {"o": kind.__name__}


# ---- the child: limits, then the program --------------------------------------------------------------------------------


def confine(limits, inner_filter):
    """Everything the child gives up before the program's first instruction."""
    for which, value in ((resource.RLIMIT_AS, limits["memory"]), (resource.RLIMIT_FSIZE, limits["file"]),
                         (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_MEMLOCK, 0)):
        resource.setrlimit(which, (value, value))
    if limits["threads"]:
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["threads"], limits["threads"]))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1))
    if LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("prctl")
    if inner_filter:
        program = SockFprog(len(inner_filter) // 8, ctypes.cast(ctypes.c_char_p(inner_filter), ctypes.c_void_p))
        if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
            raise OSError("seccomp filter")


def brief(error):
    text = type(error).__name__
    try:
        message = str(error)
    except BaseException:  # the program's own exception class
        message = ""
    return (text + ": " + message if message else text)[:300]


def put(*record):
    line = json.dumps(record).encode() + b"\n"
    while line:
        line = line[os.write(OUTPUT, line):]


def run_program(request):
    """Writes one line of JSON a record: the tree, then one for the code and one for each step."""
    code = request["code"]
    try:
        tree = ast.parse(code)
    except BaseException as error:
        put("tree", None)
        put("error", brief(error))
        return
    try:
        put("tree", hashlib.sha256(canonical(tree).encode("utf-8", "surrogatepass")).hexdigest())
    except RecursionError:  # runs, perhaps, but is too deep to compare: distinct by its text
        put("tree", hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest())
    random.seed(0)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    space = module.__dict__
    try:
        exec(compile(tree, "program", "exec"), space)
        put("ok", None)
    except BaseException as error:
        put("error", brief(error))
        return
    for kind, source in request["steps"]:
        try:
            value = eval(compile(source, "test", "eval" if kind == "eval" else "exec"), space)
            put("ok", encode(value) if kind == "eval" else None)
        except BaseException as error:
            put("error", brief(error))


def child(limits, inner_filter):
    try:
        request, _ = receive()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(OUTPUT + 1, 4096)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP) and not 32 <= number < 34:
                signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # an exception instead of the end
            signal.signal(number, signal.SIG_IGN)
        confine(limits, inner_filter)
    except BaseException:
        os._exit(EXIT_SETUP)
    try:
        run_program(request)
    finally:
        os._exit(0)


# ---- the server -----------------------------------------------------------------------------------------------------------


def read_exactly(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def receive():
    head, body = struct.unpack(">II", read_exactly(8))
    return json.loads(read_exactly(head)), read_exactly(body)


def send(head):
    text = json.dumps(head).encode()
    data = struct.pack(">II", len(text), 0) + text
    try:
        while data:
            data = data[os.write(1, data):]
    except OSError:  # nobody listens any more
        os._exit(0)


def traces(folder):
    """What a program can leave behind: anything in the only folder that it may write to."""
    if not folder:
        return None
    try:
        status = os.stat(folder)
        return os.listdir(folder), status.st_mode, status.st_ctime_ns
    except OSError as error:  # no longer ours to read
        return repr(error)


def serve():
    hello, inner_filter = receive()
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    clean = traces(hello["folder"])
    gc.collect()
    gc.freeze()
    send({"ready": True, "version": sys.version.split()[0]})
    while True:
        # The pipe's flags are shared by all who have it: the last program may have made it non-blocking.
        fcntl.fcntl(OUTPUT, fcntl.F_SETFL, 0)
        pid = os.fork()
        if pid == 0:
            child(hello["limits"], inner_filter)
        _, status, usage = os.wait4(pid, 0)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        send({
            "exit": code,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "cpu": usage.ru_utime + usage.ru_stime,
            "dirty": traces(hello["folder"]) != clean,
        })


serve()
