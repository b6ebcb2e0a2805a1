"""Wrong variants of programs. Reads JSON lines {"code"}, writes JSON lines {"none", "constant"}: the program with an early
`return None` in every function, and with every integer constant of its functions raised by one ("" where there is none).
"""

import ast
import json
import sys


class Constants(ast.NodeTransformer):
    def __init__(self):
        self.changed = 0

    def visit_Constant(self, node):
        if type(node.value) is not int:
            return node
        self.changed += 1
        return ast.copy_location(ast.Constant(node.value + 1), node)


def mutants(code):
    early, raised, constants = ast.parse(code), ast.parse(code), Constants()
    for node in ast.walk(early):
        if isinstance(node, ast.FunctionDef):
            node.body.insert(0, ast.Return(ast.Constant(None)))
    for node in raised.body:
        if isinstance(node, ast.FunctionDef):
            node.body = [constants.visit(each) for each in node.body]
    return {"none": ast.unparse(ast.fix_missing_locations(early)), "constant": ast.unparse(raised) if constants.changed else ""}


for line in sys.stdin:
    print(json.dumps(mutants(json.loads(line)["code"])))
