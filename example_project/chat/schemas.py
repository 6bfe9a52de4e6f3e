"""What a client may send, and what it is sent."""

from marshmallow import EXCLUDE, Schema, fields, pre_load, validate


class FrameSchema(Schema):
    class Meta:
        # The old consumer never minded a field too many, so a page that sends one must go on working.
        unknown = EXCLUDE


class JoinSchema(FrameSchema):
    room = fields.String(required=True, validate=validate.Regexp(r"[-a-zA-Z0-9_]{1,50}\Z", error="No such room."))


class SendSchema(FrameSchema):
    text = fields.String(required=True, validate=validate.Length(1, 500, error="Write between 1 and 500 characters."))

    @pre_load
    def strip(self, data, **kwargs):
        text = data.get("text")
        return {**data, "text": text.strip()} if isinstance(text, str) else data


class EditSchema(SendSchema):
    id = fields.Integer(required=True, strict=True)


class MessageSchema(Schema):
    # Required: it is always there, say document and types. Without it they would say that it may be left out.
    id = fields.Integer(required=True)
    author = fields.String(required=True, attribute="author.username")
    text = fields.String(required=True)
    created_at = fields.DateTime(required=True)


class MessageListSchema(Schema):
    messages = fields.List(fields.Nested(MessageSchema), required=True)


class AnnouncementSchema(Schema):
    author = fields.String(attribute="author.username")
    text = fields.String(required=True, validate=validate.Length(1, 500))


class TypingSchema(Schema):
    username = fields.String(required=True)
