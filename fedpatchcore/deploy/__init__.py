"""A deployed federation: certificates, proxy, the programs of server and site, and their doctor.

Each check says in a line what is wrong and which command mends it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "beside": ["control_program", "pulling_program"],
        "certs": [
            "CA_DAYS",
            "SERVER_DAYS",
            "make_authority",
            "make_key",
            "make_server",
            "make_site",
            "read_certificate",
        ],
        "doctor.checks": ["Check", "Checks"],
        "doctor.server": ["ServerDoctor"],
        "doctor.site": ["SiteDoctor"],
        "doctor.worker_side": ["WorkerDoctor"],
        "installing": ["ETC", "SYSTEMD", "Units", "plain"],
        "network": ["Address"],
        "node": ["node_programs", "refuse_unusable"],
        "own_worker": ["ONE_USER"],
        "proxy": ["nginx_configuration"],
        "pulling": ["fetch", "pull", "released", "report_images", "say_alarm", "say_judging"],
        "rosters": ["make_roster", "make_sums_key"],
        "serve": ["server_programs"],
        "signed": ["statement"],
        "supervise": ["Supervisor"],
        "unit_files": ["GPU", "HARD", "NO_GPU"],
        "units": ["SiteUnits"],
    },
)
