from rest_framework.authentication import TokenAuthentication
from wsx import Parent, Route, WSView
from wsx.permissions import BasePermission, IsAuthenticated
from wsx.serializers import CharField, Serializer
from wsx.throttles import UserActionThrottle


class SendIn(Serializer):
    text = CharField(max_length=500)


class SendOut(Serializer):
    user = CharField()
    text = CharField()


class IsMember(BasePermission):
    async def has_permission(self, request):
        return request.user.username != "mallory"


class SendThrottle(UserActionThrottle):
    rate = "30/min"


class ChatWS(WSView):
    authentication_classes = [TokenAuthentication]

    class Actions:
        public = Parent("public")
        chat = Parent("chat")

        public.ping = Route("ping", allow_unauthenticated=True)
        chat.join = Route("join", permissions=[IsAuthenticated, IsMember])
        chat.send = Route(
            "send_message",
            request=SendIn,
            response=SendOut,
            permissions=[IsAuthenticated, IsMember],
            throttles=[SendThrottle],
        )

    async def ping(self, request):
        return {"pong": True}

    async def join(self, request):
        await self.groups.join("lobby")
        return {}

    async def send_message(self, request):
        message = {"user": request.user.username, "text": request.data["text"]}
        await self.groups.broadcast("lobby", action="chat.message", data=message)
        return message
