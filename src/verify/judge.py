"""Judges what programs returned. Runs in a sandbox of its own, apart from every program; sees values, not objects.

A test is split: the parts that need the program become `steps`, evaluated in the program's process; what they are compared
with stays here. Messages as in runner.py. See docs/sandbox.md.
"""

import ast
import builtins
import hashlib
import json
import os
import struct
import sys

sys.path[:] = [folder for folder in sys.path if folder]

import array, collections, datetime, decimal, fractions, math, resource  # noqa: E401

# Modules that a test may use without importing them (the program often does).
MODULES = ("array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
           "itertools", "math", "operator", "random", "re", "statistics", "string", "sys", "typing")


class Opaque:
    """An object that is no plain value: equal to nothing but itself."""

    def __init__(self, name):
        self.name = str(name)

    def __repr__(self):
        return f"<{self.name}>"


def decode(value):
    """The plain value of what runner.encode wrote. Raises where it is anything else: the text comes from a program."""
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is not dict or len(value) != 1:
        raise ValueError("not a value")
    (tag, content), = value.items()
    if tag == "i":
        return int(content, 16)
    if tag == "f":
        return float.fromhex(content)
    if tag == "o":
        return Opaque(content)
    if tag == "c":
        return complex(float.fromhex(content[0]), float.fromhex(content[1]))
    if tag == "b":
        return bytes.fromhex(content)
    if tag == "r":
        return range(*(int(part, 16) for part in content))
    if tag == "D":
        return decimal.Decimal(content)
    if tag == "F":
        return fractions.Fraction(int(content[0], 16), int(content[1], 16))
    if tag == "T":
        kind, text = content
        if kind == "timedelta":
            return datetime.timedelta(*text)
        return {"datetime": datetime.datetime, "date": datetime.date, "time": datetime.time}[kind].fromisoformat(text)
    if tag == "a":
        return array.array(content[0], [decode(item) for item in content[1]])
    if tag == "d":
        return {decode(key): decode(item) for key, item in content}
    items = [decode(item) for item in content]
    return {"l": list, "t": tuple, "s": set, "z": frozenset, "q": collections.deque, "n": iter}[tag](items)


def canonical(value):
    """JSON text as runner.encode writes it, with the items of sets and dictionaries sorted: equal for equal values."""
    if type(value) is dict:
        (tag, content), = value.items()
        if tag in ("l", "t", "s", "z", "q", "n"):
            items = [canonical(item) for item in content]
            return tag + "[" + ",".join(sorted(items) if tag in "sz" else items) + "]"
        if tag == "d":
            return "d[" + ",".join(sorted(canonical(key) + ":" + canonical(item) for key, item in content)) + "]"
    return json.dumps(value)


# ---- splitting tests -------------------------------------------------------------------------------------------------------


class Splitter(ast.NodeTransformer):
    """Replaces the parts of an assertion that need the program by VALUES[i], and lists them as steps."""

    def __init__(self, known, steps):
        self.known, self.steps = known, steps

    def needs_program(self, node):
        own = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        own |= {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
        return any(isinstance(each, ast.Name) and each.id not in self.known and each.id not in own
                   for each in ast.walk(node))

    def remote(self, node):
        self.steps.append(["eval", ast.unparse(node)])
        place = ast.Constant(len(self.steps) - 1)
        return ast.Subscript(ast.Name("VALUES", ast.Load()), place, ast.Load())

    def visit(self, node):
        if not self.needs_program(node):
            return node
        parts = (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.List, ast.Starred, ast.keyword)
        if isinstance(node, parts) or isinstance(node, ast.Call) and not self.needs_program(node.func):
            return self.generic_visit(node)
        if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            raise ValueError("a comprehension over the program's results cannot be judged from outside: write one "
                             "assertion for each")
        return self.remote(node)

    def assertion(self, test):
        if self.needs_program(test):
            return self.visit(test)
        # The program's function has the name of a builtin: by convention it stands on the left.
        if isinstance(test, ast.Compare):
            test.left = self.remote(test.left)
            return test
        return self.remote(test)


def plan(problem):
    """(steps for the program's process, judgements): a judgement is (index of its test, code, steps it rests on)."""
    known = set(dir(builtins)) | set(MODULES)
    space = {name: __import__(name) for name in MODULES}
    steps, judgements, failed = [], [], []
    for source in problem["imports"]:
        steps.append(["exec", source])
        exec(source, space)
        known |= {(alias.asname or alias.name).split(".")[0]
                  for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))
                  for alias in node.names}
    if problem["setup"].strip():
        steps.append(["exec", problem["setup"]])
        known -= {node.id for node in ast.walk(ast.parse(problem["setup"]))
                  if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for index, source in enumerate(problem["tests"]):
        for statement in ast.parse(source).body:
            if not isinstance(statement, ast.Assert):
                if any(isinstance(each, ast.Assert) for each in ast.walk(statement)):
                    raise ValueError(f"test {index + 1}: an assertion inside another statement cannot be judged from "
                                     "outside the program: write it at the top level")
                steps.append(["exec", ast.unparse(statement)])
                if isinstance(statement, (ast.Import, ast.ImportFrom)):
                    exec(steps[-1][1], space)
                else:
                    known -= {node.id for node in ast.walk(statement)
                              if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
                continue
            expression = ast.Expression(Splitter(known, steps).assertion(statement.test))
            code = compile(ast.fix_missing_locations(expression), "test", "eval")
            judgements.append((index, code, len(steps)))
    return {"steps": steps, "judgements": judgements, "space": space, "tests": len(problem["tests"])}


# ---- judging ------------------------------------------------------------------------------------------------------------------


def parse_records(output):
    for line in output.split(b"\n")[:-1]:
        try:
            kind, content = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            kind, content = None, None
        yield (kind, content) if kind in ("tree", "ok", "error") else ("error", "its output was garbled")


class Values:
    """Decodes a value where a test asks for it, so that a strange one fails its own test only."""

    def __init__(self, records):
        self.records = records

    def __getitem__(self, index):
        kind, content = self.records[index] if index < len(self.records) else ("error", "ended before the test")
        if kind != "ok":
            raise RuntimeError(content)
        return decode(content)


def judge(planned, output):
    records = list(parse_records(output))
    # The first record is written before the program's first instruction; all others are only claims about values.
    tree = records[0][1] if records and records[0][0] == "tree" and isinstance(records[0][1], str) else ""
    loaded = len(records) > 1 and records[1][0] == "ok"
    reason = "" if loaded else (records[1][1] if len(records) > 1 else "ended before its tests")
    values = records[2:]
    passed = [loaded] * planned["tests"]
    for (kind, _), (state, content) in zip(planned["steps"], values):
        if kind == "exec" and state != "ok":
            passed, reason = [False] * planned["tests"], reason or content
    for index, code, _ in planned["judgements"]:
        if not passed[index]:
            continue
        try:
            result = bool(eval(code, dict(planned["space"], VALUES=Values(values))))
            failure = "" if result else f"test {index + 1} is false"
        except BaseException as error:
            result, failure = False, f"test {index + 1}: {error}" if str(error) else type(error).__name__
        passed[index] = result
        reason = reason or failure
    try:
        shown = "\n".join(canonical(content) if state == "ok" else "error" for state, content in values)
        behaviour = hashlib.sha256(shown.encode()).hexdigest() if loaded and values else ""
    except Exception:
        behaviour = ""
    return {"passed": passed, "reason": str(reason)[:300], "tree": tree[:16], "behaviour": behaviour[:16]}


def read_exactly(count):
    data = bytearray()
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return bytes(data)


def receive():
    head, body = struct.unpack(">II", read_exactly(8))
    return json.loads(read_exactly(head)), read_exactly(body)


def send(head):
    text = json.dumps(head).encode()
    data = struct.pack(">II", len(text), 0) + text
    while data:
        data = data[os.write(1, data):]


def serve():
    hello, _ = receive()
    resource.setrlimit(resource.RLIMIT_AS, (hello["memory"], hello["memory"]))
    send({"ready": True})
    plans = collections.OrderedDict()
    while True:
        request, output = receive()
        key = json.dumps(request["problem"])
        try:
            if key not in plans:
                plans[key] = plan(request["problem"])
                while len(plans) > 256:
                    plans.popitem(last=False)
            planned = plans[key]
        except Exception as error:
            send({"error": f"{type(error).__name__}: {error}"})
            continue
        send({"steps": planned["steps"]} if request["want"] == "plan" else judge(planned, output))


serve()
