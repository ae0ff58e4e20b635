#!/usr/bin/env python3
"""Checks that a library shows the functions that a header declares, and nothing else.

usage: exports.py NM LIBRARY HEADER
"""

import re
import subprocess
import sys


def main():
    nm, library, header = sys.argv[1:]
    with open(header, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    declared = set(re.findall(r"^(?:int|int32_t|void|const char\*) (kudari_\w+)\(", text,
                              re.MULTILINE))
    listed = subprocess.run([nm, "-D", "--defined-only", "--format=posix", library], check=True,
                            text=True, stdout=subprocess.PIPE).stdout
    shown = {line.split()[0].partition("@")[0] for line in listed.splitlines()}
    shown.discard("KUDARI_1")  # the version itself
    if shown != declared or len(declared) < 40:
        sys.exit(f"only in the library: {sorted(shown - declared)}\n"
                 f"only in the header: {sorted(declared - shown)}")


main()
