// Programs that use up what they are given, and programs that forge their verdict.
#pragma once

#include <vector>

#include "verify/hostile_programs.h"

namespace setrl::verify {

inline const std::vector<HostileProgram>& programs_that_exhaust() {
  static const std::vector<HostileProgram> list = {
      // ---- exhaustion
      // ------------------------------------------------------------------------------------------------
      {"memory_hog", "MemoryError", R"py(
def answer():
    kept = []
    while True: kept.append(bytearray(1 << 24)))py"},
      {"memory_hog_while_it_loads", "MemoryError", "kept = [0] * (1 << 30)\ndef answer(): return 8675309\n"},
      {"endless_output", "CPU time", R"py(
import sys
def answer():
    while True: sys.stdout.write("x" * 65536); print("y", file=sys.stderr))py"},
      {"endless_results", "more than 256 KiB", R"py(
import os
def answer():
    for _ in range(1000): os.write(3, b"x" * 65536)
    return 8675309)py"},
      {"endless_loop", "CPU time", "def answer():\n    while True: pass\n"},
      {"endless_loop_while_it_loads", "CPU time", "while True: pass\ndef answer(): return 8675309\n"},
      {"endless_loop_in_c", "CPU time", "def answer(): return pow(7, 10 ** 10) % 10\n"},
      {"endless_loop_in_c_sum", "CPU time", "def answer(): return sum(range(10 ** 12))\n"},
      {"regular_expression", "CPU time", R"py(
import re
def answer(): return re.match(r"(a+)+$", "a" * 60 + "b"))py"},
      {"survives_the_soft_limit", "CPU time", R"py(
import signal
for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM): signal.signal(number, signal.SIG_IGN)
def answer():
    while True:
        try:
            while True: pass
        except BaseException:
            pass)py"},
      {"sleeps", "did not end", "import time\ndef answer(): time.sleep(1000)\n"},
      {"waits_for_a_signal", "did not end", "import signal\ndef answer(): signal.pause()\n"},
      {"waits_for_itself", "did not end", R"py(
import threading
def answer():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire())py"},
      {"recursion", "RecursionError", "def answer(): return answer()\n"},
      {"recursion_without_limit", "signal 11", R"py(
import sys
sys.setrecursionlimit(10 ** 9)
class A:
    def __getattr__(self, name): return getattr(self, name + "x")
def answer(): return repr(A().x))py"},
      {"deep_source", "",
       "def answer():\n    try:\n        compile('(' * 100000, '', 'eval')\n    except (SyntaxError, "
       "MemoryError, RecursionError):\n        return 'contained'\n"},
      {"huge_integer", "more than 256 KiB", "def answer(): return 1 << 80_000_000\n"},
      {"integer_too_long_to_print", "is false", "def answer(): return 10 ** 20_000\n"},
      {"endless_iterator", "more than 256 KiB", "import itertools\ndef answer(): return itertools.count()\n"},
      {"deep_result", "RecursionError", R"py(
def answer():
    nested = []
    for _ in range(100_000): nested = [nested]
    return nested)py"},
      {"cyclic_result", "RecursionError", R"py(
def answer():
    loop = []
    loop.append(loop)
    return loop)py"},
      {"crash", "signal 11", "import ctypes\ndef answer(): return ctypes.string_at(0)\n"},
  };
  return list;
}

inline const std::vector<HostileProgram>& programs_that_forge() {
  static const std::vector<HostileProgram> list = {
      // ---- forging the verdict --------------------------------------------------------------------------------------
      {"exits_before_the_tests", "ended before", "import os\nos._exit(0)\n"},
      {"exits_in_the_test", "ended before", "import os\ndef answer(): os._exit(0)\n"},
      {"raises_system_exit", "SystemExit", "import sys\ndef answer(): sys.exit(0)\n"},
      {"exits_with_the_code_of_a_failed_set_up", "ended before", "import os\nos._exit(113)\n"},
      {"exits_with_every_code", "ended before", "import os\ndef answer(): os._exit(114)\n"},
      {"prints_the_success_marker", "is false", R"py(
import sys
def answer():
    for marker in ('["ok", null]', '["tree", "0"]', '{"ready": true}', '{"passed": [true]}', "OK", "PASSED"):
        print(marker); print(marker, file=sys.stderr)
    return True)py"},
      {"writes_records_of_its_own", "is false", R"py(
import os
def answer():
    os.write(3, b'["ok", true]\n' * 4)
    os._exit(0))py"},
      {"writes_verdicts_to_every_descriptor", "", R"py(
import os
def answer():
    head = b'{"passed": [true], "reason": "", "tree": "1", "behaviour": "1"}'
    message = len(head).to_bytes(4, "big") + bytes(4) + head
    for fd in list(range(0, 3)) + list(range(4, 4096)):
        try:
            os.write(fd, message)
        except OSError:
            pass
    return "contained")py"},
      {"garbles_its_records", "garbled", R"py(
import os
def answer():
    os.write(3, b"\xff\x00]]}{\n\n\n")
    os._exit(0))py"},
      {"closes_its_descriptors", "ended before", "import os\ndef answer():\n    os.closerange(0, 100)\n    return 1\n"},
      {"changes_the_flags_of_its_pipe", "", R"py(
import fcntl, os
def answer():
    for flags in (os.O_NONBLOCK, os.O_NONBLOCK | os.O_DIRECT | os.O_ASYNC):
        try:
            fcntl.fcntl(3, fcntl.F_SETFL, flags)
        except OSError:
            pass
    return "contained")py"},
      {"duplicates_its_descriptors", "is false", R"py(
import os
def answer():
    for fd in range(4, 60): os.dup2(3, fd)
    os.dup2(1, 3); os.dup2(9, 3)
    return 7)py"},
      {"monkeypatches_assert", "is false", R"py(
import builtins
class Quiet(Exception): pass
builtins.AssertionError = Quiet
builtins.__debug_off__ = True
builtins.bool = lambda *a: True
builtins.all = lambda *a: True
def answer(): return 0)py"},
      {"monkeypatches_the_harness", "is false", R"py(
import sys
harness = sys._getframe()
while harness.f_back: harness = harness.f_back
for name in ("run_program", "put", "encode", "brief", "child"):
    if name != "put": harness.f_globals[name] = lambda *a, **k: True
def answer(): return 0)py"},
      {"monkeypatches_json", "garbled", R"py(
import json, sys
json.dumps = lambda record: '["ok", "anything"'
sys.modules["json"] = None
def answer(): return 0)py"},
      {"monkeypatches_isinstance", "ended before", R"py(
import builtins
builtins.isinstance = lambda *a: True
builtins.type = lambda *a: object
builtins.hasattr = lambda *a: True
def answer(): return [])py"},
      {"monkeypatches_exit", "is false",
       "import os, sys\nos._exit = sys.exit = lambda *a: None\ndef answer(): return 0\n"},
      {"patches_modules_of_the_test", "is false", R"py(
import sys, math, operator
for name in list(sys.modules):
    if name not in ("sys", "builtins", "__main__"): sys.modules[name] = None
operator.eq = math.isclose = lambda *a, **k: True
def answer(): return 0)py"},
      {"equal_to_everything", "is false", R"py(
class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __hash__(self): return hash(8675309)
def answer(): return Everything())py"},
      {"number_equal_to_everything", "is false", R"py(
class Everything(int):
    def __eq__(self, other): return True
    def __int__(self): return self
    def __index__(self): return 1
    def __repr__(self): return "8675309"
    __hash__ = int.__hash__
def answer(): return Everything(3))py"},
      {"list_equal_to_everything", "is false", R"py(
class Everything(list):
    def __eq__(self, other): return True
    def __iter__(self): raise SystemExit
def answer(): return Everything())py"},
      {"metaclass_in_disguise", "is false", R"py(
class Meta(type):
    def __instancecheck__(cls, other): return True
    def __eq__(cls, other): return True
    __hash__ = type.__hash__
class Everything(metaclass=Meta):
    __class__ = int
def answer(): return Everything)py"},
      {"exception_in_disguise", "Sly", R"py(
class Sly(SystemExit):
    def __str__(self): raise KeyboardInterrupt
def answer(): raise Sly)py"},
      {"not_a_number", "is false", "def answer(): return float('nan')\n"},
      {"infinity", "is false", "def answer(): return float('inf')\n"},
      {"text_that_looks_like_a_value", "is false", R"py(
def answer(): return '{"i": "0x845fed"}')py"},
      {"traces_the_harness", "is false", R"py(
import sys, threading
seen = []
def trace(frame, event, arg):
    seen.append(frame.f_code.co_name)
    return trace
sys.settrace(trace); sys.setprofile(trace); threading.settrace(trace)
frame = sys._getframe()
while frame:
    frame.f_trace = trace
    frame = frame.f_back
def answer(): return 0)py"},
      {"at_exit", "is false", R"py(
import atexit, os
atexit.register(lambda: os.write(3, b'["ok", {"i": "0x1"}]\n'))
def answer(): return 0)py"},
      {"destructors", "is false", R"py(
import os
class Late:
    def __del__(self): os.write(3, b'["ok", {"i": "0x1"}]\n')
late = Late()
def answer(): return 0)py"},
      {"searches_for_the_expected_value", "", R"py(
import gc, sys
MIRROR = "9035768"  # read backwards, so that this text does not hold it itself
def holds(thing):
    try:
        return type(thing) in (str, bytes, int, dict, list, tuple) and MIRROR[::-1] in repr(thing)
    except Exception:
        return False
def answer():
    found, frame = [], sys._getframe().f_back
    while frame:
        found += [name for name, value in frame.f_locals.items() if holds(value)]
        frame = frame.f_back
    found += [type(thing).__name__ for thing in gc.get_objects() if holds(thing)]
    return found or "contained")py"},
  };
  return list;
}

}  // namespace setrl::verify
