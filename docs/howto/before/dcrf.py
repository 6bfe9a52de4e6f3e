from djangochannelsrestframework.decorators import action
from djangochannelsrestframework.generics import GenericAsyncAPIConsumer
from djangochannelsrestframework.mixins import CreateModelMixin, ListModelMixin, PatchModelMixin, RetrieveModelMixin
from djangochannelsrestframework.observer import model_observer
from rest_framework import permissions, serializers

from chat.models import Message


class MessageSerializer(serializers.ModelSerializer):
    class Meta:
        model = Message
        fields = ["id", "room", "text"]


class MessageConsumer(ListModelMixin, RetrieveModelMixin, CreateModelMixin, PatchModelMixin, GenericAsyncAPIConsumer):
    queryset = Message.objects.all()
    serializer_class = MessageSerializer
    permission_classes = [permissions.IsAuthenticatedOrReadOnly]

    def perform_create(self, serializer, **kwargs):
        serializer.save(author=self.scope["user"])

    @action()
    async def subscribe_to_room(self, room, request_id, **kwargs):
        await self.message_activity.subscribe(room=room, request_id=request_id)
        return {}, 201

    @action()
    async def unsubscribe_from_room(self, room, request_id, **kwargs):
        await self.message_activity.unsubscribe(room=room)
        return {}, 204

    @model_observer(Message, serializer_class=MessageSerializer)
    async def message_activity(self, message, action=None, subscribing_request_ids=(), **kwargs):
        for request_id in subscribing_request_ids:
            await self.reply(action=action, data=message, request_id=request_id)

    @message_activity.groups_for_signal
    def message_activity(self, instance, **kwargs):
        yield f"room {instance.room}"

    @message_activity.groups_for_consumer
    def message_activity(self, room=None, **kwargs):
        yield f"room {room}"
