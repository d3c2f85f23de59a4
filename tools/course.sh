#!/bin/sh
# Usage: course.sh BIN IP PORT. Serves the course with JupyterLab until Ctrl-C.
set -eu
bin=$1
ip=$2
port=$3

if ! "$bin/jupyter" --runtime-dir >/dev/null 2>&1; then
    echo "$bin does not work any more (moved, or its Python is gone): make clean, then again." >&2
    exit 1
fi

# The next free port is chosen here and not by Jupyter, so that what is said below is true.
free=$("$bin/python" - "$ip" "$port" <<'END'
import socket, sys
for port in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((sys.argv[1], port))
        except PermissionError as error:
            sys.exit(f"port {port}: {error}")
        except OSError:
            continue
    print(port)
    break
END
)
if [ -z "$free" ]; then
    echo "No free port from $port on at $ip." >&2
    exit 1
fi
if [ "$free" != "$port" ]; then
    echo "Port $port is taken; using $free."
    port=$free
fi

# No pop-up about news and updates over a newcomer's first page.
mkdir -p "$bin/../share/jupyter/lab/settings"
cp tools/jupyterlab_overrides.json "$bin/../share/jupyter/lab/settings/overrides.json"

set -- --ServerApp.ip="$ip" --ServerApp.port="$port" --ServerApp.port_retries=0 \
    --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb
if [ "$(uname)" = Linux ]; then
    set -- "$@" --KernelManager.transport=ipc  # no kernel listens on the network
    if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        echo "No screen here: open the address below in a browser. From another machine, first run"
        echo "    ssh -L $port:127.0.0.1:$port THIS_MACHINE"
        set -- "$@" --no-browser
    fi
fi
if [ "$(id -u)" = 0 ]; then
    set -- "$@" --allow-root  # as in a container, where root is the only user
fi
echo "Starting JupyterLab; Ctrl-C twice stops it."
exec "$bin/jupyter" lab --Application.log_level=WARN "$@"
