"""Generated calls of the C kernels, each with the numpy reference that judges it.

Run as a script with a library's path it checks every case and says nothing: that is how the sanitized build is run, for
which the sanitizer must be loaded before Python. Buffers have exactly the size that a kernel may touch.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tvm_dwfuse.codegen_gap8 import kernels

INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Requantization:
    """Multipliers and offsets of a layer whose sums stay within ``worst``, and the shift that spreads its outputs."""

    table: np.ndarray
    shift: int

    @staticmethod
    def choose(rng: np.random.Generator, channels: int, worst: int) -> Requantization:
        limit = max(1, INT32_MAX // (2 * worst))
        multiplier = rng.integers(max(1, limit // 4), limit, channels, endpoint=True)
        shift = max(0, int(np.log2(worst * limit / 2000)))
        offset = rng.integers(0, 256, channels) << shift
        return Requantization(kernels.pack_requantization(multiplier, offset), shift)

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """Outputs of sums whose last axis is the channel."""
        product = sums.astype(np.int64) * self.table[:, 0] + self.table[:, 1]
        assert np.abs(product).max() <= INT32_MAX
        return np.clip(product >> self.shift, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Image:
    """Where a logical (rows, width, channels) image lies in memory; its rows may be in a ring."""

    rows: int
    width: int
    channels: int
    row: int
    pixel: int
    channel: int
    ring: int
    first: int = 0

    @staticmethod
    def choose(rng: np.random.Generator, rows: int, width: int, channels: int, layout: str) -> Image:
        """That layout, at times with gaps between pixels, rows and planes."""
        ring = rows + int(rng.choice([0, 0, 1, 3]))
        first = int(rng.integers(ring)) if rng.random() < 0.5 else 0
        gap = [int(rng.choice([0, 0, 0, 1, 4])) for _ in range(2)]
        if layout == "HWC":
            pixel = channels + gap[0]
            return Image(rows, width, channels, width * pixel + gap[1], pixel, 1, ring, first)
        row = width + gap[0]
        return Image(rows, width, channels, row, 1, ring * row + gap[1], ring, first)

    def offsets(self) -> np.ndarray:
        """The byte offset of each element."""
        slots = (self.first + np.arange(self.rows)) % self.ring
        return (
            slots[:, None, None] * self.row
            + np.arange(self.width)[None, :, None] * self.pixel
            + np.arange(self.channels)[None, None, :] * self.channel
        )

    def place(self, rng: np.random.Generator, image: np.ndarray, slack: int = 0) -> np.ndarray:
        """Memory that ends ``slack`` bytes after the image's last byte, with noise in its gaps."""
        offsets = self.offsets()
        memory = rng.integers(0, 256, int(offsets.max()) + 1 + slack, dtype=np.uint8)
        memory[offsets] = image
        return memory


def address(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def call(function: Callable[..., None], *args: np.ndarray | int | None) -> None:
    """Calls the C function with numbers as int and arrays as pointers."""
    function(*[ctypes.c_int(arg) if isinstance(arg, int | np.integer) else address(arg) for arg in args])


def check_written(memory: np.ndarray, before: np.ndarray, offsets: np.ndarray, expected: np.ndarray) -> None:
    """The outputs are right and nothing else was written."""
    after = before.copy()
    after[offsets] = expected
    np.testing.assert_array_equal(memory, after)


def weights_of(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape, dtype=np.int8)


def padded_window(image: np.ndarray, top: int, left: int, rows: int, width: int, pad_value: int) -> np.ndarray:
    """Rows [-top, rows - top) and columns [-left, width - left) of the image, what is outside being padding."""
    window = np.full((rows, width, image.shape[2]), pad_value, np.int64)
    bottom, right = min(rows - top, image.shape[0]), min(width - left, image.shape[1])
    window[top : top + bottom, left : left + right] = image[:bottom, :right]
    return window


@dataclass(frozen=True)
class Geometry:
    """A convolution's window over an image; padding on the right and at the bottom follows from the sizes."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pad_top: int
    pad_left: int
    rows: int
    width: int
    out_rows: int
    out_width: int

    @staticmethod
    def choose(rng: np.random.Generator, kernels_: list[tuple[int, int]], max_out: int) -> Geometry:
        kernel = kernels_[rng.integers(len(kernels_))]
        stride = int(rng.choice([1, 1, 2, 2, 3]))
        strides = (stride, stride) if rng.random() < 0.85 else (stride, int(rng.integers(1, 4)))
        sizes = []
        for size, step in zip(kernel, strides, strict=True):
            before, after = (int(rng.integers(0, min(size, 2 if rng.random() < 0.7 else size))) for _ in range(2))
            out = int(rng.integers(1, max_out, endpoint=True))
            unused = int(rng.integers(0, 2))
            extent = (out - 1) * step + size - before - after + unused
            while extent < 1:
                out, extent = out + 1, extent + step
            sizes.append((before, extent, out))
        (top, rows, out_rows), (left, width, out_width) = sizes
        return Geometry(kernel, strides, top, left, rows, width, out_rows, out_width)

    def windows(self, image: np.ndarray, pad_value: int) -> np.ndarray:
        """(out_rows, out_width, kernel height, kernel width, channels): what each output reads."""
        (height, width), (step_h, step_w) = self.kernel, self.strides
        rows, columns = (self.out_rows - 1) * step_h + height, (self.out_width - 1) * step_w + width
        padded = padded_window(image, self.pad_top, self.pad_left, rows, columns, pad_value)
        every = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(0, 1))
        return every[::step_h, ::step_w].transpose(0, 1, 3, 4, 2)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        bottom = (self.out_rows - 1) * self.strides[0] + self.kernel[0] - self.pad_top - self.rows
        right = (self.out_width - 1) * self.strides[1] + self.kernel[1] - self.pad_left - self.width
        return self.pad_top, self.pad_left, max(bottom, 0), max(right, 0)


def check_pointwise(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    pixels, channels_in, channels = (int(rng.integers(1, high, endpoint=True)) for high in (13, 40, 21))
    x_pixel = channels_in + int(rng.choice([0, 0, 3, 4]))
    image = rng.integers(0, 256, (1, pixels, channels_in), dtype=np.uint8)
    weights = weights_of(rng, channels, channels_in, 1, 1)
    requantize = Requantization.choose(rng, channels, 255 * 128 * channels_in)
    packed = kernels.pack_conv_weights(weights)
    x = Image(1, pixels, channels_in, 0, x_pixel, 1, 1).place(rng, image, packed.shape[1] - channels_in)
    out = Image.choose(rng, 1, pixels, channels, str(rng.choice(["HWC", "CHW"])))
    out = Image(1, pixels, channels, 0, out.pixel, out.channel, 1)
    y = out.place(rng, np.zeros((1, pixels, channels)))
    before = y.copy()
    call(
        library.dwfuse_pointwise,
        *(x, x_pixel, pixels, packed, packed.shape[1], requantize.table, channels, requantize.shift),
        *(y, out.pixel, out.channel),
    )
    sums = image.astype(np.int64) @ weights[:, :, 0, 0].T.astype(np.int64)
    check_written(y, before, out.offsets(), requantize(sums))


CONV_KERNELS = [(1, 1), (1, 1), (3, 3), (3, 3), (2, 2), (5, 5), (1, 3), (7, 7)]


def check_conv(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    geometry = Geometry.choose(rng, CONV_KERNELS, 9)
    channels_in = int(rng.choice([1, 2, 3, 3, 4, 5, 8, 13]))
    channels = int(rng.integers(1, 13))
    pad_value = int(rng.integers(256))
    image = rng.integers(0, 256, (geometry.rows, geometry.width, channels_in), dtype=np.uint8)
    weights = weights_of(rng, channels, channels_in, *geometry.kernel)
    requantize = Requantization.choose(rng, channels, 255 * 128 * int(np.prod(weights.shape[1:])))
    packed = kernels.pack_conv_weights(weights)
    view = Image.choose(rng, *image.shape, str(rng.choice(["HWC", "CHW"])))
    pixels = geometry.out_rows * geometry.out_width
    begin = int(rng.integers(pixels)) if rng.random() < 0.5 else 0
    end = int(rng.integers(begin, pixels)) + 1 if rng.random() < 0.5 else pixels
    out = Image.choose(rng, 1, pixels, channels, str(rng.choice(["HWC", "CHW"])))
    out = Image(1, pixels, channels, 0, out.pixel, out.channel, 1)
    y = out.place(rng, np.zeros((1, pixels, channels)))
    before = y.copy()
    scratch = np.empty(kernels.conv_scratch(geometry.kernel, channels_in), np.uint8)
    call(
        library.dwfuse_conv,
        *(view.place(rng, image), view.row, view.pixel, view.channel, view.ring, view.first, view.rows, view.width),
        *(channels_in, *geometry.kernel, *geometry.strides, geometry.pad_top, geometry.pad_left, pad_value),
        *(geometry.out_width, begin, end, packed, packed.shape[1], requantize.table, channels, requantize.shift),
        *(y, out.pixel, out.channel, scratch),
    )
    windows = geometry.windows(image, pad_value)
    sums = np.einsum("hwijc,ocij->hwo", windows, weights.astype(np.int64)).reshape(1, pixels, channels)
    check_written(y, before, out.offsets()[:, begin:end], requantize(sums)[:, begin:end])


DEPTHWISE_KERNELS = [(3, 3)] * 6 + [(5, 5)] * 2 + [(7, 7), (2, 2), (1, 1), (3, 5), (4, 3)]


def check_depthwise(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    geometry = Geometry.choose(rng, DEPTHWISE_KERNELS, 14)
    channels, pad_value = int(rng.integers(1, 12)), int(rng.integers(256))
    image = rng.integers(0, 256, (geometry.rows, geometry.width, channels), dtype=np.uint8)
    weights = weights_of(rng, channels, 1, *geometry.kernel)
    requantize = Requantization.choose(rng, channels, 255 * 128 * int(np.prod(geometry.kernel)))
    layout = str(rng.choice(["HWC", "CHW"]))
    view = Image.choose(rng, *image.shape, layout)
    out = Image.choose(rng, geometry.out_rows, geometry.out_width, channels, str(rng.choice(["HWC", "CHW"])))
    out = Image(out.rows, out.width, out.channels, out.row, out.pixel, out.channel, out.rows)
    if out.channel > 1 and out.channel < out.rows * out.row:
        out = Image(out.rows, out.width, out.channels, out.row, out.pixel, out.rows * out.row, out.rows)
    y = out.place(rng, np.zeros((geometry.out_rows, geometry.out_width, channels)))
    before = y.copy()
    band = int(rng.integers(1, geometry.out_rows, endpoint=True))
    size = kernels.depthwise_scratch(
        geometry.kernel, geometry.strides, geometry.padding, geometry.out_width, band, layout == "HWC"
    )
    call(
        library.dwfuse_depthwise,
        *(view.place(rng, image), view.row, view.pixel, view.channel, view.ring, view.first, view.rows, view.width),
        *(*geometry.kernel, *geometry.strides, geometry.pad_top, geometry.pad_left, pad_value),
        *(geometry.out_rows, geometry.out_width, band, channels, kernels.pack_depthwise_weights(weights)),
        *(requantize.table, requantize.shift, y, out.row, out.pixel, out.channel),
        np.empty(size, np.uint8) if size else None,
    )
    sums = np.einsum("hwijc,cij->hwc", geometry.windows(image, pad_value), weights[:, 0].astype(np.int64))
    check_written(y, before, out.offsets(), requantize(sums))


def check_average_pool(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    pixels, channels = int(rng.integers(1, 50)), int(rng.integers(1, 14))
    image = rng.integers(0, 256, (1, pixels, channels), dtype=np.uint8)
    layout = Image.choose(rng, 1, pixels, channels, str(rng.choice(["HWC", "CHW"])))
    layout = Image(1, pixels, channels, 0, layout.pixel, layout.channel, 1)
    multiplier = int(rng.integers(1, INT32_MAX // (512 * pixels)))
    shift = max(0, int(np.log2(multiplier * pixels)) - 1)
    offset = int(rng.integers(-20, 20)) << shift
    y = np.full(channels, 77, np.uint8)
    x = layout.place(rng, image)
    call(
        library.dwfuse_average_pool,
        *(x, layout.pixel, layout.channel, pixels, channels, multiplier, offset, shift, y),
    )
    expected = np.clip((multiplier * image[0].sum(axis=0, dtype=np.int64) + offset) >> shift, 0, 255)
    np.testing.assert_array_equal(y, expected)


def check_add(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    count, shift = int(rng.integers(1, 40)), int(rng.integers(0, 22))
    a, b = rng.integers(0, 256, (2, count), dtype=np.uint8)
    m = [int(value) for value in rng.integers(0, (2 << shift) + 1, 2)]
    offset = int(rng.integers(-200, 100)) << shift
    y = np.full(count, 77, np.uint8)
    call(library.dwfuse_add, a.copy(), b.copy(), count, *m, offset, shift, y)
    expected = np.clip((m[0] * a.astype(np.int64) + m[1] * b.astype(np.int64) + offset) >> shift, 0, 255)
    np.testing.assert_array_equal(y, expected)


#: Each kernel's check and how many cases of it are generated.
CHECKS = {
    "pointwise": (check_pointwise, 80),
    "conv": (check_conv, 120),
    "depthwise": (check_depthwise, 240),
    "average_pool": (check_average_pool, 20),
    "add": (check_add, 20),
}


def all_checks() -> Iterator[tuple[str, int]]:
    for name, (_, count) in CHECKS.items():
        for seed in range(count):
            yield name, seed


def check(library: ctypes.CDLL, name: str, seed: int) -> None:
    """Generates the case of that number and checks it."""
    CHECKS[name][0](library, np.random.default_rng([seed, len(name)]))


if __name__ == "__main__":
    loaded = ctypes.CDLL(sys.argv[1])
    for case in all_checks():
        check(loaded, *case)
