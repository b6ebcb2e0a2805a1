"""get_data.py against a server on the loopback interface that breaks, truncates, moves and spoils files."""
import hashlib
import http.server
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile

TOOL = pathlib.Path(os.environ["SETRL_SOURCE_DIR"]) / "tools" / "get_data.py"
QUESTIONS = [{"_id": f"q{i}", "question": "Wörter, \"quotes\" ]", "context": [["T", ["a", "b"] * 40]]} for i in range(400)]
PLAIN = b"".join(b"line %d of a file\n" % i for i in range(20000))
BYTES = {"/plain": PLAIN, "/list": json.dumps(QUESTIONS, indent=1).encode()}


def archive(member, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, content)
    return stream.getvalue()


BYTES["/zip"] = archive("patients", b"AGE\n1\n2\n")


class Handler(http.server.BaseHTTPRequestHandler):
    """`server.script[path]` lists what happens to the next requests, then all goes well."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def fail(self, code):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        script = self.server.script.get(self.path, [])
        action = script.pop(0) if script else "good"
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.server.requests.append((self.path, begin, action))
        if action.startswith("to "):
            self.send_response(302)
            self.send_header("Location", action[3:])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if action.isdigit():
            return self.fail(int(action))
        content = BYTES[self.path]
        if action == "spoilt":
            content = content[:1000] + b"#" + content[1001:]
        if action == "longer":
            content += b"more"
        if action == "no range":
            begin = 0
        if begin >= len(content):
            return self.fail(416)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        body = content[begin:]
        self.send_header("Content-Length", str(len(body)))
        if action == "short":  # a wrong length: the client cannot tell that the body is cut off
            body = body[: len(body) // 2]
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if action == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif action == "silent":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.released.wait(20)
            self.close_connection = True
        else:
            self.wfile.write(body)


class GetData(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.script, self.server.requests, self.server.released = {}, [], threading.Event()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(self.server.released.set)
        temporary = tempfile.TemporaryDirectory(prefix="setrl-get-data-")
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.folder = self.root / "data"

    def entry(self, path, make="copy", to="out", **more):
        content = BYTES[path]
        return {"url": f"http://127.0.0.1:{self.server.server_port}{path}", "name": path[1:] + ".bin", "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(), "make": make, "to": to, "space": len(content), **more}

    def run_tool(self, *entries, code=0, options=()):
        table = self.root / "table.json"
        table.write_text(json.dumps({"set": {"title": "A set", "licence": "CC BY 4.0", "page": "http://the.page/",
                                             "files": list(entries)}}))
        result = subprocess.run([sys.executable, TOOL, "set", self.folder, "--table", table, "--pause", "0", *options],
                                capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def begins(self):
        return [begin for _, begin, _ in self.server.requests]

    def test_a_file_is_brought_checked_and_its_licence_shown(self):
        out = self.run_tool(self.entry("/plain"))
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)
        self.assertIn("licence: CC BY 4.0", out)
        self.assertIn("--task.path=", out)
        self.assertIn("CC BY 4.0", (self.folder / "LICENCE.txt").read_text())
        self.assertFalse((self.folder / ".download").exists())
        self.assertIn("is there", self.run_tool(self.entry("/plain")))  # nothing is fetched again
        self.assertEqual(len(self.server.requests), 1)

    def test_a_connection_that_breaks_goes_on_where_it_stopped(self):
        self.server.script["/plain"] = ["cut", "cut", "short"]
        self.run_tool(self.entry("/plain"))
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)
        begins = self.begins()
        self.assertEqual(begins[0], 0)
        self.assertEqual(begins, sorted(set(begins)))
        self.assertEqual(begins[1], len(PLAIN) // 2)

    def test_a_stopped_program_goes_on_where_it_stopped(self):
        self.server.script["/plain"] = ["cut"]
        out = self.run_tool(self.entry("/plain"), code=1, options=["--attempts", "1"])
        self.assertIn("Repeat this command", out)
        self.assertFalse((self.folder / "out").exists())
        self.run_tool(self.entry("/plain"))
        self.assertEqual(self.begins(), [0, len(PLAIN) // 2])
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)

    def test_a_server_without_ranges_is_read_from_the_start(self):
        self.server.script["/plain"] = ["cut", "no range"]
        self.assertIn("from the beginning", self.run_tool(self.entry("/plain")))
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)

    def test_a_silent_server_is_left(self):
        self.server.script["/plain"] = ["silent"]
        self.run_tool(self.entry("/plain"), options=["--timeout", "0.5"])
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)

    def test_busy_servers_are_asked_again(self):
        self.server.script["/plain"] = ["503", "500"]
        self.run_tool(self.entry("/plain"))
        self.server.script["/list"] = ["503"] * 3
        self.assertIn("503", self.run_tool(self.entry("/list", to="other"), code=1, options=["--attempts", "3"]))

    def test_a_moved_file_is_followed_or_named(self):
        self.server.script["/old"] = ["to /plain"]
        entry = self.entry("/plain")
        entry["url"] = entry["url"].replace("/plain", "/old")
        self.run_tool(entry)
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)
        self.server.script["/plain"] = ["404"]
        out = self.run_tool(self.entry("/plain", to="second"), code=1)
        self.assertIn("the publisher has moved it", out)
        self.assertIn("http://the.page/", out)
        self.server.script["/plain"] = ["to /plain"] * 30
        self.run_tool(self.entry("/plain", to="second"), code=1, options=["--attempts", "2"])

    def test_a_file_brought_by_hand_is_taken(self):
        (self.folder / ".download").mkdir(parents=True)
        (self.folder / ".download" / "plain.bin").write_bytes(PLAIN)
        self.run_tool(self.entry("/plain"))
        self.assertEqual(self.server.requests, [])
        (self.folder / ".download").mkdir()
        (self.folder / ".download" / "plain.bin").write_bytes(PLAIN[:-1] + b"#")
        self.assertIn("is not the expected file", self.run_tool(self.entry("/plain", to="again")))
        self.assertEqual((self.folder / "again").read_bytes(), PLAIN)

    def test_a_spoilt_file_is_fetched_again_and_never_used(self):
        self.server.script["/plain"] = ["spoilt"]
        self.assertIn("another SHA-256", self.run_tool(self.entry("/plain")))
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)
        self.server.script["/list"] = ["spoilt", "spoilt"]
        out = self.run_tool(self.entry("/list", to="other"), code=1)
        self.assertIn("another version", out)
        self.assertFalse((self.folder / "other").exists())

    def test_a_longer_file_is_another_version(self):
        self.server.script["/plain"] = ["longer"]
        self.assertIn("sends more than", self.run_tool(self.entry("/plain"), code=1))
        self.assertFalse((self.folder / "out").exists())
        self.run_tool(self.entry("/plain"))

    def test_a_part_of_another_file_is_thrown_away(self):
        (self.folder / ".download").mkdir(parents=True)
        (self.folder / ".download" / "plain.bin.part").write_bytes(b"x" * 1000)
        self.run_tool(self.entry("/plain"))
        self.assertEqual((self.folder / "out").read_bytes(), PLAIN)

    def test_archives_and_lists_become_what_the_readers_expect(self):
        self.run_tool(self.entry("/zip", make="zip", to="train.csv", member="patients"),
                      self.entry("/list", make="lines", to="train.jsonl"))
        self.assertEqual((self.folder / "train.csv").read_bytes(), b"AGE\n1\n2\n")
        lines = (self.folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
        self.assertEqual([json.loads(line) for line in lines], QUESTIONS)

    def test_an_archive_without_its_member_is_refused(self):
        out = self.run_tool(self.entry("/zip", make="zip", to="x", member="other"), code=1)
        self.assertIn("not the member other", out)
        self.assertFalse((self.folder / "x").exists())

    def test_lists_that_are_cut_off_or_none(self):
        for content in (b"[{}, {", b"{}", b"", b"[", b'[{"a": 1} oops]'):
            BYTES["/odd"] = content + b" " * 10
            out = self.run_tool(self.entry("/odd", make="lines", to="odd"), code=1)
            self.assertIn("JSON list", out)
            self.assertFalse((self.folder / "odd").exists())

    def test_too_small_a_disk_is_told_before(self):
        entry = self.entry("/plain")
        entry["space"] = 10**18
        self.assertIn("MB are free", self.run_tool(entry, code=1))
        self.assertEqual(self.server.requests, [])

    def test_the_real_table_is_complete(self):
        import runpy
        table = runpy.run_path(str(TOOL))["TABLE"]
        self.assertEqual(sorted(table), ["ddxplus", "hotpotqa", "mbpp"])
        for dataset in table.values():
            self.assertTrue(dataset["licence"].startswith("CC BY"))
            for entry in dataset["files"]:
                self.assertEqual(len(entry["sha256"]), 64)
                self.assertGreater(entry["size"], 0)
        data = pathlib.Path(os.environ.get("SETRL_DATA", ""))
        if not (data / "mbpp/mbpp.jsonl").exists():
            self.skipTest("no real data: SETRL_DATA/mbpp is not there; the checksum was NOT compared")
        self.assertEqual(hashlib.sha256((data / "mbpp/mbpp.jsonl").read_bytes()).hexdigest(), table["mbpp"]["files"][0]["sha256"])


if __name__ == "__main__":
    unittest.main()
