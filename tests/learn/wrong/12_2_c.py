"""Everybody who was called later is ended."""


class Calls:
    def __init__(self, blocks):
        self.free = blocks
        self.held = {}
        self.caller = {}
        self.running = set()

    def call(self, caller, blocks):
        frame = len(self.held)
        self.held[frame], self.caller[frame] = blocks, caller
        self.free -= blocks
        self.running.add(frame)
        return frame

    def returns(self, frame):
        self.cancel(frame)

    def cancel(self, frame):
        for one in list(self.running):
            if one >= frame:
                self.running.discard(one)
                self.free += self.held[one]
