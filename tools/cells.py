"""What the cells of a notebook say about themselves: tags, headings, and which need a GPU."""

import ast
import hashlib
import importlib.util
import re
import symtable
from functools import cache

from IPython.core.inputtransformer2 import TransformerManager
from outputs import TOLERANCE


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def tolerance(cell):
    """The relative tolerance of the cell's floats: that of its tag `tol=0.05`, or the usual one."""
    return next((float(tag[4:]) for tag in tags(cell) if tag.startswith("tol=")), TOLERANCE)


def headings(notebook):
    """The heading above each code cell."""
    found, heading = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found.append(heading)
        elif cell.cell_type == "markdown":
            fenced = re.sub(r"(?ms)^```.*?^```", "", cell.source)
            heading = (re.findall(r"(?m)^#+ +(.+?) *$", fenced) or [heading])[-1]
    return found


def source_digest(notebook):
    """SHA-256 of the code, to tell whether outputs were recorded with it."""
    code = "\n\n".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


@cache
def has_cuda():
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def needing_gpu(notebook):
    """Why a code cell cannot run without CUDA, by its number from 1.

    These are the cells tagged `gpu`, and each later one that reads a name which only such a cell
    bound.
    """
    reasons, bound_here, missing = {}, set(), {}  # missing: name → the skipped cell that binds it
    for number, cell in enumerate(code_cells(notebook), 1):
        bound, read = names(cell.source)
        kind = "gpu cell" if "gpu" in tags(cell) else "cell"
        if kind == "gpu cell":
            reasons[number] = "needs a CUDA device"
        elif needed := [name for name in missing if name in read]:
            reasons[number] = f"needs `{needed[0]}` from skipped {missing[needed[0]]}"
        if number in reasons:
            for name in sorted(bound - bound_here):
                missing.setdefault(name, f"{kind} {number}")
        else:
            bound_here |= bound
            missing = {name: where for name, where in missing.items() if name not in bound}
    return reasons


def names(source):
    """The names that a cell binds, and those that it reads before it has bound them itself."""
    try:
        statements = ast.parse(TransformerManager().transform_cell(source)).body
    except SyntaxError:
        return set(), set()  # running the cell will say so
    bound, read = set(), set()
    for statement in statements:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        binds = {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
        }
        # `x = x + 1` reads x; a loop or a function reads what it has bound itself.
        assignment = isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign)
        read |= global_reads(table) - bound - (set() if assignment else binds)
        bound |= binds
    return bound, read


def global_reads(table):
    here = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global())
    }
    return here.union(*map(global_reads, table.get_children()))
