"""`miniapr serve`: a model behind an OpenAI-compatible address."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..engine.engine import Engine
from ..model.bundle import Bundle, load
from .limits import ServerLimits

if TYPE_CHECKING:
    from .connection import Server

LOCAL = frozenset(("127.0.0.1", "localhost", "::1"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    limits = ServerLimits()
    parser.add_argument("--model", default="countdown", help="name of a model, or a folder")
    parser.add_argument("--host", default="127.0.0.1", help="by default only this machine can ask")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--backend", choices=("auto", "reference", "cpp", "cuda"), default="auto")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--blocks", type=int, default=2048, help="blocks in the pool")
    parser.add_argument("--block-size", type=int, default=16, help="tokens in a block")
    parser.add_argument("--no-prefix-cache", action="store_true", help="compute every prompt from its beginning")
    parser.add_argument("--api-key-file", help="a file with the key that clients need (or set MINIAPR_API_KEY)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="one more name by which it may be asked"
    )
    parser.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN", help="whose pages may ask it in a browser"
    )
    parser.add_argument("--grace", type=int, default=20, help="seconds that requests have left when it is stopped")
    bounds = parser.add_argument_group("limits on one request")
    bounds.add_argument("--max-tokens", type=int, default=limits.tokens, help="decoded, in all branches together")
    bounds.add_argument("--max-n", type=int, default=limits.n, help="answers to one prompt")
    bounds.add_argument("--max-width", type=int, default=limits.width, help="branches of one fork")
    bounds.add_argument("--max-body", type=int, default=limits.body, help="bytes")
    bounds.add_argument("--max-requests", type=int, default=limits.requests, help="running and waiting; then 429")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop. Raises ValueError for impossible options, OSError if the address is taken."""
    server, listening, url = build(args)
    print(f"miniapr serves {server.service.name} at {url}", flush=True)
    server.run(sockets=[listening])
    return 0


def build(args: argparse.Namespace) -> tuple[Server, socket.socket, str]:
    """The server, the socket on which it is to listen, and its address."""
    try:
        from .app import create_app
        from .connection import Server
        from .service import Service
    except ImportError as error:
        raise ImportError(f"the server needs more packages: pip install 'miniapr[server]' ({error})") from error
    limits = ServerLimits(
        body=args.max_body, n=args.max_n, width=args.max_width, tokens=args.max_tokens, requests=args.max_requests
    )
    key, origins = _key(args.api_key_file), [_origin(text) for text in args.allow_origin]
    if args.grace < 0:
        raise ValueError(f"grace must be at least 0 seconds, is {args.grace}")
    if not 0 <= args.port < 1 << 16:
        raise ValueError(f"port must be in 0..65535, is {args.port}")
    listening = _listen(args.host, args.port)
    host, port = listening.getsockname()[:2]
    local = ipaddress.ip_address(host).is_loopback
    url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
    if key is None and not local:
        print(f"miniapr: note: {url} is open to the network and asks for no key", file=sys.stderr)
    hosts = LOCAL | {name.lower() for name in (host, args.host, *args.allow_host)}
    service = Service(*_engine(args), limits, args.model)
    app = create_app(service, key, hosts if local and key is None else None, origins)
    return Server(app, service, args.grace), listening, url


def _engine(args: argparse.Namespace) -> tuple[Bundle, Engine]:
    from ..show.command import set_threads

    bundle = load(args.model, device=args.device)
    set_threads(args.threads, bundle)
    engine = Engine(
        bundle.model,
        bundle.tokenizer,
        num_blocks=args.blocks,
        block_size=args.block_size,
        backend=args.backend,
        reuse_prefixes=not args.no_prefix_cache,
        record=True,  # its events are all that the server reads; it takes them away after every step
    )
    return bundle, engine


def _key(file: str | None) -> str | None:
    """Never an argument: those can be read by everyone on the machine."""
    key = os.environ.get("MINIAPR_API_KEY")
    if file:
        with open(file, encoding="utf-8") as lines:
            key = lines.readline()
    key = key and key.strip()  # a header's value loses the spaces around it on its way here
    if key is not None and not (key and key.isascii() and key.isprintable()):
        raise ValueError("the API key must be one line of printable ASCII characters, and not empty")
    return key


def _origin(text: str) -> str:
    """As browsers write it. Not "*": that would be every page on the internet."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"an origin is like http://localhost:3000, without a path; got {text!r}")
    return text.lower()


def _listen(host: str, port: int) -> socket.socket:
    """Before the model is loaded: an address that is taken is found out at once."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
