"""The limits in src/doctor, and its sources with limits that can be set.

A limit is a constant of a function, or of a file, that decides about a verdict: `constexpr double
kRise = 1.05;` in FindOverfitting is "FindOverfitting.kRise". One of a file has no function before its
name.
"""

import dataclasses
import pathlib
import re

SOURCES = pathlib.Path("src/doctor")
# Constants that are no limits: how much of a text is shown, mathematics, and how sure a finding is.
NO_LIMITS = re.compile(r"kShown|kTurn|kSure\w*|kMostWithout\w+")

DECLARATION = re.compile(r"^( *)((?:inline )?)constexpr (double|size_t|int|int64_t) (k[^;]*);", re.M)
FUNCTION = re.compile(r"^(?:struct (\w+)|[A-Za-z][\w:<>,&* ]*?(\w+)\([^;]*)", re.M)


@dataclasses.dataclass
class Limit:
    name: str
    file: str
    text: str  # of its value in the source

    @property
    def value(self):
        return eval(self.text.replace("'", ""), {"__builtins__": {}})


def functions(text):
    """Where functions and structs begin, in order, with their names."""
    return [(m.start(), m[1] or m[2]) for m in FUNCTION.finditer(text)
            if not m[0].startswith(("using", "return", "namespace"))]


def settable(file, text):
    """The text with its limits looked up in place of constants, and the limits."""
    limits = []
    begins = functions(text)
    constants, head = {}, []

    def looked_up(match):
        space, _, kind, declared = match.groups()
        where = [name for begin, name in begins if begin < match.start()][-1:] if space else []
        lines = []
        for part in declared.split(","):
            name, value = (side.strip() for side in part.split("="))
            if NO_LIMITS.fullmatch(name):
                lines.append(f"constexpr {kind} {name} = {value};")
                continue
            limit = Limit(".".join([*where, name]), file, value)
            variable = "limit_" + limit.name.replace(".", "_")
            limits.append(limit)
            head.append(f'inline const kudari::experiments::Limit& {variable} = '
                        f'kudari::experiments::LimitOf("{limit.name}", {value});')
            now = f"static_cast<{kind}>({variable}.value)"
            if where:
                lines.append(f"const {kind} {name} = {now};")
            else:
                constants[name] = f"static_cast<{kind}>(::{variable}.value)"
        return "".join(space + line + "\n" for line in lines).rstrip("\n")

    text = DECLARATION.sub(looked_up, text)
    include = '#include "experiments/doctor_limit.h"\n' + "\n".join(head) + "\n"
    macros = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    return include + macros + text.replace("internal::kLeastSteps", "kLeastSteps"), limits


def all_limits():
    limits = []
    for path in sorted(SOURCES.glob("*.[ch]*")):
        if not path.name.endswith("_test.cc"):
            limits += settable(path.name, path.read_text())[1]
    names = [limit.name for limit in limits]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]
    return limits


def write(folder):
    """Writes the sources into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in SOURCES.glob("*.[ch]*"):
        if not path.name.endswith("_test.cc"):
            (folder / path.name).write_text(settable(path.name, path.read_text())[0])
