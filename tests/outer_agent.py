"""Inside the outer machine (tests/outer.py): runs the commands that come through a virtio serial port.

One JSON object a line, both ways.  A request {"id", "argv", "timeout", "stdin", "cwd"} is answered by {"id", "status",
"stdout", "stderr"}; bytes are base64.  "start": true answers at once with the pid and the files of its output; the
process leads a session of its own.  Requests run side by side, each in a thread.
"""
import base64
import glob
import json
import os
import signal
import subprocess
import sys
import threading

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
               "TERM": "dumb"}
OUTPUT = "/run/agent"
LOCK = threading.Lock()


def port():
    for name in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(name) as file:
            if file.read().strip() == "agent":
                return os.open("/dev/" + name.split("/")[-2], os.O_RDWR | os.O_CLOEXEC)
    sys.exit("no agent port")


def send(fd, message):
    data = json.dumps(message).encode() + b"\n"
    with LOCK:
        while data:
            data = data[os.write(fd, data):]


def encoded(data):
    return base64.b64encode(data or b"").decode()


def execute(request):
    argv, options = request["argv"], {"cwd": request.get("cwd", "/"), "env": {**ENVIRONMENT, **request.get("env", {})},
                                      "start_new_session": True}
    if request.get("start"):
        base = f"{OUTPUT}/{request['id']}"
        with open(base + ".out", "wb") as out, open(base + ".err", "wb") as err:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options)
        # Its end is written down: wait() here takes the zombie away.
        threading.Thread(target=lambda: put(base + ".status", str(process.wait())), daemon=True).start()
        return {"pid": process.pid, "base": base}
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        out, err = process.communicate(base64.b64decode(request.get("stdin", "")), timeout=request["timeout"])
        return {"status": process.returncode, "stdout": encoded(out), "stderr": encoded(err)}
    except subprocess.TimeoutExpired as late:
        os.killpg(process.pid, signal.SIGKILL)
        return {"timeout": True, "stdout": encoded(late.stdout), "stderr": encoded(late.stderr)}


def put(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def answer(fd, request):
    try:
        told = execute(request)
    except Exception as error:  # whatever it is, the one who waits must hear of it
        told = {"error": f"{type(error).__name__}: {error}"}
    send(fd, {"id": request["id"], **told})


def main():
    os.makedirs(OUTPUT, exist_ok=True)
    fd = port()
    send(fd, {"id": 0, "ready": True})
    rest = b""
    while True:
        data = os.read(fd, 65536)
        if not data:
            sys.exit("the port was closed")
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            threading.Thread(target=answer, args=(fd, json.loads(line)), daemon=True).start()


main()
