"""read_trajectory.py RUN: checks the trajectory file of the tests through h5py alone."""
import json
import os
import sys

import h5py
import numpy as np

with h5py.File(os.path.join(sys.argv[1], "trajectories", "step-000012.h5"), "r") as file:
    assert file.attrs["step"] == 12 and file.attrs["policy_version"] == 11 and file.attrs["schema_version"] == 3
    assert file.attrs["config_hash"] == "0123abcd"
    groups, completions, answers = file["groups"], file["completions"], file["answers"]
    assert list(groups["problem_id"].asstr()) == [f"case-{i}" for i in range(5)]
    assert list(groups["index"][:]) == list(range(5))
    assert json.loads(groups["messages"].asstr()[0])[1]["content"] == 'A "quoted" line\nand a tab\t\u00fc'
    assert json.loads(groups["golds"].asstr()[0])[0] == {
        "text": "Pneumonia", "aliases": ["lung infection"], "probability": 0.61}
    assert list(file["group_offsets"][:]) == [0, 4, 8, 12, 16, 20]
    assert list(completions["group_index"][:]) == [i // 4 for i in range(20)]
    assert list(completions["sample_index"][:]) == [i % 4 for i in range(20)]
    assert h5py.check_enum_dtype(completions["outcome"].dtype)["bad_format"] == 1

    for name, data in [("completion_offsets", "tokens"), ("completion_offsets", "logprobs"), ("text_offsets", "text"),
                       ("think_offsets", "think"), ("prompt_offsets", "prompt_tokens"),
                       ("answer_offsets", "answers/text")]:
        offsets = file[name][:]
        assert offsets[0] == 0 and offsets[-1] == len(file[data]) and (np.diff(offsets) >= 0).all(), name
    assert file["tokens"].dtype == np.int32 and file["logprobs"].dtype == np.float32
    assert (file["logprobs"][:] <= 0).all()
    forced, offsets = file["forced"][:], file["completion_offsets"][:]
    assert forced.dtype == np.uint8 and len(forced) == len(file["tokens"]) and 0 < forced.sum() < len(forced)
    for row in range(20):  # of every third completion the second half
        part = forced[offsets[row]:offsets[row + 1]]
        assert list(part) == [1 if row % 4 % 3 == 1 and i >= len(part) // 2 else 0 for i in range(len(part))]
    assert file["tokens"].compression == "gzip" and file["tokens"].shuffle and file["tokens"].chunks

    text = file["text"][:].tobytes()
    for begin, end in zip(file["text_offsets"][:-1], file["text_offsets"][1:]):
        assert text[begin:end].decode().startswith("<think>Fever\u2026</think>")

    names = list(file["reward_term_names"].asstr())
    assert names == ["format", "correct", "calibration"], names
    totals = np.nansum(file["reward_terms"][:], axis=1)
    assert np.allclose(totals, completions["reward"][:], atol=1e-12)

    starts = file["answer_offsets"][:]
    correct = answers["correct"][:]
    for row in range(20):
        part = correct[starts[row]:starts[row + 1]]
        assert (part == 1).sum() == completions["correct_count"][row]
        if completions["outcome"][row] == 1:
            assert completions["malformed_reason"].asstr()[row] == "answer 2 is missing" and len(part) == 0
    f1 = answers["f1"][:]
    assert 0 < np.isnan(f1).sum() < len(f1) and ((f1[~np.isnan(f1)] >= 0) & (f1[~np.isnan(f1)] <= 1)).all()
    assert answers["text"].asstr()[0].startswith(("Answer \u00e9\U0001f600", "x"))
