from django.conf import settings
from django.db import models


class Message(models.Model):
    """One line of a room."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="messages")
    room = models.SlugField()
    text = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index(fields=["room", "id"], name="chat_message_room")]

    def __str__(self):
        return f"{self.room}: {self.text[:40]}"
