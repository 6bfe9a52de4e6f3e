from django_observable_socket import AsyncSocketRouterConsumer

from chat.models import Message


def has_text(arg):
    return isinstance(arg.payload, dict) and isinstance(arg.payload.get("text"), str)


async def may_write(arg):
    return arg.scope["user"].is_authenticated


async def load_message(arg):
    return await Message.objects.filter(pk=arg.payload["id"]).afirst()


def to_dict(message):
    return {"id": message.pk, "text": message.text}


class ChatConsumer(AsyncSocketRouterConsumer):
    _routes = [
        {"route": "sayHello"},
        {"route": "getMessage", "hydrate": load_message, "dehydrate": to_dict},
        {"route": "shout", "check_data": has_text},
        {"route": "addMessage", "check_data": has_text, "check_access": may_write, "dehydrate": to_dict},
    ]

    async def on_say_hello(self, arg):
        return {"payload": f"Hello, {arg.payload['name']}!", "headers": {"Language": "en"}}

    async def on_get_message(self, arg):
        if arg.payload is None:
            return {"status": 404, "payload": {"error": "There is no such message."}}
        return {"payload": arg.payload}

    async def on_shout(self, arg):
        return {"payload": arg.payload["text"].upper()}

    async def on_add_message(self, arg):
        message = await Message.objects.acreate(author=self.user, room="lobby", text=arg.payload["text"])
        return {"status": 201, "payload": message}
