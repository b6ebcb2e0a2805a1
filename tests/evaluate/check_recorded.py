"""Compares an eval.json with what numpy makes of the completions in the eval.h5 beside it.

  check_recorded.py FOLDER K [AGGREGATION]    K: answers a set that the metrics are of; AGGREGATION: best_of_n or
                                              self_consistency, where the sets were put together from single answers

Prints the number of metrics compared and exits with 1 where one differs by more than 1e-9. Metrics that need what the
file does not hold (word overlaps) are left out. The calculation is that of tests/fixtures/evaluate/make_metrics.py.
"""
import json
import pathlib
import sys

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "evaluate"))
from make_metrics import aggregated, expected  # noqa: E402


def recorded_groups(path):
    with h5py.File(path) as file:
        lengths = np.diff(file["completion_offsets"][:])
        logprobs, starts = file["logprobs"][:], file["completion_offsets"][:]
        answers, texts = file["answer_offsets"][:], file["answers/text"].asstr()[:]
        columns = {name: file["answers"][name][:] for name in ("confidence", "correct", "matched_gold")}
        rows = {name: file["completions"][name][:] for name in ("outcome", "finish", "reward")}
        golds = [len(json.loads(text)) for text in file["groups/golds"].asstr()[:]]
        groups = []
        bounds = file["group_offsets"][:]
        for group in range(len(golds)):
            completions = []
            for c in range(bounds[group], bounds[group + 1]):
                entry = {"outcome": int(rows["outcome"][c]), "finish": int(rows["finish"][c]), "tokens": int(lengths[c]),
                         "reward": float(rows["reward"][c])}
                entry["logprob"] = float(np.mean(logprobs[starts[c]:starts[c + 1]].astype(float)))
                if entry["outcome"] == 0:
                    part = slice(answers[c], answers[c + 1])
                    confidences = columns["confidence"][part]
                    entry.update(answers=list(texts[part]), correct=[int(y) for y in columns["correct"][part]],
                                 matched_gold=[int(g) for g in columns["matched_gold"][part]],
                                 confidences=[] if np.isnan(confidences).any() else [float(q) for q in confidences])
                completions.append(entry)
            groups.append({"golds": golds[group], "completions": completions})
        return groups


def main():
    folder, k = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    groups = recorded_groups(folder / "eval.h5")
    if len(sys.argv) > 3:
        groups = [aggregated(group, sys.argv[3], k) for group in groups]
    document = json.loads((folder / "eval.json").read_text())
    wrong, compared, defined = [], 0, 0
    for key, value in expected(groups, k).items():
        if key.startswith("f1"):
            continue
        found = document["metrics"].get(key, {"value": "missing"})["value"]
        compared += 1
        if np.isnan(value):
            if found is not None:
                wrong.append(f"{key}: {found}, should be undefined")
            continue
        defined += 1
        if not isinstance(found, (int, float)) or abs(found - value) > 1e-9:
            wrong.append(f"{key}: {found}, should be {value}")
    print("\n".join(wrong))
    print(f"{compared} metrics compared, {defined} of them defined")
    return 1 if wrong or defined < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
