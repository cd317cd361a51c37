"""Classes with one planted bug each, made from the source of a right one.

A mutant differs in one place of a method that computes: another operator or constant, a
missing transpose, a statement or a function call left out.
"""

import ast
import copy
import inspect
import sys
import textwrap
from collections.abc import Iterator

METHODS = ("forward", "backward", "scan", "scan_backward")  # those that compute

OPPOSITE = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Gt: ast.Lt,
    ast.GtE: ast.Lt,
    ast.Lt: ast.Gt,
    ast.LtE: ast.Gt,
}


def mutations(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """The ways to break one node of a syntax tree: what is wrong, and the node in its place."""
    broken = copy.deepcopy(node)
    match node:
        case ast.BinOp(op=op) if type(op) in OPPOSITE:
            broken.op = OPPOSITE[type(op)]()
            yield "another operator", broken
        case ast.Compare(ops=[op]) if type(op) in OPPOSITE:
            broken.ops = [OPPOSITE[type(op)]()]
            yield "another comparison", broken
        case ast.UnaryOp(op=ast.USub()):
            yield "a sign lost", node.operand
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            broken.value = value + 1
            yield "another constant", broken
        case ast.Attribute(attr="T"):
            yield "a transpose lost", node.value
        case ast.Call(func=ast.Name(), args=[argument], keywords=[]):
            yield "a call lost", argument
        case ast.AugAssign(target=target, value=value):
            yield "= for an augmented assignment", ast.Assign(targets=[target], value=value)
            yield "a statement lost", ast.Pass()
        case ast.Return(value=value) if value is not None:
            negative = ast.UnaryOp(op=ast.USub(), operand=value)
            yield "the result's sign", ast.Return(value=negative)


class Replace(ast.NodeTransformer):
    """Put one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node):
        return self.new if node is self.old else self.generic_visit(node)


def is_guard(node: ast.AST) -> bool:
    """Whether a statement only refuses wrong input: what it says is tested elsewhere."""
    call, body = getattr(node, "value", None), getattr(node, "body", [None])
    expects = isinstance(call, ast.Call) and getattr(call.func, "id", "") == "expect_shape"
    return expects or isinstance(body[0], ast.Raise)


def mutants(cls: type) -> Iterator[tuple[str, type]]:
    """Every mutant of a class, with the place and the kind of its bug."""
    source = textwrap.dedent(inspect.getsource(cls))
    namespace = vars(sys.modules[cls.__module__])
    for method in METHODS:
        if method not in vars(cls):
            continue
        count = sum(1 for _ in _nodes(ast.parse(source), method))
        for i in range(count):
            for j in range(len(list(mutations(list(_nodes(ast.parse(source), method))[i])))):
                tree = ast.parse(source)
                old = list(_nodes(tree, method))[i]
                what, new = list(mutations(old))[j]
                place = f"{cls.__name__}.{method}: {what}: {ast.unparse(old)}"
                tree = ast.fix_missing_locations(Replace(old, new).visit(tree))
                scope = dict(namespace)
                exec(compile(tree, f"<mutant of {cls.__name__}>", "exec"), scope)
                yield place, scope[cls.__name__]


def _nodes(tree: ast.Module, method: str) -> Iterator[ast.AST]:
    (definition,) = (
        node
        for node in tree.body[0].body
        if isinstance(node, ast.FunctionDef) and node.name == method
    )
    for statement in definition.body:
        if not is_guard(statement):
            # NumPy reads any negative size in reshape as -1, so -2 would be no bug: signs only
            negated = {id(n.operand) for n in ast.walk(statement) if isinstance(n, ast.UnaryOp)}
            yield from (n for n in ast.walk(statement) if id(n) not in negated)
