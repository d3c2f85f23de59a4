#!/bin/sh
# Usage: course.sh BIN IP PORT. Serves the course with JupyterLab until Ctrl-C.
set -eu
bin=$1
ip=$2
port=$3

set -- --ServerApp.ip="$ip" --ServerApp.port="$port" \
    --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
    --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate
if [ "$(uname)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    echo "No screen here: open the address below in a browser. From another machine, first run"
    echo "    ssh -L $port:127.0.0.1:$port THIS_MACHINE"
    set -- "$@" --no-browser
fi
if [ "$(id -u)" = 0 ]; then
    set -- "$@" --allow-root  # as in a container, where root is the only user
fi
echo "Starting JupyterLab; Ctrl-C stops it."
exec "$bin/jupyter" lab --log-level=WARN "$@"
