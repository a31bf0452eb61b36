from tests.redis.fixtures import client, proxy, scripted, server

__all__ = ["client", "proxy", "scripted", "server"]
