"""What users were sent before and how they responded: messages counted, offers still open, opt-outs.

Input: ledger, treatments and events, as known at a moment. Output: what the contact rules need. Start reading at
`past_contacts`.
"""
