#!/bin/sh
# A site's worker in its container: `run` (the default) or another word of `fedpatchcore worker`.
#
# Its file is /etc/fedpatchcore/worker.toml if the site mounts one there, otherwise one in /state,
# which is written at the first start: site and images as the container has them, asked by the
# node's user alone, with the key and the roster of secure sums if they lie in /state/sums. Change
# it there, or mount your own, and start the container again.
set -eu
socket=/run/fedpatchcore/worker.sock
file=/etc/fedpatchcore/worker.toml
[ -e "$file" ] || file=/state/worker.toml

case "${1:-run}" in
run)
    if [ ! -e "$file" ]; then
        set --
        [ ! -e /state/sums/sums.key ] ||
            set -- --roster /state/sums/roster.json --sums-key /state/sums/sums.key
        fedpatchcore worker init "$file" --site "${FEDPATCHCORE_SITE:?the name of this site}" \
            --data /data --socket "$socket" --user "$(id -u app)" "$@"
    fi
    exec fedpatchcore worker run "$file"
    ;;
*)
    exec fedpatchcore worker "$@"
    ;;
esac
