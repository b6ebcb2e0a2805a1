"""An external verifier with faults, for the tests. Right are the answers in the payload's list "right".

  external_verifier.py MODE [FOLDER]

MODE: good; or one that shows its fault on every request: hang, crash, garbage, number, other_id, no_correct, short,
two_lines, huge, refuse, deaf (reads nothing), spawn (leaves a child behind and hangs); or crash_once, hang_once: the fault
shows on the first request only (FOLDER keeps the mark), then good; or slow: 20 ms a request; or count: appends its
process id to FOLDER/pids and how many requests it holds at once to FOLDER/held.
"""
import json
import os
import subprocess
import sys
import time

mode = sys.argv[1]
folder = sys.argv[2] if len(sys.argv) > 2 else ""


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def fault(mode, request):
    if mode == "hang":
        time.sleep(3600)
    if mode == "crash":
        os._exit(3)
    if mode == "garbage":
        say("\x00\xff{not json\n")
    if mode == "number":
        say("7\n")
    if mode == "other_id":
        say(json.dumps({"id": -1, "correct": [True] * len(request["answers"])}) + "\n")
    if mode == "no_correct":
        say(json.dumps({"id": request["id"]}) + "\n")
    if mode == "short":
        say(json.dumps({"id": request["id"], "correct": [True]}) + "\n")
    if mode == "two_lines":
        say(json.dumps({"id": request["id"], "correct": [True] * len(request["answers"])}) + "\n{}\n")
    if mode == "huge":
        while True:
            say("x" * 1000000)
    if mode == "refuse":
        say(json.dumps({"id": request["id"], "error": "the database is away"}) + "\n")
    if mode == "spawn":
        child = subprocess.Popen(["sleep", "3600"])
        with open(folder + "/child", "w") as file:
            file.write(str(child.pid))
        time.sleep(3600)


def good(request):
    right = request["payload"]["right"]
    reply = {"id": request["id"], "correct": [answer in right for answer in request["answers"]]}
    for name in ("keys", "golds"):
        if name in request["payload"]:
            reply[name] = [request["payload"][name].get(answer) for answer in request["answers"]]
    say(json.dumps(reply) + "\n")


if mode == "deaf":
    time.sleep(3600)
if mode == "count":
    with open(folder + "/pids", "a") as file:
        file.write(f"{os.getpid()}\n")
for line in sys.stdin:
    request = json.loads(line)
    if mode == "slow":
        time.sleep(0.02)
    if mode.endswith("_once"):
        mark = folder + "/mark"
        if not os.path.exists(mark):
            open(mark, "w").close()
            fault(mode[:-5], request)
    else:
        fault(mode, request)
    if mode in ("good", "slow", "count", "crash_once", "hang_once"):
        good(request)
