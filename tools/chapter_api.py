"""Read the public names that a cell exports: signature, docstring, parameters with their comments.

The source is parsed, not imported, so a page can be made without running the chapter.
"""

import ast
import inspect
import io
import tokenize
from dataclasses import dataclass, field


@dataclass
class Parameter:
    """One argument of a function or constructor."""

    name: str
    type: str
    default: str
    comment: str


@dataclass
class Name:
    """One exported function or class."""

    name: str
    module: str
    signature: str
    docstring: str
    parameters: list[Parameter] = field(default_factory=list)
    methods: list[tuple[str, str]] = field(default_factory=list)  # signature, summary

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docstring.split("\n")[0]


def anchor(name: str) -> str:
    """The id of a name's entry on the page that exports it."""
    return f"api-{name.rsplit('.', 1)[-1]}"


def exported_names(code: str, module: str) -> list[Name]:
    """The public functions and classes of an exported cell, in order."""
    comments = line_comments(code)
    kinds = ast.FunctionDef | ast.ClassDef
    nodes = [node for node in ast.parse(code).body if isinstance(node, kinds)]
    return [describe(node, module, comments) for node in nodes if not node.name.startswith("_")]


def describe(node: ast.FunctionDef | ast.ClassDef, module: str, comments: dict) -> Name:
    """What the API section says about one function or class."""
    docstring = inspect.cleandoc(ast.get_docstring(node) or "")
    if isinstance(node, ast.FunctionDef):
        parameters = function_parameters(node, comments)
        return Name(node.name, module, signature(node), docstring, parameters)
    members = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    methods = [
        (signature(item), inspect.cleandoc(doc).split("\n")[0])
        for name, item in members.items()
        if not name.startswith("_") and (doc := ast.get_docstring(item))
    ]
    if "__init__" in members:
        parameters = function_parameters(members["__init__"], comments)
        call = signature(members["__init__"], node.name)
    elif any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        parameters = dataclass_parameters(node, comments)
        call = f"{node.name}({', '.join(with_default(p) for p in parameters)})"
    else:
        parameters, call = [], f"{node.name}()"
    return Name(node.name, module, call, docstring, parameters, methods)


def signature(function: ast.FunctionDef, name: str = "") -> str:
    """A call as the reader writes it: no `self`, no types; types are in the table."""
    arguments = function.args
    bare = ast.parse(f"def f({ast.unparse(arguments)}): pass").body[0].args
    for argument in all_arguments(bare):
        argument.annotation = None
    if bare.args and bare.args[0].arg in ("self", "cls"):
        bare.args.pop(0)
    return f"{name or function.name}({ast.unparse(bare)})"


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Every argument, in the order of the signature."""
    positional = [*arguments.posonlyargs, *arguments.args]
    star = [arguments.vararg] if arguments.vararg else []
    double_star = [arguments.kwarg] if arguments.kwarg else []
    return [*positional, *star, *arguments.kwonlyargs, *double_star]


def function_parameters(function: ast.FunctionDef, comments: dict) -> list[Parameter]:
    """The arguments with type, default and comment; at the end what is returned, if described."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    with_defaults = positional[len(positional) - len(arguments.defaults) :]
    pairs = [
        *zip(with_defaults, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    defaults = {argument.arg: default for argument, default in pairs}
    parameters = []
    for argument in all_arguments(arguments):
        if argument.arg in ("self", "cls"):
            continue
        default = defaults.get(argument.arg)
        last_line = (default or argument).end_lineno
        text_type = ast.unparse(argument.annotation) if argument.annotation else ""
        text_default = ast.unparse(default) if default else ""
        parameters.append(
            Parameter(argument.arg, text_type, text_default, comments.get(last_line, ""))
        )
    if function.returns and function.name != "__init__":
        comment = comments.get(function.returns.end_lineno, "")
        parameters.append(Parameter("return", ast.unparse(function.returns), "", comment))
    return parameters


def dataclass_parameters(node: ast.ClassDef, comments: dict) -> list[Parameter]:
    """The fields of a dataclass, which are the arguments of its constructor."""
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return [
        Parameter(
            item.target.id,
            ast.unparse(item.annotation),
            ast.unparse(item.value) if item.value else "",
            comments.get(item.end_lineno, ""),
        )
        for item in fields
    ]


def with_default(parameter: Parameter) -> str:
    """A parameter as it stands in a signature."""
    return f"{parameter.name}={parameter.default}" if parameter.default else parameter.name


def line_comments(code: str) -> dict[int, str]:
    """The comment at the end of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
