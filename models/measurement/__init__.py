"""What decisions changed: lift against control, figures of an app, promises beside what was kept, power.

In come users with their arm and what became of them, out go estimates with intervals or "not enough data". Start
reading at `lift`.
"""
