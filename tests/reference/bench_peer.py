"""Speed of llama.cpp and of ours on the same GGUF file, taken in turn, as a table of ratios.

    bench_peer.py [options] MODEL.gguf ...          (moxie synth makes models to measure with)

Needs llama-cpp-python, whose low-level functions are called; its own library computes on the CPU.
Rounds alternate (ours, theirs, ours, ...), so that a machine that slows down slows both; each is a
process that keeps the model loaded, ours through libmoxie.so (--library). Both read English text, both
warm up first. Medians over all repetitions of all rounds are compared; "CPU time" is the ratio of what
the same work cost the processor (user + system, of all threads; above 1: ours took less). The bytes
behind GB/s come from `moxie bench`, the bandwidth line from `moxie bench --peaks`.

llama.cpp on Vulkan: prebuilt libraries of the same version come with the npm package of
node-llama-cpp; no installation is needed:

    npm pack @node-llama-cpp/linux-x64-vulkan && tar xzf node-llama-cpp-linux-x64-vulkan-*.tgz
    mkdir peer && cp package/bins/linux-x64-vulkan/*.so peer/
    ln -s libllama.vulkan.*.so peer/libllama.so && ln -s libggml.vulkan.*.so peer/libggml.so  (in peer/)
    bench_peer.py --peer-library peer --device vulkan:0 MODEL.gguf

By itself llama.cpp takes no Vulkan device of the type CPU. Where GGML_VK_VISIBLE_DEVICES names the
devices it takes what it is told, also lavapipe; this script sets it from --device vulkan:N (the
N-th device of the loader; VK_DRIVER_FILES=.../lvp_icd.json leaves lavapipe alone). Expect minutes
for its pipelines to compile there: ask for little (-p 32 -n 8 --rounds 2). On lavapipe it computes
matrices of more than 128 MiB on the CPU, which is no comparison: take a model whose head and experts
are smaller (olmoe-1b-7b with --layers 2, q4_k_m).

On a machine that does other work the ratios flatter us: threads of llama.cpp spin while they wait for
one that is not running. A warning says so; -t 1 is the nearest to fair then, and its CPU time fairer.
--cpu-time makes processor time the measure of all columns, for software Vulkan drivers. --against
LIBRARY compares with another build of ours.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time


def numbers(text):
    return [int(part) for part in text.split(",") if int(part) > 0]


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--moxie", default="build/tools/moxie")
    parser.add_argument("--peer-library", help="folder with libllama.so and libggml*.so")
    parser.add_argument("--device", default="cpu", help="cpu or vulkan:N")
    parser.add_argument("-p", type=numbers, default=[512, 2048], help="prompts (512,2048)")
    parser.add_argument("-n", type=numbers, default=[128], help="answers (128)")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-r", type=int, default=1, help="repetitions in a round")
    parser.add_argument("--text", default=os.path.join(os.path.dirname(__file__), "../../README.md"),
                        help="what the peer reads (README.md)")
    parser.add_argument("--cpu-time", action="store_true", help="compare processor time, not wall time")
    parser.add_argument("--library", default="build/engine/libmoxie.so", help="ours")
    parser.add_argument("--against", metavar="LIBRARY",
                        help="another build of ours instead of llama.cpp")
    parser.add_argument("--worker", choices=["peer", "ours", "against"], help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- the peer, in a process of its own ----


def import_peer(folder):
    """llama_cpp with the library in `folder`, which may lack functions of its header."""
    if not folder:
        import llama_cpp

        return llama_cpp
    folder = os.path.abspath(folder)
    os.environ["LLAMA_CPP_LIB_PATH"] = folder
    find = ctypes.CDLL.__getattr__

    def find_or_nothing(library, name):
        try:
            return find(library, name)
        except AttributeError:
            return ctypes.CFUNCTYPE(None)()

    ctypes.CDLL.__getattr__ = find_or_nothing
    import llama_cpp

    ctypes.CDLL.__getattr__ = find
    ggml = ctypes.CDLL(os.path.join(folder, "libggml.so"))
    ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_load_all_from_path(folder.encode())
    return llama_cpp


class Peer:
    def __init__(self, options):
        if options.device.startswith("vulkan:"):
            os.environ["GGML_VK_VISIBLE_DEVICES"] = options.device.split(":")[1]
        self.llama = llama = import_peer(options.peer_library)
        # llama.cpp logs a lot; a reference must be kept, or the callback is collected.
        self.log = llama.llama_log_callback(lambda level, text, data: None)
        llama.llama_log_set(self.log, None)
        llama.llama_backend_init()
        model_options = llama.llama_model_default_params()
        model_options.n_gpu_layers = 0 if options.device == "cpu" else 999
        self.model = llama.llama_model_load_from_file(options.models[0].encode(), model_options)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {options.models[0]}")
        context_options = llama.llama_context_default_params()
        context_options.n_ctx = max(options.p + options.n) + 64
        context_options.n_batch = context_options.n_ubatch = 512
        context_options.n_threads = context_options.n_threads_batch = options.threads
        self.context = llama.llama_init_from_model(self.model, context_options)
        self.ids = self.read_text(options.text, context_options.n_ctx)

    def read_text(self, path, n):
        text = open(path, "rb").read()
        text *= 1 + 8 * n // len(text)
        vocabulary = self.llama.llama_model_get_vocab(self.model)
        ids = (self.llama.llama_token * len(text))()
        count = self.llama.llama_tokenize(vocabulary, text, len(text), ids, len(text), False, False)
        if count < n:
            sys.exit(f"{path} has too few tokens")
        return ids

    def decode(self, first, n):
        part = (self.llama.llama_token * n)(*self.ids[first : first + n])
        if self.llama.llama_decode(self.context, self.llama.llama_batch_get_one(part, n)) != 0:
            sys.exit("llama.cpp failed")

    def forget(self):
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)

    def prompt(self, n):
        for first in range(0, n, 512):
            self.decode(first, min(512, n - first))
        self.llama.llama_get_logits(self.context)

    def answer(self, first, n):
        for i in range(n):
            self.decode(first + i, 1)
            self.llama.llama_get_logits(self.context)


class MoxieOptions(ctypes.Structure):
    _fields_ = [("device", ctypes.c_char_p), ("threads", ctypes.c_uint32),
                ("device_memory", ctypes.c_uint64), ("cache_folder", ctypes.c_char_p),
                ("validation", ctypes.c_bool), ("progress", ctypes.c_void_p),
                ("progress_context", ctypes.c_void_p), ("type", ctypes.c_char_p),
                ("arithmetic", ctypes.c_char_p)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("context", ctypes.c_uint32), ("chunk", ctypes.c_uint32), ("kv_type", ctypes.c_int),
                ("keep_routes", ctypes.c_bool), ("observe", ctypes.c_bool)]


class Ours:
    """engine/moxie.h through ctypes."""

    def __init__(self, options, library):
        self.moxie = moxie = ctypes.CDLL(os.path.abspath(library))
        self.error = ctypes.create_string_buffer(512)
        moxie.moxie_options_defaults.restype = MoxieOptions
        moxie.moxie_session_defaults.restype = SessionOptions
        moxie.moxie_open.restype = moxie.moxie_session_create.restype = ctypes.c_void_p
        moxie.moxie_rewind.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        moxie.moxie_eval.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        moxie.moxie_eval.restype = ctypes.c_bool
        model_options = moxie.moxie_options_defaults()
        model_options.device, model_options.threads = options.device.encode(), options.threads
        self.model = ctypes.c_void_p(
            moxie.moxie_open(options.models[0].encode(), ctypes.byref(model_options), self.error))
        self.check(self.model)
        session_options = moxie.moxie_session_defaults()
        session_options.context = max(options.p + options.n) + 64
        self.session = ctypes.c_void_p(
            moxie.moxie_session_create(self.model, ctypes.byref(session_options), self.error))
        self.check(self.session)
        self.ids = self.read_text(options.text, session_options.context)

    def check(self, ok):
        if not ok:
            sys.exit(self.error.value.decode())

    def read_text(self, path, n):
        text = open(path, "rb").read()
        text *= 1 + 8 * n // len(text)
        ids, count = ctypes.POINTER(ctypes.c_uint32)(), ctypes.c_size_t()
        self.check(self.moxie.moxie_tokenize(self.model, text, ctypes.c_size_t(len(text)), 0,
                                             ctypes.byref(ids), ctypes.byref(count), self.error))
        return (ctypes.c_uint32 * n)(*ids[:n])

    def prompt(self, n, first=0):
        start = ctypes.byref(self.ids, 4 * first)
        self.check(self.moxie.moxie_eval(self.session, start, n, self.error))

    def answer(self, first, n):
        for i in range(n):
            self.prompt(1, first + i)

    def forget(self):
        self.moxie.moxie_rewind(self.session, 0)


def measure(engine, test):
    """Seconds of a test ("pp512", "tg128"), and those of the processor."""
    n = int(test[2:])
    engine.forget()
    if test.startswith("tg"):
        engine.prompt(1)
    started = time.perf_counter(), time.process_time()
    if test.startswith("pp"):
        engine.prompt(n)
    else:
        engine.answer(1, n)
    return time.perf_counter() - started[0], time.process_time() - started[1]


def work(options):
    """A test a line in, its seconds and the processor's out."""
    engine = (Peer(options) if options.worker == "peer" else
              Ours(options, options.library if options.worker == "ours" else options.against))
    print("ready", flush=True)
    for line in sys.stdin:
        print(*measure(engine, line.strip()), flush=True)


class Worker:
    def __init__(self, options, model, who):
        command = [sys.executable, __file__, model, "--worker", who, "--device", options.device,
                   "-p", ",".join(map(str, options.p)) or "0", "-n", ",".join(map(str, options.n)) or "0",
                   "-t", str(options.threads), "--text", options.text, "--library", options.library]
        if options.peer_library:
            command += ["--peer-library", options.peer_library]
        if options.against:
            command += ["--against", options.against]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"{who} did not start with {model} (see with --worker {who} added)")

    def speeds(self, test):
        """Tokens a second, and a second of processor time."""
        print(test, file=self.process.stdin, flush=True)
        return [int(test[2:]) / float(seconds) for seconds in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- ours ----


def bench(options, *arguments):
    command = [options.moxie, "bench", "--device", options.device, "--threads", str(options.threads),
               "--output", "jsonl", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def bytes_per_token(options, model, test):
    if not test.startswith("tg"):
        return 0
    row = bench(options, model, "-p", "0", "-n", test[2:], "-r", "1", "--no-peaks")[0]
    return row["bytes_per_second"] / row["avg_ts"]


# ---- both ----


def ratio(ours, theirs, clock):
    return statistics.median(s[clock] for s in ours) / statistics.median(s[clock] for s in theirs)


def compare(options, model):
    tests = [f"pp{n}" for n in options.p] + [f"tg{n}" for n in options.n]
    ours, theirs = {t: [] for t in tests}, {t: [] for t in tests}
    read = {t: bytes_per_token(options, model, t) if options.device == "cpu" else 0 for t in tests}
    peer = Worker(options, model, "against" if options.against else "peer")
    mine = Worker(options, model, "ours")
    for worker in peer, mine:
        for test in tests:
            # A warm-up makes what the test needs: of a prompt, kernels for its length.
            worker.speeds(test if test.startswith("pp") else test[:2] + str(min(int(test[2:]), 32)))
    for done in range(options.rounds):
        for test in tests:
            if sys.stderr.isatty():
                print(f"\r{os.path.basename(model)}: round {done + 1} of {options.rounds}, {test} ",
                      end="", file=sys.stderr, flush=True)
            for _ in range(options.r):
                ours[test].append(mine.speeds(test))
                theirs[test].append(peer.speeds(test))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    peer.close()
    mine.close()
    clock = 1 if options.cpu_time else 0
    for test in tests:
        speed = statistics.median(s[clock] for s in ours[test])
        pairs = [a[clock] / b[clock] for a, b in zip(ours[test], theirs[test])]
        print(f"| {os.path.basename(model)} | {os.path.getsize(model) / 2**30:.2f} GiB | {test} | {speed:.2f} | "
              f"{statistics.median(s[clock] for s in theirs[test]):.2f} | "
              f"**{ratio(ours[test], theirs[test], clock):.2f}** | {min(pairs):.2f} - {max(pairs):.2f} | "
              f"{ratio(ours[test], theirs[test], 1):.2f} | "
              f"{f'{read[test] * speed / 1e9:.1f}' if read[test] else ''} |", flush=True)


def print_bandwidth(options):
    for row in bench(options, "--peaks"):
        largest = row["read"][-1]
        print(f"\n{row['device']} reads {largest['bytes_per_second'] / 1e9:.1f} GB/s "
              f"from {largest['bytes'] / 2**20:.0f} MiB (moxie bench --peaks).")


def main():
    options = read_arguments()
    if options.worker:
        return work(options)
    load = os.getloadavg()[0]
    if not options.cpu_time and load > 0.2 * os.cpu_count():
        print(f"warning: {load:.1f} threads of others are running on {os.cpu_count()} cores", file=sys.stderr)
    print(f"Device {options.device}, {options.threads} threads, {options.rounds} rounds of {options.r}.\n")
    second = "second" if not options.cpu_time else "second of processor time"
    other = "before" if options.against else "llama.cpp"
    print(f"Tokens a {second}.\n")
    print(f"| model | size | test | moxie | {other} | ratio | ratio of pairs | CPU time | GB/s |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for model in options.models:
        compare(options, model)
    if not options.cpu_time:
        print_bandwidth(options)


if __name__ == "__main__":
    main()
