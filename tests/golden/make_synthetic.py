"""Writes data/lab_data/synthetic.json: scikit-learn's points without noise, for
lab/data/synthetic_test.cc.

usage: make_synthetic.py          needs scikit-learn
"""

import json
import pathlib

from sklearn.datasets import make_circles, make_moons

FILE = pathlib.Path(__file__).parent / "data/lab_data/synthetic.json"

golden = {}
for name, make in {"moons": make_moons, "circles": make_circles}.items():
    for points in (20, 31):
        x, y = make(points, shuffle=False, noise=None)
        golden[f"{name} {points}"] = {"x": x.round(9).tolist(), "y": y.tolist()}
FILE.write_text(json.dumps(golden, indent=None) + "\n")
