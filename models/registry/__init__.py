"""The model registry: the only package that imports MLflow. Models are read from formats that cannot run code.

Input: evaluated models. Output: names and versions, and models read back. Start reading at `tracking`; serving reads
everything known about offers through `response`.
"""
