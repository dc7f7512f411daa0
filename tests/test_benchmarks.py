"""The parts of the benchmarks that are not time: floors, turns, verdicts, tables, the report. Nothing is timed here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    attention,
    contestants,
    gpu,
    joins,
    models,
    moves,
    peers,
    plots,
    prefill,
    race,
    report,
    steps,
    tables,
    targets,
    wait,
)
from benchmarks.rivals import TorchLoop, check_equal
from benchmarks.timing import Memory, Times, interleave
from miniapr.model.decoder import Decoder
from miniapr.ops import load

REFERENCE = load("reference")


# Turns


def test_every_contestant_has_one_turn_a_round_and_none_always_follows_another():
    seen: list[str] = []
    turns = {name: (lambda n=name: seen.append(n)) for name in "abcd"}
    times = interleave(turns, rounds=20, warmup=2)
    rounds = [seen[i : i + 4] for i in range(0, len(seen), 4)]
    assert len(rounds) == 22 and all(sorted(one) == ["a", "b", "c", "d"] for one in rounds)
    assert {one[0] for one in rounds} == {"a", "b", "c", "d"}, "somebody never began"
    assert all(t.n == 20 for t in times.values()), "warm-up rounds were counted, or rounds lost"


def test_a_burst_runs_in_a_row_and_its_median_counts():
    seen: list[str] = []
    interleave({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, rounds=3, warmup=0, burst=3)
    assert "".join(seen).replace("aaa", "").replace("bbb", "") == ""
    told = iter([5.0, 1.0, 2.0])
    times = interleave({"peer": lambda: next(told)}, rounds=3, warmup=0, burst=7)
    assert times["peer"].median == 2.0, "a contestant that measures itself was asked more than once a turn"


def test_quartiles():
    times = Times.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (times.low, times.median, times.high, times.n) == (2.0, 3.0, 4.0, 5)
    assert Times.of([7.0]) == Times(7.0, 7.0, 7.0, 1)
    with pytest.raises(ValueError, match="nothing was timed"):
        Times.of([])
    with pytest.raises(ValueError, match="rounds and burst must be at least 1, are 0 and 1"):
        interleave({}, rounds=0)


def test_a_copied_byte_counts_twice():
    memory = Memory(size=1000, name="a ")
    times = {name: Times(2.0, 2.0, 2.0, 1) for name in memory.turns()}
    assert memory.speed(times) == {"read": 500.0, "copy": 1000.0}


def test_what_is_read_is_as_much_as_the_row_says_and_the_fastest_way_counts():
    """A floor that is taken from 256 MB, or from one kernel that reads badly, is beaten where a step fits a cache."""
    memory = Memory(size=1 << 16, ops=REFERENCE, cold=True)
    turns = memory.turns()
    assert {name.split()[1] for name in turns if name.startswith("read")} == {"sum", "amax", "product"}
    for run in turns.values():
        run()
    times = {name: Times(2.0, 2.0, 2.0, 1) for name in turns} | {"read product 1": Times(1.0, 0.5, 2.0, 1)}
    assert memory.speed(times)["read"] == 2 * (1 << 16)
    own = Memory(size=1000, name="a ").turns() | Memory(size=1000, name="b ").turns()
    assert len(own) == 2 * len(Memory(size=1000).turns()), "one hides the other"


def test_a_floor_that_somebody_beats_is_told_by_name():
    row = {"dtype": "float32", "prefix": 128, "branches": 1, "floor": 1.0, "model": {"median": 1.1}}
    good = {"steps M": {"rows": [row]}, "attention": {"float32": {"rows": [{"floor": 1.0, "paged": {"median": 1.0}}]}}}
    assert targets.beaten(good) == []
    row["torch"] = {"median": 0.79}
    assert targets.beaten(good) == ["steps M (dtype float32, prefix 128, branches 1): torch takes 0.79 of the floor"]
    good["attention"]["float32"]["rows"][0]["paged"] = {"median": 0.9}
    assert len(targets.beaten(good)) == 2


# Floors


def test_the_floor_counts_what_a_step_reads():
    """Against the tensors themselves: all of them but the embedding, of which a row for each branch is read."""
    config = models.SIZES["S"]
    with torch.device("meta"):
        tensors = Decoder(config).state_dict()
    read = sum(t.numel() for name, t in tensors.items() if "embed" not in name)
    assert models.weight_elements(config) == read
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    floor = models.floor_bytes(config, 2, prefix=100, branches=3, own=5)
    assert floor == 2 * (read + 3 * config.hidden_size + (100 + 3 * 5) * token)


def test_the_floor_of_m_is_the_one_that_was_published():
    """9.5 ms at 45 GB/s on a prefix of 1,024 (the figures that the targets were derived from)."""
    assert models.floor_bytes(models.SIZES["M"], 4, 1024, 1) / 45e9 == pytest.approx(9.5e-3, rel=0.01)


def test_attention_counts_shared_keys_once_and_arithmetic_for_each_branch():
    assert attention.kv_bytes(4096, 4) == 2 * 4096 * 4 * 64 * 4
    assert attention.flops(4096, 8) == 8 * attention.flops(4096, 1) == 8 * 12 * 4096 * 64 * 4


def test_shared_plan_has_one_run():
    plan = attention.shared_plan(64, 8)
    assert (plan.runs, plan.rows) == (1, 8) and sorted(plan.blocks.tolist()) == [0, 1, 2, 3]


# What is timed computes what it should


def test_the_torch_loop_agrees_with_the_engine():
    model = models.build("S", torch.float32)
    loop = TorchLoop(models.weights(model), model.config)
    assert check_equal(model, REFERENCE, [loop])["TorchLoop"] < 1e-4
    loop.weights["model.norm.weight"].mul_(1.01)
    with pytest.raises(ValueError, match="the logits of TorchLoop differ"):
        check_equal(model, REFERENCE, [loop])


def test_the_torch_loop_decodes_what_it_would_prefill():
    model = models.build("S", torch.float32)
    loop = TorchLoop(models.weights(model), model.config)
    tokens = torch.tensor([contestants.some_tokens(12)])
    caches, again = loop.caches(12, 1), loop.caches(12, 1)
    whole = loop.forward(tokens, 0, *caches)
    for at in range(12):
        one = loop.forward(tokens[:, at : at + 1], at, *again)
    torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-4)


def test_a_tree_steps_all_its_branches_and_notes_the_models_part():
    tree = contestants.Tree(models.build("S", torch.float32), REFERENCE, prefix=40, branches=3)
    before = [len(branch.generated) for branch in tree.branches]
    tree.step()
    assert [len(branch.generated) for branch in tree.branches] == [n + 1 for n in before]
    assert len(tree.watch.seconds) == len(tree.overhead) == 1 and tree.overhead[0] > 0
    assert all(branch.position >= 40 for branch in tree.branches)


def test_each_join_is_measured_with_what_it_costs():
    data = joins.measure("S", "float32", REFERENCE, [2], [16], rounds=1)
    rows = {row["how"]: row for row in data["rows"]}
    assert set(rows) == set(joins.HOW)
    assert rows["stitch"]["bytes_moved"] == rows["stitch_contiguous"]["bytes_moved"] == 0
    assert rows["stitch_copied"]["bytes_moved"] > 0 and rows["reprefill"]["recomputed"] == 16


def test_a_fork_takes_no_block():
    data = joins.fork("S", "float32", REFERENCE, [32], 8, rounds=1)
    (row,) = data["rows"]
    assert row["bytes_moved"] == 0 and row["bytes_of_copies"] == 8 * models.kv_elements(models.SIZES["S"], 32) * 4


def test_memory_of_branches_is_counted_in_the_pool():
    data = prefill.memory("S", "float32", REFERENCE, prefix=64, own=16, widths=[1, 4])
    one, four = data["rows"]
    token = models.kv_elements(models.SIZES["S"], 1) * 4
    assert one["used"] == 80 * token and four["used"] == (64 + 4 * 16) * token
    assert four["copies"] == 4 * 80 * token


def test_moves_never_read_what_they_write():
    region = moves.Region(REFERENCE, 64, torch.float32)
    source, target = region.next()
    assert not set(source.tolist()) & set(target.tolist()) and len(source) == 64 // moves.BLOCK


def test_the_gpu_script_runs_on_a_cpu():
    data = gpu.measure("cpu", gpu.Sizes.small(), "reference")
    assert not data["failed"]
    names = {"contexts", "eight_over_one", "copy_and_shift", "sdpa_one", "sdpa_eight"}
    assert set(data["targets"]) == names, "all but the captured step, which the reference does not have"
    assert {"whole engine 8, us", "floor 8, us", "attention contexts, us"} <= set(data["figures"])
    verdicts = targets.judge({"gpu": data})
    assert sum(verdict.met is not None for verdict in verdicts) == len(names)


def test_a_part_that_fails_on_the_gpu_leaves_the_others(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no kernel image for this device")

    monkeypatch.setattr(gpu, "_attention", fail)
    monkeypatch.setattr(gpu, "_step", lambda *_: None)
    data = gpu.measure("cpu", gpu.Sizes.small(), "reference")
    assert data["failed"] == ["fail"] and set(data["targets"]) == {"copy_and_shift"}
    out, err = capsys.readouterr()
    assert out.startswith("moves: {'copy and shift") and "no kernel image" in err


def test_what_the_gpu_script_measures_is_what_the_targets_ask_for():
    asked = {v.target.text for v in targets.judge({}) if v.target.group == targets.GPU}
    given = {
        "contexts": 1,
        "eight_over_one": 1,
        "copy_and_shift": 1,
        "step_over_floor": 1,
        "sdpa_one": 1,
        "sdpa_eight": 1,
    }
    judged = targets.judge({"gpu": {"targets": given}})
    assert {v.target.text for v in judged if v.met is not None} == asked


# Peers, in processes of their own

PEER = """
import sys
sys.path.insert(0, {folder!r})
from worker import serve, top

class Toy:
    def top(self, tokens): return top([0.0, 1.0, float(len(tokens))])
    def prepare(self, prefix, branches):
        if branches > 4: raise ValueError(f"{{branches}} are too many")
        return f"{{len(prefix)}} tokens"
    def step(self): print("noise on the output")

serve(Toy())
"""


@pytest.fixture
def toy(tmp_path):
    script = tmp_path / "toy.py"
    script.write_text(PEER.format(folder=str(Path(peers.__file__).parent)))
    peer = peers.Process([sys.executable, script], tmp_path / "toy.log")
    yield peer
    peer.close()


def test_a_peer_answers_whatever_it_prints(toy):
    assert toy.ask(prefix=[1, 2, 3], branches=1) == {"ready": "3 tokens"}
    assert len(toy.ask(burst=4)["seconds"]) == 4 and toy.turn(3) >= 0
    found = toy.ask(top=[5] * 9)["top"]
    want = torch.tensor([0.0, 1.0, 9.0]).double().log_softmax(-1).tolist()
    assert [token for token, _ in found] == [2, 1, 0]
    assert [value for _, value in found] == pytest.approx([want[2], want[1], want[0]])


def test_a_peers_error_is_told_and_it_goes_on(toy):
    with pytest.raises(RuntimeError, match="ValueError: 8 are too many"):
        toy.ask(prefix=[], branches=8)
    assert toy.ask(prefix=[], branches=2) == {"ready": "0 tokens"}


def test_a_peer_that_dies_says_why(tmp_path):
    command = [sys.executable, "-c", "raise ImportError('no such library')"]
    with pytest.raises(RuntimeError, match="it died: ImportError: no such library"):
        peers.Process(command, tmp_path / "log")


def test_a_peer_that_cannot_be_installed_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIAPR_PEERS", str(tmp_path / "peers"))
    with pytest.raises(RuntimeError, match="it could not be installed"):
        peers.install("no_such_peer")
    assert [path.name for path in (tmp_path / "peers").iterdir()] == ["no_such_peer.log"]


# Verdicts and the report


def made_up(model_ms: float) -> dict:
    def times(ms: float) -> dict:
        return Times(ms / 1e3, 0.9 * ms / 1e3, 1.1 * ms / 1e3, 5).json()

    rows = []
    for dtype, by in (("float32", 1.0), ("bfloat16", 0.5)):
        for branches in (1, 8):
            row = {"dtype": dtype, "prefix": 1024, "branches": branches, "floor": 0.01 * by, "read": 4e10, "bytes": 4e8}
            row |= {"model": times(model_ms * by), "engine": times(model_ms * by + 1), "overhead": times(1)}
            rows.append(row | {"torch": times(30), "transformers": times(40) | {"cache": "static"}})
    return {"steps M": {"size": "M", "rows": rows}}


def test_verdicts_come_from_the_figures():
    def verdict(sections: dict, text: str) -> targets.Verdict:
        return next(v for v in targets.judge(sections) if text in v.target.text)

    fast, slow = made_up(11.0), made_up(13.0)
    assert verdict(fast, "1 branch, over its floor").met and verdict(
        fast, "1 branch, over its floor"
    ).value == pytest.approx(1.1)
    assert verdict(slow, "1 branch, over its floor").met is False
    assert verdict(fast, "8 branches: transformers").met is False
    assert verdict(fast, "float32 over bfloat16").value == 2.0
    assert verdict(fast, "llama.cpp").met is None and verdict(fast, "llama.cpp").value is None
    assert verdict({}, "overhead").met is None


def test_a_peer_that_was_not_timed_is_said_so():
    rows = [row | {"transformers": row["transformers"]} for row in made_up(11.0)["steps M"]["rows"][:2]]
    data = {"prefix": 1024, "threads": 2, "rows": rows, "peers": {"llama.cpp": {"not_timed": "no compiler"}}}
    (table,) = tables.of("peers", data)
    assert "not run: no compiler" in table.text()
    assert "not run" not in next(line for line in table.text().splitlines() if line.startswith("transformers"))


def test_tables_line_up():
    table = tables.Table("T", "", ["who", "ms"], [["a", "1.0"], ["long name", "10.0"]])
    lines = table.text().splitlines()
    assert lines[-1] == "long name  10.0" and lines[-2] == "a           1.0"
    assert table.markdown().splitlines()[1] == "| --- | ---: |"


def found(sections: dict) -> dict:
    measured = {name: {"date": "2026-01-01 00:00", "commit": None, "rounds": 3, "seconds": 1.0} for name in sections}
    return {"machine": {"cpu": "a CPU", "gpu": None}, "measured": measured, "sections": sections}


def test_the_report_has_every_target_and_what_was_tried():
    page = report.page(found(made_up(11.0)), "We tried a thing.")
    assert all(target.text in page for target in targets.TARGETS)
    assert "We tried a thing." in page and page.count("not measured: no GPU") == 6
    assert "11.00 (9.90 to 12.10)" in page


def test_figures_of_another_machine_are_not_mixed(tmp_path):
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(found(made_up(11.0))))
    assert "steps M" in command.read(file, {"cpu": "a CPU"})["sections"]
    with pytest.raises(ValueError, match="is from cpu 'a CPU', this is 'another': take another file"):
        command.read(file, {"cpu": "another"})


def test_every_section_can_be_asked_for_alone():
    assert list(command.sections(REFERENCE, True, 3)) == command.NAMES


def test_the_committed_page_is_what_the_committed_figures_make():
    files = report.committed()
    assert files["cpu"]["sections"], "no figures are committed"
    for stem, figures in files.items():
        made = report.page(figures, report.TRIED.read_text(), stem, list(files))
        assert report.page_of(stem).read_text() == made, "run: python -m benchmarks report"
    for picture, (needed, _) in plots.PICTURES.items():
        assert (report.IMAGES / picture).exists() == (set(needed) <= set(files["cpu"]["sections"]))


def test_pictures_are_drawn_from_figures_alone(tmp_path):
    assert plots.draw(made_up(11.0), tmp_path) == ["performance-steps.png"]
    assert (tmp_path / "performance-steps.png").stat().st_size > 10_000


def test_bursts_of_the_engine_count_without_the_warm_up():
    """The model's part is read from the last runs: those of the rounds that count."""
    team = steps.Team("S", "float32", REFERENCE)
    turns = team.prepare(32, [1])
    times = interleave(turns, rounds=2, warmup=1, burst=steps.BURST)
    row = team.row(1, times, 2 * steps.BURST)
    assert row["model"]["n"] == 6 and len(team.trees[1].watch.seconds) == 9 and row["engine"]["n"] == 2


def test_the_committed_table_of_races_is_what_its_figures_make():
    figures = json.loads(race.FIGURES.read_text())
    assert race.PAGE.read_text() == race.page(figures)
    assert all(race.picture_of(name).exists() for name in figures["races"])


def test_races_are_pooled_over_their_seeds(tmp_path):
    def told(seed: int, right: int, critical: float) -> Path:
        row = {"method": "best-of-n", "judge": "exact", "problems": 10, "right": right, "spent": 0}
        row |= dict.fromkeys(race.COSTS, 1.0) | {"critical": critical}
        other = {**row, "method": "early-cancel", "critical": critical + 1}
        file = tmp_path / f"{seed}.json"
        budget = {"tokens": 50, "critical": None}
        about = {"task": "countdown", "model": "m", "budget": budget, "seed": seed, "temperature": 1.0, "left_out": {}}
        file.write_text(json.dumps({**about, "rows": [row, other]}))
        return file

    files = [told(0, 2, 4.0), told(1, 4, 8.0)]
    found = race.pooled(files)
    rows = found["races"]["countdown by m, 50 tokens"]["rows"]
    assert rows["best-of-n"] | {"problems": 20, "right": 6, "critical": 6.0} == rows["best-of-n"]
    page = race.page(found)
    assert "| `best-of-n` | exact | 30 | 15-52 | 1 * | 6 * |" in page and "| 1 * | 7 |" in page
    assert race.pooled([*files, files[0]])["races"] == found["races"], "the same race counted twice"
    # Whatever else was asked for is another race.
    others = {
        "sorting of 32 numbers in 1 level by m, 50 tokens": {"task": "sorting", "count": 32, "levels": 1},
        "sorting of 32 numbers in 0 levels by m, 50 tokens": {"task": "sorting", "count": 32, "levels": 0},
        "countdown by m, 50 tokens, 9 in line": {"budget": {"tokens": 50, "critical": 9}},
        "countdown by m, 50 tokens, width 4": {"width": 4},
        "countdown by m, 50 tokens, temperature 0.5": {"temperature": 0.5},
    }
    for number, changed in enumerate(others.values()):
        files.append(tmp_path / f"other-{number}.json")
        files[-1].write_text(json.dumps({**json.loads(files[0].read_text()), **changed}))
    assert [*race.pooled(files)["races"]] == ["countdown by m, 50 tokens", *others]
    # A method that is raced later joins the others, and whoever ran again is the later one.
    (name,) = found["races"]
    later = {name: {**found["races"][name], "rows": {"mcts": {"n": 1}, "best-of-n": {"n": 2}}}}
    rows = race.added({**found["races"], "another": {"rows": {}}}, later)[name]["rows"]
    assert rows == {**found["races"][name]["rows"], "best-of-n": {"n": 2}, "mcts": {"n": 1}}
    # What nobody has played stays told until somebody does.
    told = [{name: {**later[name], "left_out": {left: "no role"}}} for left in ("apar", "mcts")]
    group = race.added(race.added({}, told[0]), told[1])[name]
    assert group["left_out"] == {"apar": "no role", "mcts": "no role"}


# What a fork buys


def test_wait_is_told_for_all_problems_and_for_those_that_were_forked(tmp_path: Path):
    wait.main(["--problems", "8", "--json", str(tmp_path / "w.json"), "--plot", str(tmp_path / "w.png")])
    told = json.loads((tmp_path / "w.json").read_text())
    assert (tmp_path / "w.png").stat().st_size > 10_000
    pairs, all_of_them = told["pairs"], told["all"]
    assert len(pairs) == all_of_them["problems"] == 8
    assert all_of_them["wait"]["shorter"] == sum(p["forked"]["wait"] < p["line"]["wait"] for p in pairs)
    for pair in pairs:
        assert pair["line"]["wait"] == pair["line"]["tokens"], "nothing is beside a line"
        assert (pair["forked"]["wait"] < pair["forked"]["tokens"]) == (pair["branches"] > 0)
