"""Speed of llama.cpp and of ours on the same GGUF file, taken in turn, as a table of ratios.

    bench_peer.py [options] MODEL.gguf ...          (moxie synth makes models to measure with)

Needs llama-cpp-python, whose low-level functions are called; its own library computes on the CPU.
Rounds alternate (ours, theirs, ours, ...), so that a machine that slows down slows both; each round
of ours is one `moxie bench`, the peer stays loaded between rounds. Both read English text, both warm
up first. Medians over all repetitions of all rounds are compared. The bandwidth line comes from
`moxie bench --peaks`.

llama.cpp on Vulkan: prebuilt libraries of the same version come with the npm package of
node-llama-cpp; no installation is needed:

    npm pack @node-llama-cpp/linux-x64-vulkan && tar xzf node-llama-cpp-linux-x64-vulkan-*.tgz
    mkdir peer && cp package/bins/linux-x64-vulkan/*.so peer/
    ln -s libllama.vulkan.*.so peer/libllama.so && ln -s libggml.vulkan.*.so peer/libggml.so  (in peer/)
    bench_peer.py --peer-library peer --device vulkan:0 MODEL.gguf

By itself llama.cpp takes no Vulkan device of the type CPU. Where GGML_VK_VISIBLE_DEVICES names the
devices it takes what it is told, also lavapipe; this script sets it from --device vulkan:N (the
N-th device of the loader; VK_DRIVER_FILES=.../lvp_icd.json leaves lavapipe alone). Expect minutes
for its pipelines to compile there: ask for little (-p 32 -n 8 --rounds 2).

On a machine that does other work the ratios flatter us: threads of llama.cpp spin while they wait for
one that is not running. A warning says so; -t 1 is the nearest to fair then.
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
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
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

    def measure(self, test):
        """Seconds of a test: "pp512", "tg128"."""
        n = int(test[2:])
        self.forget()
        if test.startswith("tg"):
            self.decode(0, 1)
            self.llama.llama_get_logits(self.context)
        started = time.perf_counter()
        if test.startswith("pp"):
            for first in range(0, n, 512):
                self.decode(first, min(512, n - first))
            self.llama.llama_get_logits(self.context)
        else:
            for i in range(n):
                self.decode(1 + i, 1)
                self.llama.llama_get_logits(self.context)
        return time.perf_counter() - started


def work(options):
    """A test a line in, its seconds out."""
    peer = Peer(options)
    print("ready", flush=True)
    for line in sys.stdin:
        print(peer.measure(line.strip()), flush=True)


class PeerProcess:
    def __init__(self, options, model):
        command = [sys.executable, __file__, model, "--worker", "--device", options.device,
                   "-p", ",".join(map(str, options.p)) or "0", "-n", ",".join(map(str, options.n)) or "0",
                   "-t", str(options.threads), "--text", options.text]
        if options.peer_library:
            command += ["--peer-library", options.peer_library]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"llama.cpp did not start with {model} (see with --worker added)")

    def speed(self, test):
        print(test, file=self.process.stdin, flush=True)
        return int(test[2:]) / float(self.process.stdout.readline())

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


def our_speeds(options, model, test):
    n = test[2:]
    lengths = ["-p", n, "-n", "0"] if test.startswith("pp") else ["-p", "0", "-n", n]
    row = bench(options, model, *lengths, "-r", str(options.r), "--no-peaks")[0]
    return row["samples_ts"], row


# ---- both ----


def compare(options, model):
    tests = [f"pp{n}" for n in options.p] + [f"tg{n}" for n in options.n]
    ours, theirs, rows = {t: [] for t in tests}, {t: [] for t in tests}, {}
    peer = PeerProcess(options, model)
    for test in tests:
        peer.speed(test[:2] + str(min(int(test[2:]), 32)))  # warm up
    for done in range(options.rounds):
        for test in tests:
            if sys.stderr.isatty():
                print(f"\r{os.path.basename(model)}: round {done + 1} of {options.rounds}, {test} ",
                      end="", file=sys.stderr, flush=True)
            speeds, rows[test] = our_speeds(options, model, test)
            ours[test] += speeds
            theirs[test] += [peer.speed(test) for _ in range(options.r)]
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    peer.close()
    for test in tests:
        mine, other = statistics.median(ours[test]), statistics.median(theirs[test])
        pairs = [a / b for a, b in zip(ours[test], theirs[test])]
        row = rows[test]
        read = row["bytes_per_second"] / row["avg_ts"] * mine / 1e9 if test.startswith("tg") else 0
        print(f"| {os.path.basename(model)} | {row['model_size'] / 2**30:.2f} GiB | {test} | {mine:.2f} | "
              f"{other:.2f} | **{mine / other:.2f}** | {min(pairs):.2f} - {max(pairs):.2f} | "
              f"{f'{read:.1f}' if read else ''} |", flush=True)


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
    if load > 0.2 * os.cpu_count():
        print(f"warning: {load:.1f} threads of others are running on {os.cpu_count()} cores", file=sys.stderr)
    print(f"Device {options.device}, {options.threads} threads, {options.rounds} rounds of {options.r}.\n")
    print("| model | size | test | moxie t/s | llama.cpp t/s | ratio | ratio of pairs | GB/s |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for model in options.models:
        compare(options, model)
    print_bandwidth(options)


if __name__ == "__main__":
    main()
