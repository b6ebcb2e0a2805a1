#!/usr/bin/env python3
"""Brings the publishers' files of a task's data to this machine, checked and unpacked.

  get_data.py ddxplus DIR     1.3 million patients, 180 MB to download, 810 MB unpacked
  get_data.py hotpotqa DIR    97,852 questions, 613 MB
  get_data.py mbpp DIR        974 programming problems, 0.6 MB

then: setrl train --task.name=NAME --task.path=DIR. A broken download goes on where it stopped when the command is
repeated. Every file is checked by size and SHA-256 before it is used, and appears under its name only when it is whole.
Needs nothing but Python. Where a publisher cannot be reached: bring the file by another way, put it into DIR/.download
under the name that the message tells, and repeat the command.
"""
import argparse
import codecs
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile

# Where the files are, how they are known, and what they become: "copy" under the name `to`; "zip": the archive's member
# `member` as `to`; "lines": a JSON list as JSON lines. `space`: bytes that the result takes.
TABLE = {
    "ddxplus": {
        "title": "DDXPlus (English), Fansi Tchango et al., NeurIPS 2022 (arXiv 2205.09148)",
        "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
        "page": "https://figshare.com/articles/dataset/DDXPlus_Dataset_English_/22687585",
        "files": [
            {"url": "https://ndownloader.figshare.com/files/62561569", "name": "release_conditions.json", "size": 20889,
             "sha256": "56edf4682d8e86a4209fc3a33932e50ce03d1cc1fecc326c26d5ef8fa5c24890", "make": "copy",
             "to": "release_conditions.json", "space": 20889},
            {"url": "https://ndownloader.figshare.com/files/40278013", "name": "release_evidences.json", "size": 120263,
             "sha256": "281c78b044ae60514e28ecc9052d08a8225dd3e2db3f00f8788b99c47b05e0c0", "make": "copy",
             "to": "release_evidences.json", "space": 120263},
            {"url": "https://ndownloader.figshare.com/files/40278016", "name": "release_test_patients.zip", "size": 18986243,
             "sha256": "ad3bb981f3453fd7abffb35cc595a1c02197e409c581bff97c1265c33eb00d23", "make": "zip",
             "member": "release_test_patients", "to": "test.csv", "space": 90000000},
            {"url": "https://ndownloader.figshare.com/files/40278019", "name": "release_train_patients.zip", "size": 140923730,
             "sha256": "174ae1d56f36a15b7144838ecd214e1e1748a5369fc90c559529b6dc6ecfb218", "make": "zip",
             "member": "release_train_patients", "to": "train.csv", "space": 680000000},
        ],
    },
    "hotpotqa": {
        "title": "HotpotQA (distractor setting), Yang et al., EMNLP 2018 (arXiv 1809.09600)",
        "licence": "CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/",
        "page": "https://hotpotqa.github.io/",
        "files": [
            {"url": "http://curtis.ml.cmu.edu/datasets/hotpot/hotpot_dev_distractor_v1.json",
             "name": "hotpot_dev_distractor_v1.json", "size": 46320117,
             "sha256": "4e9ecb5c8d3b719f624d66b60f8d56bf227f03914f5f0753d6fa1b359d7104ea", "make": "lines",
             "to": "test.jsonl", "space": 50000000},
            {"url": "http://curtis.ml.cmu.edu/datasets/hotpot/hotpot_train_v1.1.json", "name": "hotpot_train_v1.1.json",
             "size": 566426227, "sha256": "26650cf50234ef5fb2e664ed70bbecdfd87815e6bffc257e068efea5cf7cd316",
             "make": "lines", "to": "train.jsonl", "space": 600000000},
        ],
    },
    "mbpp": {
        "title": "MBPP, Austin et al., 2021 (arXiv 2108.07732)",
        "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
        "page": "https://github.com/google-research/google-research/tree/master/mbpp",
        "files": [
            {"url": "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl",
             "name": "mbpp.jsonl", "size": 563743,
             "sha256": "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f", "make": "copy", "to": "mbpp.jsonl",
             "space": 563743},
        ],
    },
}
CHUNK = 1 << 20


class Broken(Exception):
    """What ends the program with one line."""


def say(text):
    print(text, flush=True)


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def is_right(path, entry):
    return path.exists() and path.stat().st_size == entry["size"] and digest_of(path) == entry["sha256"]


def receive(entry, part, timeout):
    """One attempt: appends to `part` what the server sends from its end on. Network errors pass through."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(entry["url"], headers={"User-Agent": "setrl-get-data", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and not resumed:
            say("  the server starts again from the beginning")
            have = 0
        shown = time.monotonic()
        with open(part, "ab" if resumed else "wb") as file:
            while block := answer.read(CHUNK):
                file.write(block)
                have += len(block)
                if have > entry["size"]:
                    raise Broken(f"{entry['url']} sends more than the {entry['size']} bytes that are expected: another "
                                 "version, or not the file at all")
                if time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    say(f"  {have / 1e6:.0f} of {entry['size'] / 1e6:.0f} MB")


def download(entry, folder, options, page):
    """The whole, checked file in `folder`."""
    whole, part = folder / entry["name"], folder / (entry["name"] + ".part")
    if is_right(whole, entry):
        return whole
    if whole.exists():
        say(f"  {whole} is not the expected file; it is fetched again")
        whole.unlink()
    by_hand = f"Or bring {entry['name']} from {page} by hand, put it into {folder}, and repeat this command."
    spoilt = 0
    for attempt in range(options.attempts):
        if part.exists() and part.stat().st_size > entry["size"]:
            part.unlink()
        reason = "the connection ended early"
        try:
            if not part.exists() or part.stat().st_size < entry["size"]:
                receive(entry, part, options.timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416 and part.exists():  # nothing lies beyond what is here: it is no part of this file
                part.unlink()
            elif error.code in (403, 404, 410):
                raise Broken(f"{entry['url']}: {error.code} {error.reason}: the publisher has moved it. {by_hand}") from None
            reason = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if part.exists() and part.stat().st_size == entry["size"]:
            if digest_of(part) == entry["sha256"]:
                os.replace(part, whole)
                return whole
            part.unlink()
            spoilt += 1
            reason = "the file has another SHA-256 than expected: spoilt on the way, or another version"
            if spoilt == 2:
                raise Broken(f"{entry['url']}: twice {reason}. {by_hand}")
        if attempt + 1 < options.attempts:
            say(f"  {reason}; once more from byte {part.stat().st_size if part.exists() else 0}")
            time.sleep(min(options.pause * 2**attempt, 60))
    raise Broken(f"{entry['url']}: {reason}; gave up after {options.attempts} attempts. Repeat this command to go on from "
                 f"there. {by_hand}")


def objects_of(path):
    """The objects of a JSON list, one by one: the file may be larger than the memory."""
    decoder, buffer, started = json.JSONDecoder(), "", False
    with open(path, "rb") as file:
        text = codecs.getincrementaldecoder("utf-8")()
        ended = False
        while True:
            buffer = buffer.lstrip(" \t\r\n" if not started else " \t\r\n,")
            if not started and buffer:
                if buffer[0] != "[":
                    raise Broken(f"{path}: is not a JSON list")
                started, buffer = True, buffer[1:]
                continue
            if buffer.startswith("]"):
                return
            try:
                item, end = decoder.raw_decode(buffer)
                yield item
                buffer = buffer[end:]
                continue
            except ValueError:
                if ended:
                    raise Broken(f"{path}: the JSON list is cut off or malformed") from None
            block = file.read(CHUNK)
            ended = not block
            buffer += text.decode(block, final=ended)


def make(entry, source, target):
    """Writes what the reader expects, under a temporary name first."""
    temporary = target.with_name(target.name + ".tmp")
    if entry["make"] == "zip":
        try:
            with zipfile.ZipFile(source) as archive:
                members = [name for name in archive.namelist() if name in (entry["member"], entry["member"] + ".csv")]
                if len(members) != 1:
                    raise Broken(f"{source}: holds {archive.namelist()}, not the member {entry['member']}")
                with archive.open(members[0]) as packed, open(temporary, "wb") as file:
                    shutil.copyfileobj(packed, file, CHUNK)  # the archive's own checksum is verified on the way
        except zipfile.BadZipFile as error:
            raise Broken(f"{source}: {error}") from None
    elif entry["make"] == "lines":
        with open(temporary, "w", encoding="utf-8") as file:
            for item in objects_of(source):
                file.write(json.dumps(item, ensure_ascii=False) + "\n")
    else:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def get(name, dataset, folder, options):
    say(f"{dataset['title']}\nlicence: {dataset['licence']}\nfrom: {dataset['page']}")
    downloads = folder / ".download"
    downloads.mkdir(parents=True, exist_ok=True)
    record_path = folder / ".get_data.json"
    record = json.loads(record_path.read_text()) if record_path.exists() else {}

    def is_done(entry):
        target = folder / entry["to"]
        return record.get(entry["to"]) == [entry["sha256"], target.stat().st_size if target.exists() else None]

    todo = [entry for entry in dataset["files"] if not is_done(entry)]
    needed = sum(entry["space"] + entry["size"] for entry in todo)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Broken(f"{folder}: needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")
    for entry in dataset["files"]:
        target = folder / entry["to"]
        if entry not in todo:
            say(f"{target}: is there")
            continue
        say(f"{entry['name']}: {entry['size'] / 1e6:.1f} MB")
        source = download(entry, downloads, options, dataset["page"])
        make(entry, source, target)
        record[entry["to"]] = [entry["sha256"], target.stat().st_size]
        record_path.write_text(json.dumps(record, indent=1) + "\n")
        if not options.keep:
            source.unlink()
        say(f"{target}: made")
    (folder / "LICENCE.txt").write_text(f"{dataset['title']}\n{dataset['licence']}\n{dataset['page']}\n")
    if not any(downloads.iterdir()):
        downloads.rmdir()
    say(f"ready: --task.name={name} --task.path={folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="one of " + ", ".join(TABLE))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="keep the downloaded files in FOLDER/.download")
    parser.add_argument("--attempts", type=int, default=8, help="attempts a file (default 8)")
    parser.add_argument("--timeout", type=float, default=60, help="longest silence of a server in seconds (default 60)")
    parser.add_argument("--pause", type=float, default=1, help="seconds before the second attempt; then doubled (default 1)")
    parser.add_argument("--table", type=pathlib.Path, help="a JSON file in place of the table in this program (mirrors, tests)")
    options = parser.parse_args()
    table = json.loads(options.table.read_text()) if options.table else TABLE
    if options.name not in table:
        parser.error(f"there is no {options.name}; choose {', '.join(table)}")
    try:
        get(options.name, table[options.name], options.folder, options)
    except Broken as problem:
        sys.exit(f"get_data: error: {problem}")
    except OSError as problem:
        sys.exit(f"get_data: error: {problem}")


if __name__ == "__main__":
    main()
