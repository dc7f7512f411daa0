"""Looks only at what it may see, but does not wait for it."""


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
        going = [worker for worker in going if worker in ready]
        for worker in going:
            self.cache.append((worker, self.written[worker]))
            self.written[worker] += 1
        for worker in going:
            self.saw[worker].append({(n, i) for n, i in self.cache if i < self.written[worker]})
