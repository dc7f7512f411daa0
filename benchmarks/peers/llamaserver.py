"""llama.cpp's own server: python llamaserver.py GGUF NAME --host HOST --port PORT. Runs until it is killed."""

from __future__ import annotations

import argparse
import threading

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("gguf", "name", "--host", "--port"):
        parser.add_argument(name)
    args = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = args.gguf, {args.name}
    params.hostnames, params.port = [args.host], int(args.port)
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 8192, 4, 1  # tokens of all slots together
    server = xllamacpp.Server(params)  # kept: it ends with its object
    print(f"{args.name} at {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
