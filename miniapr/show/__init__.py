"""Looking at a run: the main job from the terminal, and what it prints and draws.

run.py runs it, report.py is what came of it, text.py, plot.py and stepper.py show it, doctor.py looks at the
installation. draw.py draws live objects, for the chapters. Nothing else in the package imports from here.
"""
