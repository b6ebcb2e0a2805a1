"""An external verifier: an answer is right where it is a multiple of payload.multiple_of with digit sum payload.digit_sum."""
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    wanted, correct, keys = request["payload"], [], []
    for answer in request["answers"]:
        number = int(answer) if answer.isdecimal() and answer.isascii() and len(answer) < 100 else None
        correct.append(number is not None and number % wanted["multiple_of"] == 0
                       and sum(map(int, str(number))) == wanted["digit_sum"])
        keys.append(None if number is None else str(number))  # "028" and "28" are one answer
    print(json.dumps({"id": request["id"], "correct": correct, "keys": keys}), flush=True)
