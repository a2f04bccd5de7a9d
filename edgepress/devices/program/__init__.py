"""The program that a device runs: it loads one model, times it and predicts with it.

Self-contained: Python, numpy and the runtime asked for (`ai_edge_litert` or `onnxruntime`), nothing of this
project but this folder, which `host.program_file` packs into one file, `runner.pyz`. It reads one JSON
object per line from standard input and answers each with one line on standard output:

    {"do": "probe"}                                           → what the device is and has; needs neither
                                                                numpy nor a runtime
    {"do": "start", "runtime": "tflite" | "onnxruntime"}      imports the runtime → pid; with "cpus": [i, …],
                                                                keeps to those; with "attended": true, ends as
                                                                soon as its input does, whatever it is at
    {"do": "load", "model": path, "threads": n}               → load_ms, inputs and outputs, each with its
                                                                name; with "kernels": {…}, what computes
    {"do": "inputs", "files": {name: npy}, "orders": {name: [axis, …]}}   the samples to run, a file (N, …)
                                                                for each input; the model's axis i is the
                                                                file's order[i], or i where none is given.
                                                                Without any orders, images (N, C, H, W) are
                                                                moved as the model's sizes tell
    {"do": "time", "runs": n}                                 → durations_ns of n inferences of one sample
    {"do": "warm_up", "burst": {"runs": n, "limit_s": t}}     runs bursts until they are alike → steady
    {"do": "batch", "size": n}                                runs are of n samples from now on → fault, why
                                                                they cannot be, else null
    {"do": "sustain", "seconds": t}                           runs without pause → how often, from when to
                                                                when, p50 of the first and last tenth
    {"do": "rest", "seconds": t}                              does nothing → from when to when
    {"do": "clock"}                                           → now_s, of the device's clock, since 1970
    {"do": "conditions"}                                      → frequency, temperature, load, …
    {"do": "stats"}                                           → memory, versions, op resolver, machine
    {"do": "predict", "outputs": [npy, …], "first": i, "seconds": t}   writes each output of samples from i
                                                                on, joined on the first axis → predicted: of
                                                                how many, all that are left or as many as t
                                                                and memory allow
    {"do": "cuts", "model": path, "threads": n, "places": {…}, "ends": [{…}, …], "scratch": path}
                                                                loads beginnings of one `.tflite`, see
                                                                `beginning`, in the place of a model
    {"do": "time_cuts", "runs": n}                            → durations_ns of n invocations of each of them
    {"do": "nodes"}                                           → nodes and durations_us (runs, nodes) of an
                                                                .onnx so far, loaded with "kernels":
                                                                {"record": path}, where it is kept
    {"do": "quit"}                                            so does the end of the input

A request that fails is answered with {"error": reason, "kind": …}: "runtime" where a package is missing,
"device" where the device has no such CPU, delegate or provider, "model", "request" or "disk". A request with
"limit_s": t that takes longer ends the program, whether or not anybody is still there to hear of it. An
inference goes from inputs in the model's own types and layouts to its outputs, with batch 1 but for `batch`
or where the model has another one built in.
A load is of the model alone: the runtime is imported already, and the file may be in the page cache. Ask for
`stats` before `predict`: the peak of memory is then that of loading and single inferences. The host turns
codes of an integer output into logits.
"""
