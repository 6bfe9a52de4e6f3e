from django import forms

from .models import Message


class AnnouncementForm(forms.ModelForm):
    class Meta:
        model = Message
        fields = ["room", "text"]
