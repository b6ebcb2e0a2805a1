"""Wrong variants of programs. Reads JSON lines {"code", "test"}, writes JSON lines with
  "none"    an early `return None` in every function;
  "wrong"   the tested function returns a wrong constant: of the type that the test expects, but another value;
  "raised"  every integer constant of its functions raised by one ("" where there is none);
  "each"    with the argument --each: a list, one constant moved by 1, -1, 1000 or -1000, for all of them.
The code is read, never run.
"""

import ast
import json
import sys


class Constants(ast.NodeTransformer):
    """Moves the integer constants, or the one of that number only."""

    def __init__(self, by, only):
        self.seen, self.by, self.only = 0, by, only

    def visit_Constant(self, node):
        if type(node.value) is not int:
            return node
        self.seen += 1
        if self.only not in (None, self.seen - 1):
            return node
        return ast.copy_location(ast.Constant(node.value + self.by), node)


def moved(code, by, only=None):
    """The program, and how many constants its functions have."""
    tree, constants = ast.parse(code), Constants(by, only)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.body = [constants.visit(each) for each in node.body]
    return ast.unparse(tree), constants.seen


def early_none(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body.insert(0, ast.Return(ast.Constant(None)))
    return ast.unparse(ast.fix_missing_locations(tree))


def another(value):
    """A value of the same type that is not equal."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if value is None:
        return 0
    if isinstance(value, dict):
        return dict(list(value.items())[1:]) if value else {0: 0}
    if isinstance(value, (list, tuple)):
        return type(value)([another(value[0]), *value[1:]] if value else [0])
    if isinstance(value, set):
        return set(list(value)[1:]) if value else {0}
    raise TypeError(f"no other value known for a {type(value).__name__}")


def expected_of(test, functions):
    """The tested function and the value that `assert FUNCTION(...) == VALUE` expects of it."""
    comparison = ast.parse(test).body[-1].test
    names = [node.func.id for node in ast.walk(comparison.left)
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions]
    try:
        value = ast.literal_eval(comparison.comparators[0])
    except ValueError:  # of one problem: the size of an object in bytes, at least 1
        value = -1
    return names[0], value


class Returns(ast.NodeTransformer):
    """Replaces the values that a function itself returns, not those of functions inside it."""

    def __init__(self, value):
        self.value = value

    def visit_Return(self, node):
        return ast.Return(self.value)

    def inner(self, node):
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = inner


def wrong(code, test):
    tree = ast.parse(code)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    name, value = expected_of(test, functions)
    other = another(value)
    if other == value or type(other) is not type(value) and value is not None:
        raise ValueError(f"{other!r} is no wrong constant for {test}")
    constant = ast.parse(repr(other), mode="eval").body
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            replace = Returns(constant)
            node.body = [replace.visit(each) for each in node.body] + [ast.Return(constant)]
    return ast.unparse(ast.fix_missing_locations(tree))


def mutants(code, test):
    raised, count = moved(code, 1)
    result = {"none": early_none(code), "wrong": wrong(code, test), "raised": raised if count else ""}
    if "--each" in sys.argv:
        result["each"] = [moved(code, by, i)[0] for i in range(count) for by in (1, -1, 1000, -1000)]
    return result


for line in sys.stdin:
    problem = json.loads(line)
    print(json.dumps(mutants(problem["code"], problem["test"])))
