"""The texts of a site's two systemd services, and of the script that installs them.

What each line of hardening does: systemd.exec(5). Left out on purpose: MemoryDenyWriteExecute,
for compute libraries write code and run it; PrivateUsers at the worker, for it must see the number
of the user that connects.
"""

from __future__ import annotations

from string import Template

__all__ = ["GPU", "HARD", "INSTALL", "NODE", "NO_GPU", "WORKER"]

HARD = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateTmp=yes
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077"""

NO_GPU = """\
# A GPU: write this file anew with --gpu.
PrivateDevices=yes"""
GPU = """\
# The GPU's devices and no other; 'nvidia-smi' once after each boot makes them (or
# nvidia-persistenced does), which this service may not.
DevicePolicy=closed
DeviceAllow=char-nvidia* rw"""

WORKER = Template(f"""\
# Made by: fedpatchcore worker units
# It owns images, features, bank and ledger, and has no network.
[Unit]
Description=FedPatchCore worker of site $site
RequiresMountsFor=$data
StartLimitIntervalSec=0

[Service]
User=$worker
Group=$worker
ExecStart=$python -P -m fedpatchcore.cli worker run $toml --state $worker_state
Environment=HOME=$worker_state PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
Restart=always
RestartSec=5
TimeoutStopSec=90
$memory
# No network: no interface but its own loopback, no address family but the socket to its node.
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any

# Of homes it sees what is named here, and nothing of it can be written. Name here as well what
# $toml names later (weights, exclude, groups), where it lies in a home.
ProtectHome=tmpfs
BindReadOnlyPaths=$shown

# What it writes: $worker_state (features, ledger, pictures; back the ledger up)
# and the socket's folder. Where $toml names another place (ledger, cache, out):
# ReadWritePaths=PLACE
StateDirectory=$worker_name
StateDirectoryMode=0700
RuntimeDirectory=fedpatchcore
RuntimeDirectoryMode=0755

$devices
{HARD}

[Install]
WantedBy=multi-user.target
""")

NODE = Template(f"""\
# Made by: fedpatchcore worker units
# It has the network and the key, carries messages to the worker, and cannot read an image.
[Unit]
Description=FedPatchCore node of site $site
Wants=network-online.target $worker_name.service
After=network-online.target $worker_name.service
StartLimitIntervalSec=0

[Service]
User=$node
Group=$node
ExecStart=$python -P -m fedpatchcore.cli node --superlink $superlink --root-certificates $ca \
--key $key --site $site --worker $socket --state $node_state
Environment=HOME=$node_state PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
Restart=always
RestartSec=5
TimeoutStopSec=90

# Not even by a slip of permissions: images, ledger, the worker's file.
InaccessiblePaths=-$data -$worker_state -$toml
ProtectHome=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK

StateDirectory=$node_name
StateDirectoryMode=0700

PrivateDevices=yes
{HARD}

[Install]
WantedBy=multi-user.target
""")

INSTALL = Template("""\
#!/bin/sh
# Made by: fedpatchcore worker units
# Two users and two services for site $site. As root; it may be run again, and leaves a
# worker.toml that is there as it is.
set -eu
cd "$$(dirname "$$0")"

for user in $worker $node; do
  id -u $$user >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent \\
      --shell /usr/sbin/nologin $$user
done

install -d -m 0755 -o root -g root $etc
if [ ! -e $toml ]; then
  install -m 0640 -o root -g $worker worker.toml $toml
elif ! cmp -s worker.toml $toml; then
  echo "$toml stays as it is: compare it with $$PWD/worker.toml" >&2
fi
install -d -m 0750 -o root -g $node $etc/node
install -m 0600 -o $node -g $node $given_key $key
install -m 0644 -o root -g root $given_ca $ca

install -m 0644 -o root -g root $worker_name.service $node_name.service $systemd
systemctl daemon-reload
systemctl enable $worker_name $node_name
systemctl try-restart $worker_name $node_name
""")
