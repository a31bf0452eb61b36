"""The destinations of the service."""

USER_PREFIX = "/user/"
APP_PREFIX = "/app/"
TOPIC_PREFIX = "/topic/"

USER_MESSAGES = "/user/queue/msg"
USER_ERRORS = "/user/queue/errors"
TOPIC_MESSAGES = "/topic/messages"
APP_ACK = "/app/ack"
APP_SEND_MESSAGE = "/app/sendMessage"
