#!/bin/sh
# Usage: course.sh BIN IP PORT. Serves the reader's copies in JupyterLab until Ctrl-C.
set -eu
bin=$1
ip=$2
port=$3

if ! "$bin/jupyter" --runtime-dir >/dev/null 2>&1; then
    echo "$bin is broken: it was moved, or its Python was removed. Run make clean and try again." >&2
    exit 1
fi

# The next free port is chosen here, not by Jupyter, so that the messages below are right. Jupyter
# would take an empty IP or * for every network of this machine.
free=$("$bin/python" - "$ip" "$port" <<'END'
import errno, ipaddress, socket, sys
ip, port = sys.argv[1:]
if ip != "localhost":
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        sys.exit(f"IP: expected an address of this machine such as 127.0.0.1, got {ip!r}")
if not (port.isascii() and port.isdecimal() and len(port) < 6 and 1 <= int(port) <= 65535):
    sys.exit(f"PORT: expected a whole number from 1 to 65535, got {port!r}")
last = min(int(port) + 49, 65535)
for free in range(int(port), last + 1):
    try:
        family, kind, _, _, address = socket.getaddrinfo(ip, free, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError as error:
        sys.exit(f"PORT: {free}: {error.strerror}")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            sys.exit(f"IP: expected an address of this machine such as 127.0.0.1, got {ip!r}: "
                     f"{error.strerror}")
    else:
        print(free)
        break
else:
    sys.exit(f"PORT: {ip} has no free port from {port} to {last}")
END
)
if [ "$free" != "$port" ]; then
    echo "Port $port is in use; using $free."
    port=$free
fi

# No pop-up about news and updates on the first page that a newcomer sees. The explorers are saved
# with a notebook: without that, a reader who comes back sees "model not found" in their places.
# Without the column of dates, the sidebar has room for the names of the chapters.
# The glossary and the questions open as text with links, not as Markdown's source.
mkdir -p "$bin/../share/jupyter/lab/settings"
cp tools/jupyterlab_overrides.json "$bin/../share/jupyter/lab/settings/overrides.json"

set -- --ServerApp.ip="$ip" --ServerApp.port="$port" --ServerApp.port_retries=0 \
    --LabApp.default_url=/lab/tree/my_course/00_start_here.ipynb
if [ "$(uname)" = Linux ]; then
    # No kernel listens on the network, unless the folder's name is too long for that of a socket:
    # 107 bytes, of which /kernel-….ipc-1 takes 50.
    if [ "$("$bin/jupyter" --runtime-dir | tr -d '\n' | wc -c)" -le 57 ]; then
        set -- "$@" --KernelManager.transport=ipc
    fi
    if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        echo "There is no display: open the address below in a browser. On another machine, first run"
        echo "    ssh -L $port:127.0.0.1:$port THIS_MACHINE"
        set -- "$@" --no-browser
    fi
fi
if [ "$(id -u)" = 0 ]; then
    set -- "$@" --allow-root  # in a container, root is often the only user
fi
echo "Starting JupyterLab; press Ctrl-C twice to stop it."
# Its warnings, of a notebook that is not trusted and of its own settings, are nothing to act upon.
exec "$bin/jupyter" lab --Application.log_level=ERROR "$@"
