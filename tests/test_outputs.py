"""The comparison of outputs, with planted faults: each notebook here is recorded with one code and
tested with another. What must fail fails, what must pass passes, and `make record` agrees."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cells
import nbformat
import outputs
import pytest
import record

ROOT = Path(__file__).resolve().parents[1]

FIGURE = """
import matplotlib.pyplot as plt
import numpy as np

def show(ticks="02468", shift=0, title="Loss", size=(6, 3.5), blue="C0", **rc):
    with plt.rc_context({"figure.dpi": 120, **rc}):
        fig, ax = plt.subplots(figsize=size)
        x = np.linspace(0, 8, 200)
        ax.imshow([[0.2, 0.6]], extent=(1, 2, -1, -0.5), aspect="auto")
        pixel = 2.2 / (120 * 3.5 * 0.77)
        ax.plot(x, np.sin(x) + shift * pixel, color=blue)
        ax.set(xlim=(0, 8), ylim=(-1.1, 1.1), title=title)
        ax.set_xticks(range(0, 9, 2), list(ticks))
        plt.show()
"""
RUN = "import sys, time, numpy as np"

# name: code as recorded, code as tested, whether the test must fail, tags
CASES = {
    "imports": (FIGURE, FIGURE, False),
    "sixth place": ("1.23456", "1.23457", False),
    "second place": ("print(1.23456)", "print(1.33456)", True),
    "rounded figure": ("print('accuracy 0.93')", "print('accuracy 0.94')", True),
    "integer": ("print('60000 images')", "print('60001 images')", True),
    "word": ("print('gradient of 1.5')", "print('gradients of 1.5')", True),
    "boolean": ("1 < 2", "1 > 2", True),
    "array spacing": ("np.array([0.5, -1e-17])", "np.array([0.50001, 3e-17])", False),
    "not a number": ("float('nan')", "1.0", True),
    "integer to float": ("1", "1.0", True),
    "widened": ("print('0.900')", "print('0.930')", False, "tol=0.05"),
    "widened too little": ("print('0.80')", "print('0.90')", True, "tol=0.05"),
    "widened integer": ("print('100')", "print('101')", True, "tol=0.05"),
    "timing": ("print('took 1.2 s')", "print('took 1min 3 s')", False),
    "address": ("object()", "[object()] and object()", False),
    "missing output": ("print('seen')", "pass", True),
    "extra output": ("pass", "print('seen')", True),
    "missing value": ("print(1)\n2", "print(1)", True),
    "exception": ("3", "raise ValueError('planted')", True),
    "expected exception": ("raise ValueError('a')",) * 2 + (False, "raises-exception"),
    "other exception": (
        *("raise ValueError('a')", "raise RuntimeError('a')", True),
        "raises-exception",
    ),
    "other message": ("raise ValueError('a')", "raise ValueError('b')", True, "raises-exception"),
    "no exception": ("raise ValueError('a')", "pass", True, "raises-exception"),
    "stderr": ("print('x')", "print('x'); print('y', file=sys.stderr)", True),
    "progress bar": (
        "pass",
        r"print('\r100%|###| 5/5 [00:01<00:00, 4.9it/s]', file=sys.stderr)",
        False,
    ),
    "only timings": ("print(1)", "print(2)", False, "nbval-ignore-output timing"),
    "ignored": ("print(1)", "print(1)", True, "nbval-ignore-output"),
    "skipped": ("print(1)", "print(1)", True, "nbval-skip"),
    "skipped by comment": ("print(1)", "# NBVAL_SKIP\nprint(1)", True),
    "same figure": ("show()", "show()", False),
    "no hinting": ("show()", "show(**{'text.hinting': 'none'})", False),
    "no anti-aliasing": ("show()", "show(**{'lines.antialiased': False})", False),
    "curve by 0.3 pixels": ("show()", "show(shift=0.3)", False),
    "curve by 3 pixels": ("show()", "show(shift=3)", True),
    "tick label": ("show()", "show(ticks='02463')", True),
    "tick label 6 for 8": ("show()", "show(ticks='02466')", True),
    "title": ("show()", "show(title='Lass')", True),
    "colour": ("show()", "show(blue='C2')", True),
    "figure size": ("show()", "show(size=(6.2, 3.5))", True),
    "missing figure": ("show()\nprint(1)", "print(1)", True),
    "extra figure": ("show()", "show()\nshow()", True),
}
NUMBER = {name: number for number, name in enumerate(CASES, 1)}

GPU = [
    ("a = 1", ""),
    ("model = 'on ' + 'gpu'\nprint(model)", "gpu"),
    ("b = a + 1\nb", ""),
    ("seen = model.upper()\nseen", ""),
    ("[name for name in [seen]]", ""),
    ("model = 'on cpu'", ""),
    ("print(model)", ""),
]


def notebook(*sources_and_tags):
    """A notebook with a heading and one cell for each (source, "tags")."""
    found = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Planted")])
    for number, (source, tags) in enumerate(sources_and_tags):
        metadata = {"tags": tags.split()} if tags else {}
        found.cells.append(
            nbformat.v4.new_code_cell(source, metadata=metadata, id=f"cell-{number}")
        )
    return found


class Book:
    """A folder with notebooks, tested by the conftest.py of the project."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copy(ROOT / "conftest.py", folder)
        (folder / "pytest.ini").write_text("[pytest]\n")
        for cuda in (False, True):  # whatever this machine has
            fake = folder / f"cuda-{cuda}" / "torch"
            fake.mkdir(parents=True)
            (fake / "__init__.py").write_text(
                "class cuda:\n"
                f"    is_available = staticmethod(lambda: {cuda})\n"
                "    get_device_name = staticmethod(lambda device: 'a planted device')\n"
            )

    def write(self, name, content):
        nbformat.write(content, self.folder / name)
        return self.folder / name

    def read(self, name):
        return nbformat.read(self.folder / name, as_version=4)

    def run(self, *command, cuda=False):
        """Exit status and output of a command, with a torch that has CUDA or has not."""
        folders = [self.folder / f"cuda-{cuda}", ROOT, ROOT / "tools"]
        path = os.pathsep.join(map(str, folders))
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
        for name in [*environment]:
            if name.startswith(("PYTEST", "OMP_")):
                del environment[name]
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        return done.returncode, done.stdout

    def record(self, *names, cuda=False):
        return self.run(ROOT / "tools" / "record.py", *names, cuda=cuda)

    def test(self, *arguments, cuda=False):
        return self.run("-m", "pytest", "--nbval", "-v", "--color=no", *arguments, cuda=cuda)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return Book(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def recorded(book):
    """The planted notebooks, recorded; the files as they were after that."""
    book.write(
        "faults.ipynb", notebook(*((case[0], " ".join(case[3:])) for case in CASES.values()))
    )
    content = notebook(*GPU)
    content.cells[1].source = f"{RUN}\na = 1"
    book.write("gpu.ipynb", content)
    faults = book.read("faults.ipynb")
    faults.cells[1].source += RUN
    book.write("faults.ipynb", faults)
    status, said = book.record("faults.ipynb", "gpu.ipynb")
    assert status == 0, said
    return {name: (book.folder / name).read_bytes() for name in ("faults.ipynb", "gpu.ipynb")}


@pytest.fixture(scope="module")
def outcome(book, recorded):
    """What the test says of the planted faults and of the gpu cells without CUDA."""
    faults = book.read("faults.ipynb")
    for cell, (_, tested, *_) in zip(
        cells.code_cells(faults)[1:], [*CASES.values()][1:], strict=True
    ):
        cell.source = tested
    book.write("tested.ipynb", faults)
    status, said = book.test("-n", "2", "--dist", "loadfile", "tested.ipynb", "gpu.ipynb")
    assert status == 1
    return said


@pytest.mark.parametrize("name", CASES)
def test_planted_fault(outcome, name):
    wanted = "FAILED" if CASES[name][2] else "PASSED"
    verdicts = re.findall(rf"(\w+) tested.ipynb::cell {NUMBER[name]}\b", outcome)
    assert set(verdicts) == {wanted}


def test_failure_says_where_and_what(outcome):
    number = NUMBER["second place"]
    assert f"tested.ipynb, cell {number} “Planted”: Cell outputs differ" in outcome
    assert "stdout: line 1: wanted 1.23456, got 1.33456" in outcome
    assert "wanted error; got no output" in outcome
    assert "error: line 1: wanted a, got b" in outcome


def test_differing_figures_are_written(book, outcome):
    prefix = f"tested-cell{NUMBER['curve by 3 pixels']}-"
    names = sorted(path.name for path in (book.folder / "build" / "figures").glob(prefix + "*"))
    assert [name.rsplit("-", 1)[1] for name in names] == ["difference.png", "new.png", "stored.png"]
    assert f"{prefix}" in outcome


def test_gpu_cells_and_their_dependents_are_skipped(outcome):
    assert "gpu.ipynb: cell 2 needs a CUDA device" in outcome
    assert "gpu.ipynb: cell 4 needs `model` from skipped gpu cell 2" in outcome
    assert "gpu.ipynb: cell 5 needs `seen` from skipped cell 4" in outcome
    skipped = set(re.findall(r"SKIPPED gpu.ipynb::cell (\d)", outcome))
    assert skipped == {"2", "4", "5"}


def test_summary_counts(outcome):
    ran = len(CASES) + len(GPU) - 3
    (line,) = re.findall("notebook cells: .*", outcome)
    assert line.startswith(f"notebook cells: {ran} run, ")
    assert ", 3 skipped (gpu), 1 ignored (timing)" in line
    compared = dict((what, int(n)) for n, what in re.findall(r"(\d+) ([a-z ]+)", line))
    assert compared["figures compared"] == sum(
        case[0].startswith("show()") for case in CASES.values()
    )
    assert compared["compared"] > 30
    assert re.search(r"\d\.\d s  tested.ipynb\n +\d+\.\d s  gpu.ipynb", outcome)


def test_second_record_changes_nothing(book, recorded):
    status, said = book.record(*recorded)
    assert status == 0 and said.count("unchanged") == 2
    assert {name: (book.folder / name).read_bytes() for name in recorded} == recorded


def test_recorded_notebook_is_clean_and_says_what_it_ran_on(recorded):
    content = json.loads(recorded["faults.ipynb"])
    assert all(cell.get("execution_count") is None for cell in content["cells"])
    ran = content["metadata"]["dlbook"]["recorded"]
    assert ran["source"] == cells.source_digest(nbformat.reads(recorded["faults.ipynb"], 4))
    assert {"date", "python", "numpy", "torch", "cpu", "cores", "seconds"} <= ran.keys()
    (error,) = content["cells"][NUMBER["expected exception"]]["outputs"]
    assert error["traceback"] == ["ValueError: a"]


def test_record_rewrites_only_what_differs(book):
    path = book.write("churn.ipynb", notebook(("1.23456", ""), ("print('old')", "")))
    record.record(path)
    content = book.read("churn.ipynb")
    content.cells[1].source, content.cells[2].source = "1.23457", "print('new')"
    book.write("churn.ipynb", content)
    assert "1 outputs rewritten" in record.record(path)
    first, second = cells.code_cells(book.read("churn.ipynb"))
    assert first.outputs[0].data["text/plain"] == "1.23456"
    assert second.outputs[0].text == "new\n"


def test_record_leaves_a_failing_notebook_untouched(book):
    path = book.write("broken.ipynb", notebook(("print(1)", ""), ("1 / 0", "")))
    before = path.read_bytes()
    status, said = book.record(path)
    assert status == 1 and "broken.ipynb: cell 2 “Planted”: ZeroDivisionError" in said
    assert path.read_bytes() == before and not [*path.parent.glob(".*.draft")]


def test_record_refuses_a_warning(book):
    path = book.write("warn.ipynb", notebook(("import warnings\nwarnings.warn('hm')", "")))
    with pytest.raises(record.RecordError, match=r"cell 1 “Planted” writes to stderr(.|\n)*hm"):
        record.record(path)


def test_gpu_cells_with_cuda(book, recorded):
    path = book.folder / "with_gpu.ipynb"
    path.write_bytes(recorded["gpu.ipynb"])
    status, said = book.test("-m", "gpu", path, cuda=True)
    assert status == 0 and "3 not recorded (gpu)" in said and "0 skipped (gpu)" in said

    status, said = book.record(path, cuda=True)
    content = book.read(path.name)
    assert status == 0 and cells.code_cells(content)[1].outputs[0].text == "on gpu\n"
    assert content.metadata["dlbook"]["gpu"]["device"] == "a planted device"

    before = path.read_bytes()
    status, said = book.record(path)  # without CUDA the outputs stay
    assert status == 0 and "kept 3 cells" in said and path.read_bytes() == before

    cells.code_cells(content)[1].outputs[0].text = "on another gpu\n"
    book.write(path.name, content)
    status, said = book.test("-m", "gpu", path, cuda=True)
    assert status == 1 and re.findall(r"(?m)^FAILED .*::cell (\d)", said) == ["2"]


def test_time_limit_and_dead_kernel(book):
    book.write("slow.ipynb", notebook(("import time", ""), ("time.sleep(60)", ""), ("1", "")))
    book.write("dead.ipynb", notebook(("import os\nos._exit(1)", ""), ("1", "")))
    status, said = book.test(
        "-n2", "--dist=loadfile", "--notebook-timeout=3", "slow.ipynb", "dead.ipynb"
    )
    assert status == 1
    assert re.search(r"slow.ipynb, cell 2 .*: Timeout of [\d.]+ seconds exceeded", said)
    assert "slow.ipynb: the notebook's time was over before" in said
    assert "the kernel died" in said


def test_no_gpu_notebook_is_no_failure(book):
    path = book.write("plain.ipynb", notebook(("1", "")))
    status, said = book.test("-m", "gpu", path)
    assert status == 0 and "1 deselected" in said


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("1.0", "1.00009", True),
        ("1.0", "1.0002", False),
        ("1e-17 0.0", "3e-17 -2.2e-16", True),
        ("3.7e-44", "3.9e-44", False),
        ("[10000. 2.5]", "[10001. 2.5]", False),
        ("inf", "1e400", False),
        ("nan", "nan", True),
        ("float32", "float64", False),
        ("torch 2.13.0", "torch 2.13.1", False),
        ("# #", "##", False),
        ("(3, 4)", "(3, 5)", False),
        ("-0.0", "0.0", True),
        ("-1.5", "1.5", False),
        ("3.0 4", "3.0", False),
    ],
)
def test_numbers(wanted, got, same):
    assert (outputs.text_difference(wanted, got) == "") == same


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("took 3.4 ms ± 21 μs", "took ‹time› ± ‹time›"),
        ("<Layer at 0x7f1234567890>", "<Layer ‹address›>"),
        ("10 samples, 5 mins, 7 seeds", "10 samples, 5 mins, 7 seeds"),
        ("0x3f800000", "0x3f800000"),
    ],
)
def test_volatile(text, left):
    assert outputs.substitute(text, outputs.VOLATILE) == left


def test_paths_are_not_stored():
    stream = {"output_type": "stream", "name": "stdout", "text": f"{ROOT}/nbs \x1b[31mred\x1b[0m\n"}
    assert outputs.canonical([stream])[0]["text"] == "./nbs red\n"


def test_name_flow_follows_statements():
    assert cells.names("x = x + y") == ({"x"}, {"x", "y"})
    assert cells.names("for i in rows:\n    use(i)") == ({"i"}, {"rows", "use"})
    assert cells.names("def f(a):\n    return a + model") == ({"f"}, {"model"})
    assert cells.names("%time x\nx = 1\nprint(x)")[0] == {"x"}
