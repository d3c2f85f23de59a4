#!/bin/sh
# Usage: course.sh BIN IP PORT. Serves the course with JupyterLab until Ctrl-C.
set -eu
bin=$1
ip=$2
port=$3

# No pop-up about news and updates over a newcomer's first page.
mkdir -p "$bin/../share/jupyter/lab/settings"
cp .make/jupyterlab_overrides.json "$bin/../share/jupyter/lab/settings/overrides.json"

set -- --ServerApp.ip="$ip" --ServerApp.port="$port" \
    --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb
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
