"""Texts of offers and what is known of their readers come in, messages in each reader's language go out.

Start reading at `text_choice`; `template_sandbox` is the one door to templates that people write,
`checked_texts` refuses what could go wrong before anything is written, and `written_messages` writes.
"""
