#!/bin/sh
# A station in its container: pages at https://localhost:8070, images by the folder /in or by HTTP.
#
# Its file is /etc/fedpatchcore/station.toml if one is mounted there, otherwise /state/station.toml,
# which is written at the first start, with a certificate of the station's own: by the bank that
# STATION_BANK names, by the one that the control room STATION_REGISTRY releases for STATION_PRODUCT
# (its key in /keys/site.key), or by the bank of the last run in /runs. Change it there, and start
# the container again.
set -eu
file=/etc/fedpatchcore/station.toml
[ -e "$file" ] || file=/state/station.toml

if [ ! -e "$file" ]; then
    [ -e /state/pki/server/server.crt ] || fedpatchcore certs init /state/pki --host localhost
    if [ -n "${STATION_REGISTRY:-}" ]; then
        set -- --registry "$STATION_REGISTRY" --registry-key /keys/site.key
    else
        bank=${STATION_BANK:-}
        while [ -z "$bank" ]; do
            bank=$(find /runs -name bank.safetensors -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
            [ -n "$bank" ] || { echo "no run has left a bank in /runs yet"; sleep 5; }
        done
        set -- --bank "$bank"
    fi
    fedpatchcore station init "$file.part" --station "${STATION_NAME:-line-1}" --watch /in \
        --product "${STATION_PRODUCT:-}" --state /state/station "$@"
    {
        echo 'listen = "0.0.0.0:8070"'
        echo 'name = "localhost"'
        echo 'certfile = "/state/pki/server/server.crt"'
        echo 'keyfile = "/state/pki/server/server.key"'
        [ -z "${STATION_REGISTRY:-}" ] || echo 'registry-ca = "/keys/ca.crt"'
    } >> "$file.part"
    mv "$file.part" "$file"
fi
exec fedpatchcore station run "$file"
