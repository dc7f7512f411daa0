"""Each looks as soon as it has written: later ones of the same index are not there yet."""


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
        if not set(going) <= ready:
            return
        for worker in going:
            self.cache.append((worker, self.written[worker]))
            self.written[worker] += 1
            self.saw[worker].append(set(self.cache))
