"""How the notebooks are tested: nbval runs every cell, tools/outputs.py compares what it shows.

nbval 0.11 alone compares no figure, no float with a tolerance, and nothing at all in a notebook
without execution counts. `Notebook` and `Cell` add that to its two classes, and:

- without CUDA, a cell tagged `gpu` is skipped, and each that reads a name which only such a cell
  binds; `pytest -m gpu` selects the notebooks that have one (`make gpu`);
- `raises-exception`: the cell must fail, with the stored error;
- `nbval-ignore-output` is for timings only, and needs the tag `timing` beside it; `nbval-skip`, or
  one of the comments that nbval reads, leaves no cell out;
- a notebook has --notebook-timeout seconds, all its cells together;
- the last lines say how long each notebook took, and how many cells were run, compared, skipped.
"""

import os
import time
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from queue import Empty

import cells
import nbval.plugin
import outputs
import pytest
from nbval.kernel import RunningKernel

FIGURES = Path("build", "figures")  # where differing figures are written, below the project


def pytest_addoption(parser):
    parser.addoption(
        "--notebook-timeout", type=float, default=300, help="seconds that a notebook may take"
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: a notebook with cells that need a CUDA device")
    if hasattr(config, "workerinput"):  # several kernels at once: none may take all the cores
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MPLBACKEND", None)  # else the kernel would draw no figure


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collectors = yield
    return [
        Notebook.from_parent(parent, path=file_path)
        if isinstance(collector, nbval.plugin.IPyNbFile)
        else collector
        for collector in collectors
    ]


class Notebook(nbval.plugin.IPyNbFile):
    """A notebook, whose cells share one kernel, started in the notebook's folder."""

    def collect(self):
        found = list(super().collect())
        needing_gpu = cells.needing_gpu(self.nb)
        self.seconds_left = self.config.option.notebook_timeout
        for item, heading in zip(found, cells.headings(self.nb), strict=True):
            number = item.cell_num + 1
            cell = Cell.from_parent(
                self, name=f"cell {number}", cell_num=number, cell=item.cell, options=item.options
            )
            cell.heading, cell.needs_gpu = heading, number in needing_gpu
            if needing_gpu:
                cell.add_marker("gpu")
            if cell.needs_gpu and not cells.has_cuda():
                cell.add_marker(pytest.mark.skip(reason=f"cell {number} {needing_gpu[number]}"))
                cell.count("skipped (gpu)")
            yield cell

    def setup(self):
        self.config.option.nbval_current_env = True  # whatever kernels are installed
        super().setup()
        self.kernel.__class__ = Kernel


class Kernel(RunningKernel):
    """nbval's kernel, but it notices at once when its process has died, and honours `;`."""

    def execute_cell_input(self, cell_input, allow_stdin=None):
        # IPython hides the value of a last line that ends in `;` only if it keeps a history
        return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)

    def get_message(self, stream, timeout=None):
        end = time.monotonic() + (timeout or float("inf"))
        while True:
            try:
                return super().get_message(stream, min(2, max(0, end - time.monotonic())))
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died (out of memory?)") from None
                if time.monotonic() >= end:
                    raise


class Cell(nbval.plugin.IPyNbCell):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.cell.execution_count = self.cell_num  # nbval compares no cell without one
        self.output_timeout = 20
        self.left_out = self.options.pop("skip", False)

    def count(self, what, number=1):
        """Count for the summary; user properties travel from pytest-xdist's workers."""
        self.user_properties.append((what, number))

    def setup(self):
        if self.parent.timed_out:
            pytest.skip("the notebook's time was over before")

    def runtest(self):
        option, cell_timeout = self.config.option, self.config.option.nbval_cell_timeout
        option.nbval_cell_timeout = max(0.1, min(cell_timeout, self.parent.seconds_left))
        start = time.monotonic()
        self.count("run")
        try:
            super().runtest()
        finally:
            option.nbval_cell_timeout = cell_timeout
            self.parent.seconds_left -= time.monotonic() - start
        if self.left_out:
            self.raise_cell_error("a cell may not be left out of the test (nbval-skip)")
        if not self.options["check"]:
            if "timing" not in cells.tags(self.cell):
                self.raise_cell_error(
                    "output ignored, which is for timings: compare it, or tag it `timing` too"
                )
            self.count("ignored (timing)")

    def compare_outputs(self, new, stored, skip_compare=None):
        if self.needs_gpu and not stored:
            self.count("not recorded (gpu)", bool(new))
            return True
        name = f"{self.parent.path.stem}-cell{self.cell_num}"
        message = outputs.difference(
            stored, new, cells.tolerance(self.cell), self.config.rootpath / FIGURES / name
        )
        self.comparison_traceback = [message]
        self.count("compared", bool(stored))
        self.count("figures compared", outputs.figure_count(stored))
        return not message

    def reportinfo(self):
        place = f"{relative(self.parent.path, self.config)}, {self.name}"
        return self.path, 0, f"{place} “{self.heading}”" if self.heading else place

    def repr_failure(self, excinfo):
        error = excinfo.value
        lines = [self.reportinfo()[2] + f": {error}"]
        if isinstance(error, nbval.plugin.NbCellError):
            lines += [error.inner_traceback or "", "  cell:", indented(self.cell.source)]
        return "\n".join(lines)


def relative(path, config):
    root = config.rootpath
    return path.relative_to(root) if path.is_relative_to(root) else path


def indented(text):
    return "\n".join("    " + line for line in text.splitlines())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    yield  # after pytest's own lines
    summarize_notebooks(terminalreporter)
    summarize_planted_bugs(terminalreporter)


def summarize_planted_bugs(terminalreporter):
    """How many mutants of the layers the checks caught (tests/test_layers.py counts them)."""
    caught = [
        number
        for report in terminalreporter.stats.get("passed", [])
        for what, number in getattr(report, "user_properties", [])
        if what == "planted bugs caught" and report.when == "call"
    ]
    if caught:
        terminalreporter.line(f"planted bugs caught: {sum(caught)} in {len(caught)} classes")


def summarize_notebooks(terminalreporter):
    seconds, counts, skipped = defaultdict(float), Counter(), []
    for report in chain.from_iterable(terminalreporter.stats.values()):
        notebook = getattr(report, "nodeid", "").split("::")[0]
        if not notebook.endswith(".ipynb") or not hasattr(report, "when"):
            continue
        seconds[notebook] += report.duration
        if report.when == "call" or (report.when == "setup" and report.skipped):
            for what, number in report.user_properties:
                counts[what] += number
        if report.when == "setup" and report.skipped:
            skipped.append(f"{notebook}: {report.longrepr[2].removeprefix('Skipped: ')}")
    if not seconds:
        return
    terminalreporter.section("notebooks, slowest first")
    for notebook, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        terminalreporter.line(f"{taken:6.1f} s  {notebook}")
    for line in skipped:
        terminalreporter.line(f"skipped: {line}")
    always = ["run", "compared", "figures compared", "skipped (gpu)", "ignored (timing)"]
    names = always + [name for name in counts if name not in always and counts[name]]
    line = ", ".join(f"{counts[name]} {name}" for name in names)
    terminalreporter.line(f"notebook cells: {line}")


def pytest_sessionfinish(session, exitstatus):
    """`pytest -m gpu` succeeds where no notebook has a gpu cell."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr == "gpu":
        session.exitstatus = pytest.ExitCode.OK
