from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.generic import RedirectView

from chat.demo import PASSWORD, USERNAMES
from chat.views import AnnounceView, RoomView, TourView

# The login page tells the demonstration's password, so never outside DEBUG.
demo = {"demo_usernames": USERNAMES, "demo_password": PASSWORD} if settings.DEBUG else {}

urlpatterns = [
    path("", RedirectView.as_view(url="/rooms/lobby/"), name="home"),
    path("rooms/<slug:room>/", RoomView.as_view(), name="room"),
    path("tour/", TourView.as_view(), name="tour"),
    path("announcements/", AnnounceView.as_view(), name="announce"),
    path("ws-docs/", include("routesock.urls")),
    path("accounts/login/", LoginView.as_view(extra_context=demo, redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
]
