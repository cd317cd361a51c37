"""Compare the stored outputs of a cell with new ones: text with a tolerance, figures by pixels.

`difference(stored, new)` returns "" where they agree, and otherwise says what was wanted and what
came. `canonical(outputs)` is the form in which outputs are stored. conftest.py (`make test`) and
record.py (`make record`) both use them, so that what one accepts the other does not rewrite.

What agrees, in text: the same words; integers digit by digit; floats within a relative 1e-4 (a tag
`tol=0.05` widens one cell). Spacing counts only in text without a float, because the width of a
float changes with its last digits. `1` and `1.0` differ: a reader sees another type.
"""

import base64
import io
import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

TOLERANCE = 1e-4
# A float of this size is what rounding has left of a zero: 1e-17, -3e-17 and 0.0 agree. But 3.7e-44
# is a value that somebody computed, and is compared.
RESIDUE = (1e-20, 1e-14)

ROOT = Path(__file__).resolve().parents[1]
TIME = r"\d+(?:\.\d+)?(?:e[-+]?\d+)? ?(?:ns|[µμu]s|ms|s|sec|seconds?|min|minutes?)\b"
# What differs from run to run and machine to machine, and what stands for it in a comparison.
VOLATILE = [
    (r"(?m)^.*\d+%\|.*\|.*\[.*\].*\n?", ""),  # a progress bar
    (r"(?m)^.* per loop \(mean ± .*$", "‹timing›"),  # %timeit, whose number of loops varies
    (rf"(?<![\w.])(?:{TIME} ?)+(?<! )", "‹time›"),
    (r"(?<![\w.])\d+(?:\.\d+)? ?(?:it/s|s/it)", "‹rate›"),
    (r"\bat 0x[0-9a-fA-F]+|\b0x[0-9a-f]{12}\b", "‹address›"),
]
# Paths of the machine, taken out before an output is stored, the longest first.
PATHS = [
    (r"\S*[/\\]ipykernel_\d+[/\\]\d+\.py:\d+", "cell"),
    (re.escape(str(ROOT)) + r"(?![\w.-])", "."),
    (re.escape(tempfile.gettempdir()) + r"(?![\w.-])", "‹tmp›"),
    (re.escape(str(Path.home())) + r"(?![\w.-])", "~"),
]
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
TOKEN = re.compile(
    r"(?P<number>(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)|(?P<word>\w+)|\S"
)


def difference(stored, new, tolerance=TOLERANCE, pictures=None):
    """What differs between two lists of outputs, or "".

    pictures: path prefix under which differing figures are written, or None.
    """
    wanted, got = parts(stored), parts(new)
    kinds = [kind for kind, _ in wanted], [kind for kind, _ in got]
    if kinds[0] != kinds[1]:
        show = [", ".join(names) or "no output" for names in kinds]
        return f"wanted {show[0]}; got {show[1]}\n" + both(
            *("\n".join(v for k, v in side if not k.startswith("image/")) for side in (wanted, got))
        )
    for number, ((kind, want), (_, have)) in enumerate(zip(wanted, got, strict=True)):
        if kind in ("image/png", "image/jpeg"):
            prefix = pictures and f"{pictures}-{number}"
            message = figure_difference(want, have, prefix)
        else:
            message = text_difference(want, have, tolerance)
        if message:
            return f"{kind}: {message}"
    return ""


def parts(outputs):
    """Outputs as a list of (kind, text), without what varies from run to run."""
    found = []
    for output in canonical(outputs):
        if output["output_type"] == "stream":
            found.append((output["name"], output["text"]))
        elif output["output_type"] == "error":
            found.append(("error", f"{output['ename']}: {output['evalue']}"))
        else:
            # The ids of widgets are random; their text is compared.
            data = {k: v for k, v in sorted(output["data"].items()) if "widget-view" not in k}
            for kind, value in data.items():
                found.append((kind, value if isinstance(value, str) else json.dumps(value)))
    found = [(k, v if k.startswith("image/") else substitute(v, VOLATILE)) for k, v in found]
    return [(kind, value) for kind, value in found if value.strip()]


def figure_count(outputs):
    return sum(kind in ("image/png", "image/jpeg") for kind, _ in parts(outputs))


def canonical(outputs):
    """Outputs as they are stored: one stdout, one stderr, then the rest, without paths or colours.

    Progress bars leave nothing. An error keeps its last line, since the traceback names places of
    the machine. Where a stream stands between figures is not kept: kernels do not promise it.
    """
    text, rest = {"stdout": "", "stderr": ""}, []
    for output in outputs:
        output = json.loads(json.dumps(output))  # a deep copy, in plain types
        if output["output_type"] == "stream":
            text[output["name"]] += output["text"]
            continue
        output.pop("transient", None)
        if output["output_type"] == "error":
            output["evalue"] = clean(output["evalue"])
            output["traceback"] = [f"{output['ename']}: {output['evalue']}".removesuffix(": ")]
        else:
            for kind, value in output["data"].items():
                if isinstance(value, str):
                    image = kind.startswith("image/") and "svg" not in kind
                    output["data"][kind] = value.rstrip() if image else clean(value)
        if output["output_type"] == "execute_result":
            output["execution_count"] = None
        rest.append(output)
    streams = []
    for name, value in text.items():
        value = clean(re.sub(r"(?m)^.*\r(?=[^\n])", "", value))  # as a terminal would show it
        value = substitute(value, VOLATILE[:1])
        if value.strip():
            streams.append({"name": name, "output_type": "stream", "text": value})
    return streams + rest


def clean(text):
    return substitute(ANSI.sub("", text), PATHS)


def substitute(text, rules):
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text


# Text


def text_difference(wanted, got, tolerance=TOLERANCE):
    """The first difference between two texts beyond the tolerance, or ""."""
    if wanted == got:
        return ""
    left, right = list(TOKEN.finditer(wanted)), list(TOKEN.finditer(got))
    for a, b in zip(left, right, strict=False):
        if not same_token(a, b, tolerance):
            line = wanted.count("\n", 0, a.start()) + 1
            return f"line {line}: wanted {a[0]}, got {b[0]}\n" + both(wanted, got)
    if len(left) != len(right):
        longer, side = (left, "is missing") if len(left) > len(right) else (right, "is new")
        token = longer[min(len(left), len(right))][0]
        return f"{token} {side}\n" + both(wanted, got)
    if any(is_float(token) for token in left):
        return ""
    lines = [[line.rstrip() for line in text.rstrip().splitlines()] for text in (wanted, got)]
    return "" if lines[0] == lines[1] else "other spacing\n" + both(wanted, got)


def is_float(token):
    return bool(token["number"]) and not token[0].lstrip("+-").isdigit()


def same_token(a, b, tolerance):
    if a[0] == b[0]:
        return True
    if not (is_float(a) and is_float(b)):
        return False
    x, y = float(a[0]), float(b[0])
    if a[0].endswith(".") and b[0].endswith("."):
        return x == y  # NumPy prints a whole number as `3.`: it is exact
    low, high = RESIDUE
    if all(v == 0 or low < abs(v) < high for v in (x, y)):
        return True
    return math.isfinite(x + y) and abs(x - y) <= tolerance * max(abs(x), abs(y))


def both(wanted, got, limit=30):
    def cut(text):
        lines = text.rstrip().splitlines()
        more = [f"… {len(lines) - limit} more lines"] if len(lines) > limit else []
        return "\n".join("    " + line for line in lines[:limit] + more)

    return f"  stored:\n{cut(wanted)}\n  new:\n{cut(got)}"


# Figures
#
# Two renderings of one figure differ at edges, a little and in many places: anti-aliasing and
# hinting move an edge by less than a pixel. A changed figure differs grossly. So we count pixels:
#
# - fine: outside what a shift by half a pixel could make of it;
# - gross: far outside what a shift by a whole pixel could make of it, or of another colour where
#   neither picture has an edge at all.
#
# A figure differs where too many of its fine pixels are gross: one is too many for a lone digit,
# one in eight for a picture all of whose edges differ. Measured at 100 to 150 dots per inch, with
# text of 10 points: every changed digit differs, and a curve moved by 3 pixels; no hinting, no
# anti-aliasing, a shift by 0.6 pixels do not. (At 72 dots per inch an 8 looks like a 9.)

SHADE = 16  # of 255: a difference that nobody sees
GROSS = 40  # of 255, on top of SHADE
SPREAD = 1000  # fine pixels from which on a difference may be one of rendering
SHARE = 0.12  # of the fine pixels that may then be gross
MARGIN = 3  # pixels by which sizes may differ: a figure is cut to its text, whose width varies


def figure_difference(wanted, got, pictures=None):
    """Why two base64 pictures are not the same figure, or ""."""
    if wanted.strip() == got.strip():
        return ""
    a, b = pixels(wanted), pixels(got)
    if max(abs(a.shape[0] - b.shape[0]), abs(a.shape[1] - b.shape[1])) > MARGIN:
        (h, w), (new_h, new_w) = a.shape[:2], b.shape[:2]
        return f"wanted {w}×{h} pixels, got {new_w}×{new_h}{write_pictures(pictures, a, b, None)}"
    a, b = aligned(a, b)
    fine, gross = mismatch(a, b)
    n_fine, n_gross = int(fine.sum()), int(gross.sum())
    if n_gross <= SHARE * n_fine**2 / (n_fine + SPREAD):
        return ""
    rows, columns = np.nonzero(gross)
    where = f"x {columns.min()}–{columns.max()}, y {rows.min()}–{rows.max()}"
    where = f"{n_gross} pixels are of another figure, at {where}"
    return f"{where}{write_pictures(pictures, a, b, gross)}"


def pixels(encoded):
    """A base64 picture as (height, width, 3) numbers of 0 to 255, on white."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB")).astype(np.int16)


def aligned(a, b):
    """Two pictures cut to their common size, at the offset where they agree best."""
    height, width = np.minimum(a.shape[:2], b.shape[:2])

    def cut(picture, y, x):
        return picture[y : y + height, x : x + width]

    y_a, x_a = a.shape[0] - height, a.shape[1] - width
    y_b, x_b = b.shape[0] - height, b.shape[1] - width
    pairs = [
        (cut(a, min(y, y_a), min(x, x_a)), cut(b, min(y, y_b), min(x, x_b)))
        for y in range(max(y_a, y_b) + 1)
        for x in range(max(x_a, x_b) + 1)
    ]
    return min(pairs, key=lambda pair: np.abs(pair[0] - pair[1]).sum())


def mismatch(a, b):
    """Masks of the pixels that differ finely and grossly (see above), symmetric in a and b."""
    (low_a, high_a), (low_b, high_b) = neighbours(a), neighbours(b)

    def outside(p, q, low, high, shift):
        """How far p is from what moving q by `shift` pixels can make of it."""
        return (
            np.maximum(q - shift * (q - low) - p, p - q - shift * (high - q)).max(axis=-1) - SHADE
        )

    def either(shift):
        return np.maximum(outside(a, b, low_b, high_b, shift), outside(b, a, low_a, high_a, shift))

    flat = np.maximum(high_a - low_a, high_b - low_b).max(axis=-1) < SHADE
    recoloured = flat & (np.abs(a - b).max(axis=-1) > SHADE)
    return either(0.5) > 0, (either(1) > GROSS) | recoloured


def neighbours(picture):
    """The least and the greatest value among each pixel and its eight neighbours."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    views = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.minimum.reduce(views), np.maximum.reduce(views)


def write_pictures(prefix, wanted, got, gross):
    """Write the two pictures, and the first with the difference in red; say where."""
    if prefix is None:
        return ""
    Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    pictures = {"stored": wanted, "new": got}
    if gross is not None:
        marked = 255 - (255 - wanted) // 4
        marked[neighbours(gross[..., None].astype(np.int16))[1][..., 0] > 0] = (220, 0, 0)
        pictures["difference"] = marked
    for name, picture in pictures.items():
        Image.fromarray(picture.astype(np.uint8)).save(f"{prefix}-{name}.png")
    return f"\n  pictures: {prefix}-{{{','.join(pictures)}}}.png"
