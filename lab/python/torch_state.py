#!/usr/bin/env python3
"""State dicts of PyTorch as files of Kudari's, and back: what `kudari import-torch` and
`kudari export-torch` run. It needs torch alone.

    torch_state.py read FILE STATE.safetensors [--names FILE] [--optimizer CLASS] [--part NAME]
                                               [--step N]
    torch_state.py write STATE.safetensors FILE [--names FILE] [--dcp]

FILE is of torch.save, or a folder of torch.distributed.checkpoint. torch_exchange.py has what is in
STATE.safetensors.
"""

import argparse
import sys

from torch_exchange import Refused
from torch_export import write
from torch_import import read


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    reader = commands.add_parser("read")
    reader.add_argument("file")
    reader.add_argument("state")
    reader.add_argument("--names")
    reader.add_argument("--optimizer")
    reader.add_argument("--part")
    reader.add_argument("--step", type=int)
    writer = commands.add_parser("write")
    writer.add_argument("state")
    writer.add_argument("file")
    writer.add_argument("--names")
    writer.add_argument("--dcp", action="store_true")
    arguments = parser.parse_args()
    try:
        (read if arguments.command == "read" else write)(arguments)
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
