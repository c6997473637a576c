"""Compares the encoders and decoders of format/quant*.c with ggml's (llama.cpp), which share no code
with them: error over the same matrices, with and without importance weights, and speed.

- rmse ratio: ours / ggml's; below 1 ours is better. Matrices: Gaussian, heavy-tailed (Student's t, 4
  degrees of freedom), Gaussian with outliers (one element in 1000, 20 times larger), and the
  matrices of a checkpoint, if its model.safetensors (bf16) is given.
- weighted ratio: the same with importance weights given to both encoders, of the error weighted by
  them. Weights: squares of log-normal activations, one a column.
- encode MB/s of f32 input, decode GB/s of f32 output, CPU time of one thread, best of several.

Our codecs are compiled into a shared library with the flags of the project. Run by hand:

    python3 -m venv venv && venv/bin/pip install numpy llama-cpp-python
    venv/bin/python tests/reference/quant_types.py LIBGGML_BASE.so [MODEL.safetensors]
"""
import ctypes
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TYPES = {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q2_K": 10, "q3_K": 11, "q4_K": 12,
         "q5_K": 13, "q6_K": 14, "iq4_nl": 20, "iq4_xs": 23, "mxfp4": 39}
POINTER, SIZE = ctypes.c_void_p, ctypes.c_uint64


class DtypeInfo(ctypes.Structure):  # struct dtype_info of format/dtype.h
    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("elements", ctypes.c_uint32),
                ("block_bytes", ctypes.c_uint32), ("n_planes", ctypes.c_uint32),
                ("plane_bytes", ctypes.c_uint32 * 4)]


def load_ours(folder):
    library = pathlib.Path(folder) / "codecs.so"
    sources = [ROOT / "format/dtype.c", *sorted((ROOT / "format").glob("quant*.c"))]
    subprocess.check_call(["cc", "-std=gnu17", "-O3", "-ffp-contract=off", "-fPIC", "-shared",
                           "-D_GNU_SOURCE", "-I", ROOT, "-o", library, *sources, "-lm"])
    ours = ctypes.CDLL(str(library))
    ours.dtype_info.restype = ctypes.POINTER(DtypeInfo)
    ours.dtype_matrix_bytes.restype = SIZE
    ours.dtype_plane_offset.restype = SIZE
    ours.dtype_row_stride.restype = SIZE
    ours.quant_encode_matrix_row.argtypes = [POINTER] * 4 + [SIZE] * 3
    ours.quant_decode_matrix_row.argtypes = [POINTER] * 2 + [SIZE] * 3 + [POINTER]
    return ours


def load_ggml(path):
    ggml = ctypes.CDLL(path)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, POINTER, POINTER] + [ctypes.c_int64] * 3 + [POINTER]
    return ggml


def touched(shape, dtype):
    """Memory whose pages are there already, so that no time goes to the system."""
    return numpy.full(shape, 1, dtype)


def address(array):
    return array.ctypes.data if array is not None else None


class Ours:
    def __init__(self, library, name):
        self.library, self.info = library, library.dtype_info(TYPES[name])
        self.bits = 8 * self.info.contents.block_bytes / self.info.contents.elements

    def encode(self, x, importance):
        rows, cols = x.shape
        matrix = touched(self.library.dtype_matrix_bytes(self.info, SIZE(rows), SIZE(cols)), numpy.uint8)
        start = time.thread_time()
        for row in range(rows):
            self.library.quant_encode_matrix_row(self.info, address(x) + 4 * cols * row, address(importance),
                                                 address(matrix), rows, cols, row)
        return matrix, time.thread_time() - start

    def decode(self, matrix, shape):
        y = touched(shape, numpy.float32)
        start = time.thread_time()
        for row in range(shape[0]):
            self.library.quant_decode_matrix_row(self.info, address(matrix), shape[0], shape[1], row,
                                                 address(y) + 4 * shape[1] * row)
        return y, time.thread_time() - start


class Ggml:
    def __init__(self, library, name, bits):
        self.library, self.number, self.bits = library, TYPES[name], bits
        self.decode_row = getattr(library, "dequantize_row_" + name)
        self.decode_row.argtypes = [POINTER, POINTER, ctypes.c_int64]

    def encode(self, x, importance):
        blocks = touched(int(x.size * self.bits / 8), numpy.uint8)
        start = time.thread_time()
        self.library.ggml_quantize_chunk(self.number, address(x), address(blocks), 0, *x.shape,
                                         address(importance))
        return blocks, time.thread_time() - start

    def decode(self, blocks, shape):
        y = touched(shape, numpy.float32)
        row_bytes = blocks.size // shape[0]
        start = time.thread_time()
        for row in range(shape[0]):
            self.decode_row(address(blocks) + row_bytes * row, address(y) + 4 * shape[1] * row, shape[1])
        return y, time.thread_time() - start


def checkpoint_matrix(path):
    """Rows of 256 elements of every matrix but the embedding."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    parts = []
    for name, tensor in header.items():
        if name == "__metadata__" or len(tensor["shape"]) != 2 or tensor["shape"][1] % 256 or "embed" in name:
            continue
        begin, end = tensor["data_offsets"]
        bits = numpy.frombuffer(data[begin:end], numpy.uint16).astype(numpy.uint32) << 16
        parts.append(bits.view(numpy.float32).reshape(-1, 256))
    return numpy.ascontiguousarray(numpy.concatenate(parts)[:4096])


def matrices(checkpoint):
    random = numpy.random.default_rng(7)
    shape = (256, 4096)
    gaussian = random.standard_normal(shape)
    outliers = gaussian * numpy.where(random.random(shape) < 0.001, 20, 1)
    result = {"Gaussian": 0.02 * gaussian, "heavy tails": 0.02 * random.standard_t(4, shape),
              "outliers": 0.02 * outliers}
    result = {name: numpy.ascontiguousarray(x, numpy.float32) for name, x in result.items()}
    if checkpoint:
        result["checkpoint"] = checkpoint_matrix(checkpoint)
    importance = {cols: numpy.exp(2 * random.standard_normal(cols)).astype(numpy.float32) for cols in (256, 4096)}
    return result, importance


def error(codec, x, importance):
    data, _ = codec.encode(x, importance)
    y, _ = codec.decode(data, x.shape)
    weights = 1 if importance is None else importance
    return float(numpy.sqrt(numpy.mean(weights * (y.astype(numpy.float64) - x) ** 2)))


def main():
    inputs, importances = matrices(sys.argv[2] if len(sys.argv) > 2 else None)
    with tempfile.TemporaryDirectory() as folder:
        ours_library, ggml_library = load_ours(folder), load_ggml(sys.argv[1])
    print("| Type | Bits | rmse Gaussian, ours | ggml | ratio", *(f"| {name}" for name in list(inputs)[1:]),
          *(f"| weighted {name}" for name in inputs),
          "| encode MB/s, ours | ggml | ratio of times | with importance, ours | ggml | ratio of times "
          "| decode GB/s, ours | ggml |")
    print("|---" * (16 + 2 * len(inputs) - 2) + "|")
    for name in TYPES:
        ours = Ours(ours_library, name)
        ggml = Ggml(ggml_library, name, ours.bits)
        row = [name.lower(), f"{ours.bits:g}"]
        weighted = []
        for kind, x in inputs.items():
            a, b = error(ours, x, None), error(ggml, x, None)
            row += [f"{a:.4e}", f"{b:.4e}"] if kind == "Gaussian" else []
            row.append(f"{a / b:.4f}")
            importance = importances[x.shape[1]]
            weighted.append(f"{error(ours, x, importance) / error(ggml, x, importance):.4f}")
        row += weighted
        x = inputs["Gaussian"]
        for importance in (None, importances[4096]):
            part = x[:64] if importance is not None else x[:64].reshape(1, -1)  # one call, as ggml
            a, b = (min([codec.encode(part, importance)[1] for _ in range(6)]) for codec in (ours, ggml))
            row += [f"{part.nbytes * 1e-6 / a:.0f}", f"{part.nbytes * 1e-6 / b:.0f}", f"{a / b:.2f}"]
        part = x[:16].reshape(1, -1)
        for codec in (ours, ggml):
            data = codec.encode(part, None)[0]
            row.append(f"{part.nbytes * 1e-9 / min([codec.decode(data, part.shape)[1] for _ in range(20)]):.2f}")
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
