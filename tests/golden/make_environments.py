"""Writes data/environments.json: trajectories of Gymnasium's CartPole-v1 and Pendulum-v1.

usage: python make_environments.py     (gymnasium and numpy; see tools/requirements-oracles.txt)

Each case has a first state, actions, and after each action the state, observation, reward and
whether the episode is over.
"""

import json
import pathlib

import gymnasium
import numpy as np

OUT = pathlib.Path(__file__).parent / "data" / "environments.json"


def trajectory(name, start, actions):
    env = gymnasium.make(name).unwrapped
    env.reset(seed=0)
    env.state = np.array(start, dtype=np.float64)
    steps = []
    for action in actions:
        given = action if name.startswith("Cart") else np.array([action], dtype=np.float64)
        observation, reward, terminated, _, _ = env.step(given)
        steps.append({"state": [float(x) for x in env.state],
                      "observation": [float(x) for x in observation],
                      "reward": float(reward), "terminated": bool(terminated)})
        if terminated:
            break
    return {"environment": name, "start": list(start), "actions": list(actions), "steps": steps}


def main():
    rng = np.random.default_rng(0)
    cases = []
    for start in ([0.01, -0.02, 0.03, 0.04], [2.3, 1.5, 0.0, 0.0], [0, 0, -0.2, -0.5]):
        cases.append(trajectory("CartPole-v1", start, [int(a) for a in rng.integers(0, 2, 40)]))
    for start in ([0.5, -0.3], [3.1, 0.0], [-9.0, 7.9]):
        actions = [round(float(a), 3) for a in rng.uniform(-2.5, 2.5, 20)]
        cases.append(trajectory("Pendulum-v1", start, actions))
    OUT.write_text(json.dumps({"gymnasium": gymnasium.__version__, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
