"""A server that says who asked: `answer.py NAME tcp:22 udp:5353 …` answers each with "NAME CLIENT PORT" (tcp6 and
udp6: of IPv6 alone); `answer.py ask tcp|udp ADDRESS PORT` asks one and prints the answer, nothing when none comes within a second."""
import select
import socket
import sys

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def serve(name, ports):
    sockets = []
    for word in ports:
        kind, port = word.rsplit(":", 1)
        kind, _, address = kind.partition("@")
        kind, six = kind.removesuffix("6"), kind.endswith("6")
        one = socket.socket(socket.AF_INET6 if six else socket.AF_INET, KINDS[kind])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address or ("::" if six else "0.0.0.0"), int(port)))
        if kind == "tcp":
            one.listen(64)
        sockets.append(one)
    print("ready", flush=True)
    while True:
        for one in select.select(sockets, [], [])[0]:
            port = one.getsockname()[1]
            if one.type == socket.SOCK_DGRAM:
                _, client = one.recvfrom(2048)
                one.sendto(f"{name} {client[0]} {port}".encode(), client)
            else:
                connection, client = one.accept()
                connection.sendall(f"{name} {client[0]} {port}".encode())
                connection.close()


def ask(kind, address, port):
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind])
    one.settimeout(1)
    try:
        one.connect((address, int(port)))
        if kind == "udp":
            one.send(b"?")
        print(one.recv(2048).decode())
    except OSError:
        print()


if __name__ == "__main__":
    ask(*sys.argv[2:]) if sys.argv[1] == "ask" else serve(sys.argv[1], sys.argv[2:])
