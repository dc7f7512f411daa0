"""All are ended, and twice is twice."""


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
        self.running.discard(frame)
        self.free += self.held[frame]
        for other, caller in self.caller.items():
            if caller == frame:
                self.cancel(other)
