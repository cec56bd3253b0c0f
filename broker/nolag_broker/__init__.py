"""The bundled broker: rooms as durable logs, served over one WebSocket port."""

__version__ = "0.1.0"
