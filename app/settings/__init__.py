from app.settings.settings import Settings

__all__ = ["Settings"]
