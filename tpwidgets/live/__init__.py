"""The live front end: one widget that draws all charts of a dashboard."""

from .board import Board as Board
