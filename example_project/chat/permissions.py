from routesock.permissions import BasePermission


class IsAuthor(BasePermission):
    message = "Only its author may edit a message."

    async def has_object_permission(self, request, message):
        return message.author == request.user
