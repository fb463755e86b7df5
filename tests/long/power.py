#!/usr/bin/env python3
"""Cuts the power of a disk under load, again and again.

A gateway writes to an ext4 file system on a loop device. While senders wait for acknowledgements the file system is shut down without its log being
flushed (EXT4_IOC_SHUTDOWN): nothing that was not synced by then gets to the disk any more. The gateway is killed, the disk mounted again, the gateway
started on it. Everything that was ever acknowledged must be in the journal, every record of it sound, and delivered. The oracle is the senders' own list.

    tests/long/power.py --cuts 300 target/release/handoff        (as root)
"""
import argparse
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2
SENDERS = 16


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Gateway:
    def __init__(self, program, config):
        self.process = subprocess.Popen(
            [program, "serve", "--config", config], stderr=subprocess.PIPE, text=True, env={**os.environ, "HANDOFF_LOG": "warn"}
        )
        self.port, said = None, []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"listening mllp 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        if self.port is None:
            sys.exit("the gateway did not start:\n" + "".join(said))
        threading.Thread(target=self.drain, daemon=True).start()

    def drain(self):
        for _ in self.process.stderr:
            pass


def send(port, name, acknowledged):
    """Messages one after the other until the gateway is gone."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
            reader = stream.makefile("rb")
            for number in range(1_000_000):
                control_id = f"{name}n{number}"
                text = (
                    f"MSH|^~\\&|HIS|HARBOR|LAB|CITY|20260102030405+0000||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
                    f"EVN|A01|20260102030405+0000\rPID|1||p-{control_id}^^^HARBOR^MR||Test^Name\rPV1|1|I\r"
                )
                stream.sendall(b"\x0b" + text.encode() + b"\x1c\r")
                answer = b""
                while not answer.endswith(b"\x1c\r"):
                    chunk = reader.read1(4096)
                    if not chunk:
                        return
                    answer += chunk
                if f"MSA|AA|{control_id}\r".encode() in answer:
                    acknowledged.append(control_id)
    except OSError:
        return


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cuts", type=int, default=300)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--durability", default="fsync", help="with os or memory messages must be lost: it shows that this test can fail")
    arguments.add_argument("program")
    options = arguments.parse_args()
    random.seed(options.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # The disk is unmounted on the way out.
    program = os.path.abspath(options.program)
    folder = tempfile.mkdtemp(prefix="handoff-power-")
    image, disk = os.path.join(folder, "image"), os.path.join(folder, "disk")
    os.mkdir(disk)
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    run("mkfs.ext4", "-q", "-F", image)
    config = os.path.join(folder, "handoff.toml")
    with open(config, "w") as file:
        # Small partitions do not come up: what matters is where the newest one is torn. The route writes to the same disk.
        file.write(f'data = "{disk}/data"\ndurability = "{options.durability}"\n[[listener]]\nname = "adt"\nmllp = "127.0.0.1:0"\n')
        file.write(f'[[route]]\nname = "out"\nto = {{ file = "{disk}/out.ndjson" }}\n')
    acknowledged, mounted = [], False
    try:
        for cut in range(options.cuts):
            run("mount", "-o", "loop", image, disk)
            mounted = True
            gateway = Gateway(program, config)
            senders = [
                threading.Thread(target=send, args=(gateway.port, f"c{cut}s{number}", acknowledged)) for number in range(SENDERS)
            ]
            for sender in senders:
                sender.start()
            time.sleep(random.uniform(0.05, 0.6))
            handle = os.open(disk, os.O_RDONLY)
            # Stopped first: no acknowledgement may be on its way out of a process that has already died.
            gateway.process.send_signal(signal.SIGSTOP)
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
            os.close(handle)
            gateway.process.kill()
            gateway.process.wait()
            for sender in senders:
                sender.join()
            run("umount", disk)
            mounted = False
            if cut % 10 == 9 or cut == options.cuts - 1:
                run("mount", "-o", "loop", image, disk)
                mounted = True
                check(program, config, acknowledged, disk)
                run("umount", disk)
                mounted = False
                print(f"{cut + 1} cuts, {len(acknowledged)} acknowledged, none lost", flush=True)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", disk], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def check(program, config, acknowledged, disk):
    gateway = Gateway(program, config)
    try:
        verified = subprocess.run([program, "journal", "verify", "--config", config], capture_output=True, text=True, check=False)
        if verified.returncode != 0:
            sys.exit("the journal is damaged:\n" + verified.stdout + verified.stderr)
        listed = subprocess.run(
            [program, "messages", "search", "--config", config, "--format", "json", "--limit", "100000000"],
            capture_output=True, text=True, check=False,
        )
        if listed.returncode == 2:
            sys.exit(listed.stderr)
        kept = [json.loads(line)["control_id"] for line in listed.stdout.splitlines()]
        missing = set(acknowledged) - set(kept)
        if missing:
            sys.exit(f"LOST: {len(missing)} acknowledged messages are not in the journal, such as {sorted(missing)[:5]}")
        for _ in range(600):
            waiting = subprocess.run(
                [program, "messages", "search", "--config", config, "--status", "waiting", "--limit", "1"], capture_output=True, text=True, check=False
            )
            if not waiting.stdout:
                break
            time.sleep(0.1)
        with open(os.path.join(disk, "out.ndjson"), encoding="utf-8") as file:
            delivered = set(re.findall(r'"value":"p-([^"]+)"', file.read()))
        missing = set(acknowledged) - delivered
        if missing:
            sys.exit(f"NOT DELIVERED: {len(missing)}, such as {sorted(missing)[:5]}")
    finally:
        gateway.process.terminate()
        gateway.process.wait()


main()
