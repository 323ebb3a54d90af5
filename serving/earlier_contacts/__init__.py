"""What users were sent before and what they said to it: messages counted, offers that are open, opt-outs.

In come ledger, treatments and events as known at a moment, out goes what the contact rules ask. Start reading at
`past_contacts`.
"""
