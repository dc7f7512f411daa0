"""Waits for everybody, also for those who are done."""


class Room:
    def __init__(self, lengths):
        self.lengths = list(lengths)
        self.cache = []
        self.written = [0] * len(self.lengths)
        self.saw = [[] for _ in self.lengths]

    def done(self):
        return self.written == self.lengths

    def step(self, ready):
        going = [worker for worker in range(len(self.lengths)) if self.written[worker] < self.lengths[worker]]
        if not set(range(len(self.lengths))) <= ready:
            return
        for worker in going:
            self.cache.append((worker, self.written[worker]))
            self.written[worker] += 1
        for worker in going:
            self.saw[worker].append(set(self.cache))
