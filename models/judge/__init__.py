"""Which policy may decide: the value of each policy is estimated, and the best proven one is deployed.

Input: values of policies on randomised treatments. Output: which one decides, which are on trial, which are retired,
and the largest loss allowed. Start reading at `policies`, the gate for decisions, and at `ladder`, the trial of
policies that are not proven yet.
"""
