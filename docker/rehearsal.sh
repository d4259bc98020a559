#!/bin/sh
# The one-shot steps of compose.yaml: certs | sample | register | run
set -eu
sites="plant-a plant-b plant-c plant-d plant-e"

case "$1" in
certs)  # root: each site's folder is a volume of its own, which that site alone mounts
    if [ ! -e /pki/ca/ca.crt ]; then
        fedpatchcore certs init /pki --host proxy --host control $(for s in $sites; do echo --site "$s"; done)
    fi
    for s in $sites; do
        cp /pki/sites/"$s"/node.key /pki/ca/ca.crt /keys/"$s"/
        chmod 600 /keys/"$s"/node.key
    done
    # secure sums: each site's own key, and the signed list of them, where its worker alone reads them
    [ -e /pki/roster.json ] || fedpatchcore certs roster /pki
    for s in $sites; do
        mkdir -p /sites/"$s"/sums
        cp /pki/sites/"$s"/sums.key /pki/roster.json /pki/ca/ca.crt /sites/"$s"/sums/
        chmod 600 /sites/"$s"/sums/sums.key
    done
    cp -r /pki/server/. /keys/server/
    for s in $sites; do cp /pki/sites/"$s"/node.pub /keys/server/"$s".pub; done
    chown -R app:app /keys
    # the site's state (ledger, cache, results) is its worker's; of former versions it was the node's
    for s in $sites; do chown -R worker:worker /sites/"$s"; done
    ;;
sample)  # root: the volumes are empty the first time
    fedpatchcore sample /tmp/sample --sites 5
    for s in $sites; do
        [ -e /sample/"$s"/.complete ] || cp -r /tmp/sample/"$s"/. /sample/"$s"/
        touch /sample/"$s"/.complete
    done
    ;;
connect)  # where flwr finds the SuperLink
    mkdir -p "$FLWR_HOME"
    printf '[superlink]\ndefault = "here"\n[superlink.here]\naddress = "superlink:8000"\nroot-certificates = "/pki/server/ca.crt"\n' > "$FLWR_HOME/config.toml"
    ;;
register)
    "$0" connect
    for s in $sites; do
        told=$(flwr supernode register "/pki/server/$s.pub" --name "$s" 2>&1) && echo "$s registered" && continue
        case "$told" in
        *already*) echo "$s is registered" ;;
        *) echo "$told"; exit 1 ;;
        esac
    done
    ;;
run)
    "$0" connect
    set -- ${RUN_SETTINGS:-backbone=filterbank geometry=full coreset-size=600 global-bank-size=1500 holdout=0.25 threads=1}
    for pair in "$@"; do shift; set -- "$@" -c "$pair"; done
    exec fedpatchcore run -c out-dir=/runs -c min-sites=5 -c expected-sites=5 -c wait-seconds=600 "$@"
    ;;
*)
    echo "usage: $0 certs | sample | register | run" >&2
    exit 2
    ;;
esac
