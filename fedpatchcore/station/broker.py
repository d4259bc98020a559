"""Verdicts to an MQTT broker: one connection for what is due, each message once the broker has it.

A message counts as sent when the broker has said so (QoS 1). If the connection ends in between, the
broker may have had it all the same: it then comes once more, and the verdict's ``id`` tells.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from fedpatchcore.errors import ConfigError, StationError
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.texts import one_line

__all__ = ["Broker"]

SECONDS = 5.0  # that a broker has to answer


class Broker:
    """Where a station's messages go.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self, settings: StationSettings) -> None:
        if find_spec("aiomqtt") is None:
            raise ConfigError("mqtt takes an extra: pip install 'fedpatchcore[mqtt]'")
        self.settings = settings

    def publish(
        self, messages: Sequence[tuple[int, bytes]], arrived: Callable[[int], None]
    ) -> None:
        """Hand messages over in their order.

        Args:
            messages: each with a number of its own.
            arrived: told the number of each that the broker has.

        Raises:
            StationError: the broker cannot be reached, or went away; the rest are not told.
        """
        import aiomqtt

        try:
            asyncio.run(self._publish(messages, arrived))
        except (aiomqtt.MqttError, OSError) as error:
            why = one_line(error, 200) or type(error).__name__
            raise StationError(f"the broker {self.settings.mqtt}: {why}") from None

    async def _publish(
        self, messages: Sequence[tuple[int, bytes]], arrived: Callable[[int], None]
    ) -> None:
        import aiomqtt

        told = self.settings
        host, _, port = told.mqtt.rpartition(":")
        client = aiomqtt.Client(
            host.strip("[]"),
            int(port),
            username=told.mqtt_user or None,
            password=_password(told.mqtt_password) if told.mqtt_password else None,
            tls_context=_trust(told.mqtt_ca) if told.mqtt_ca else None,
            timeout=SECONDS,
        )
        async with client:
            for number, payload in messages:
                await client.publish(told.mqtt_topic, payload, qos=1)
                arrived(number)


def _password(told: str) -> str:
    file = Path(told).expanduser()
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise StationError(f"mqtt-password: cannot read a password from {file}") from None


def _trust(told: str) -> ssl.SSLContext:
    file = Path(told).expanduser()
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as error:
        raise StationError(f"mqtt-ca: {file} is no CA ({one_line(error, 100)})") from None
